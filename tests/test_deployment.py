"""What Modal says at a deploy, or on the bill, held to plain tables; and limits of our own."""

import re
import tomllib
from pathlib import Path

import pytest

import deployment
from deployment import (
    COURIERS,
    CREATIVE,
    FAITHFUL,
    FILLER,
    SANDBOX_WORKERS,
    SWEEPER,
    TIERS,
    WEB,
    Part,
)
from handlers.app import THREADS
from handlers.settings import PREFIX, Settings
from inference.catalogue import MODELS
from jobs.lease import DEADLINE_MS
from jobs.services import MAX_ATTEMPTS_AT_ONCE
from jobs.watcher import MAX_STREAMS_EACH, MAX_WAITS_EACH

ROOT = Path(__file__).parent.parent
PARTS = (*TIERS, WEB, COURIERS, SANDBOX_WORKERS, SWEEPER, FILLER)

GPU_NAMES = {
    "T4",
    "L4",
    "A10",
    "L40S",
    "A100",
    "A100-40GB",
    "A100-80GB",
    "RTX-PRO-6000",
    "H100",
    "H100!",
    "H200",
    "B200",
    "B200+",
}
"""Those that Modal has."""

WITHOUT_BFLOAT16 = {"T4"}
DAY_S = 24 * 3600
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""Minute, hour, day of the month, month, day of the week: the bounds of a cron string's parts."""


def is_cron(text: str) -> bool:
    """Whether it is five fields of numbers within their bounds, with their usual signs."""
    parts = text.split(" ")
    return len(parts) == len(FIELDS) and all(
        _is_field(part, low=low, high=high) for part, (low, high) in zip(parts, FIELDS, strict=True)
    )


def _is_field(part: str, *, low: int, high: int) -> bool:
    for each in part.split(","):
        found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", each)
        if found is None:
            return False
        first, last, _ = found.groups()
        numbers = [int(number) for number in (first, last) if number is not None]
        if numbers != sorted(numbers) or any(not low <= number <= high for number in numbers):
            return False
    return True


@pytest.mark.parametrize("cron", [deployment.SWEEP_CRON, deployment.DAILY_CRON])
def test_schedules_are_cron_strings(cron: str) -> None:
    assert is_cron(cron)


@pytest.mark.parametrize(
    "text", ["every day", "* * * *", "60 * * * *", "* 5-3 * * *", "* * 0 * *", "*/0 * * * *", ""]
)
def test_what_is_no_cron_string_is_told_from_one(text: str) -> None:
    assert not is_cron(text)


def test_the_sweep_is_each_minute_and_the_other_once_a_day() -> None:
    assert deployment.SWEEP_CRON == "* * * * *"
    minute, hour, *others = deployment.DAILY_CRON.split()
    assert minute.isdecimal()
    assert hour.isdecimal()
    assert others == ["*"] * 3


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_cards_are_among_those_that_modal_has_and_our_networks_run_on(
    tier: deployment.Tier,
) -> None:
    assert tier.machine.gpu
    assert set(tier.machine.gpu) <= GPU_NAMES - WITHOUT_BFLOAT16


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_times_and_counts_are_within_modals_bounds(part: Part) -> None:
    machine, scale = part.machine, part.scale
    assert 1 <= machine.timeout_s <= DAY_S
    assert 1 <= machine.startup_timeout_s <= DAY_S
    assert 2 <= scale.scaledown_window_s <= 1200
    assert 0 <= scale.min_containers <= scale.max_containers
    assert machine.max_inputs >= 1
    assert machine.memory_mib >= 128
    assert machine.cpu > 0


def test_nothing_is_paid_while_nothing_is_asked() -> None:
    assert [part.scale.min_containers + part.scale.buffer_containers for part in PARTS] == [0] * 7


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_a_jobs_own_deadline_comes_no_later_than_the_calls(tier: deployment.Tier) -> None:
    assert tier.machine.timeout_s * 1000 >= DEADLINE_MS


def test_every_model_has_one_tier() -> None:
    assert sorted(model for tier in TIERS for model in tier.models) == sorted(MODELS)
    assert [deployment.tier_of(model) for tier in TIERS for model in tier.models] == [*TIERS]
    with pytest.raises(LookupError, match="no-such-model"):
        deployment.tier_of("no-such-model")


def test_a_models_card_is_the_one_that_its_tier_prefers() -> None:
    cards = {model: deployment.card_of(model) for tier in TIERS for model in tier.models}
    assert cards == {"topaz-image-upscale": "l4", "clarity-upscale": "l40s"}
    assert deployment.card_of("a-newer-releases") is None  # whose jobs may wait in the same queue


def test_no_more_requests_come_in_than_there_are_threads() -> None:
    assert WEB.machine.max_inputs <= THREADS
    assert WEB.machine.max_inputs > MAX_STREAMS_EACH + MAX_WAITS_EACH  # one account is not all
    assert COURIERS.machine.max_inputs <= MAX_ATTEMPTS_AT_ONCE


def test_the_creative_tier_works_on_one_job_at_a_time() -> None:
    assert CREATIVE.machine.max_inputs == 1
    assert FAITHFUL.machine.max_inputs > 1


def test_one_sweep_runs_at_a_time() -> None:
    assert (SWEEPER.scale.max_containers, SWEEPER.machine.max_inputs) == (1, 1)


@pytest.mark.parametrize(
    "name",
    [
        *deployment.REQUIRED_KEYS,
        *(name for name in deployment.CREATIVE_ENV if name.startswith(PREFIX)),
    ],
)
def test_what_is_set_is_a_setting(name: str) -> None:
    assert name.removeprefix(PREFIX).lower() in Settings.model_fields


def test_everything_that_is_installed_is_pinned() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = deployment.requirements(pyproject, extras=deployment.GPU_EXTRAS)
    assert set(deployment.requirements(pyproject, extras=deployment.WEB_EXTRAS)) < set(pinned)
    assert len(pinned) == len(set(pinned))
    assert [each for each in pinned if not re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", each)] == []


def test_the_images_python_is_the_one_that_types_are_checked_for() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["tool"]["mypy"]["python_version"] == deployment.PYTHON_VERSION
