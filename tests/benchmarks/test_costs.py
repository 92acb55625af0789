"""What a thousand images cost: the arithmetic, and that nothing is made up."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.costs import (
    CPU,
    CPU_CONTAINER,
    MODELS,
    Container,
    Model,
    Size,
    Speeds,
    cards_of,
    costs,
    idle_costs,
    idle_s_an_image,
    main,
    read_speeds,
    shown,
    usd_a_second,
    usd_a_thousand,
    work_megapixels,
)
from benchmarks.prices import Prices
from deployment import TIERS

ROOT = Path(__file__).parent.parent.parent
SHIPPED = Prices.model_validate_json((ROOT / "benchmarks/prices.json").read_bytes())
PRICES = Prices.model_validate(
    {
        "currency": "USD",
        "note": "",
        "modal": {
            "source": "here",
            "cpu_core": {"usd_a_second": 0.5, "read": None},
            "memory_gib": {"usd_a_second": 0.25, "read": "2026-10-07"},
            "cards": {"L4": {"usd_a_second": 10, "read": None}},
        },
        "stores": {},
    }
).modal


def model(name: str) -> Model:
    return next(model for model in MODELS if model.name == name)


def write(folder: Path, name: str, figures: Mapping[str, float]) -> None:
    """A file of results, as the benchmarks write it."""
    rows = [{"what": what, "asked": None, "measured": figure} for what, figure in figures.items()]
    (folder / name).write_text(json.dumps({"date": "2026-11-21", "machine": "M", "rows": rows}))


def test_a_container_costs_its_card_its_cores_and_its_memory() -> None:
    assert usd_a_second(Container("L4", cores=4, memory_gib=8, idle_s=60), PRICES) == 14
    assert usd_a_second(Container(None, cores=2, memory_gib=4, idle_s=60), PRICES) == 2


@pytest.mark.parametrize(
    ("name", "size", "megapixels"),
    [
        ("x4plus", Size(2, 4), 32),
        ("x4plus", Size(1, 2), 16),  # it makes all of four times, and half of that is kept
        ("x2plus", Size(1, 2), 4),
        ("x2plus", Size(1, 4), None),
        ("built-in base", Size(1, 4), 16),
        ("built-in base", Size(1, 2), None),  # another network, whose speed is another
        ("Clarity", Size(1, 2), 4),
        ("Clarity", Size(2, 4), None),  # several passes
    ],
)
def test_work_is_what_the_network_makes(name: str, size: Size, megapixels: float | None) -> None:
    assert work_megapixels(model(name), size) == megapixels


def test_a_thousand_images_cost_their_seconds() -> None:
    # 32 megapixels at 8 a second are 4 s, at 0.001 USD each
    assert usd_a_thousand(model("x4plus"), Size(2, 4), rate=0.001, speed=8) == 4


def test_without_a_speed_there_is_no_number() -> None:
    assert usd_a_thousand(model("x4plus"), Size(2, 4), rate=0.001, speed=None) is None


@pytest.mark.parametrize(
    ("images_an_hour", "wait_s"),
    [(1, 60), (3_600_000, 0.001), (60, 60 * (1 - 0.36788))],
)
def test_a_container_waits_for_its_window_or_for_the_next_image(
    images_an_hour: int, wait_s: float
) -> None:
    assert idle_s_an_image(60, images_an_hour=images_an_hour) == pytest.approx(wait_s, rel=0.01)


def test_a_file_of_results_says_by_its_name_which_card_it_is_of(tmp_path: Path) -> None:
    write(tmp_path, "throughput-l4.json", {"x4plus, output MP/s": 100.0})
    write(tmp_path, "speed.json", {"small, JPEG to JPEG": 9.0})
    write(tmp_path, "quality.json", {"PSNR": 30.0})
    assert read_speeds(tmp_path) == {
        ("throughput", "L4"): {"x4plus, output MP/s": 100.0},
        ("speed", CPU): {"small, JPEG to JPEG": 9.0},
    }


def test_what_is_no_file_of_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(ValueError, match="rows"):
        read_speeds(tmp_path)


def test_a_card_without_results_is_listed_without_numbers() -> None:
    (found,) = (
        cost for cost in costs(PRICES, {}) if (cost.model.name, cost.card) == ("x4plus", "L4")
    )
    assert found.megapixels_a_second is None
    assert set(found.by_size.values()) == {None}


def test_a_card_that_was_measured_is_listed_though_no_tier_has_it() -> None:
    speeds: Speeds = {("throughput", "H200"): {"x4plus, output MP/s": 100.0}}
    assert "H200" in cards_of(model("x4plus"), speeds, SHIPPED.modal)
    assert "H200" not in cards_of(model("Clarity"), speeds, SHIPPED.modal)


def test_the_narrow_networks_of_a_processor_are_no_measure_of_clarity() -> None:
    speeds: Speeds = {("creative", CPU): {"output MP/s": 0.04}}
    assert [cost for cost in costs(PRICES, speeds) if cost.model.name == "Clarity"] == []


def test_waiting_costs_at_most_the_whole_window_after_each_image() -> None:
    (cpu, faithful) = idle_costs(PRICES, {}, hourly=(1,))
    assert (cpu.container, cpu.usd_an_hour) == (CPU_CONTAINER, 1.5 * 3600)
    most = 1000 * faithful.container.idle_s * faithful.usd_an_hour / 3600
    assert most * 0.95 < faithful.by_hourly[1] < most


def test_the_price_list_has_every_card_that_is_deployed() -> None:
    assert {card for tier in TIERS for card in tier.machine.gpu} <= set(SHIPPED.modal.cards)


def test_the_results_that_ship_have_the_figures_that_are_looked_for() -> None:
    speeds = read_speeds(ROOT / "benchmarks/results")
    missing = [each for each in MODELS if each.row not in speeds[each.benchmark, CPU]]
    assert missing == []


@pytest.mark.parametrize(
    ("usd", "text"), [(None, "-"), (12.345, "12.35"), (0.0543, "0.054"), (0.0, "0")]
)
def test_amounts_are_shown_to_the_cent_or_to_two_digits(usd: float | None, text: str) -> None:
    assert shown(usd) == text


def test_the_table_says_what_was_not_measured_and_how_to_measure_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(tmp_path, "throughput-cpu.json", {"x4plus, output MP/s": 0.1})
    write(tmp_path, "throughput-cuda.json", {"x4plus, output MP/s": 99.0})
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["costs", "--results", str(tmp_path), "--hourly", "7"])
    main()
    said = capsys.readouterr().out
    assert "not measured" in said
    assert "7 an hour" in said
    assert "python -m benchmarks.throughput --device cuda" in said
    assert "throughput-cuda.json: the price list has no card CUDA" in said


@pytest.mark.parametrize(
    "words", [["--prices", "no-such-file"], ["--hourly", "0"], ["--prices", "pyproject.toml"]]
)
def test_what_cannot_be_computed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["costs", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "error:" in capsys.readouterr().err
