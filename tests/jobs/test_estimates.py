"""Estimates: what was measured makes a time, anything else makes none."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.estimates import RESULTS, read_speeds, written
from inference.images import ImageInfo
from inference.params import FaceParams, UpscaleParams
from inference.published import GENERAL, PHOTO, X2PLUS
from jobs.estimates import SPEEDS_FILE, Estimates, Speed, Speeds, measured_speeds
from tests.jobs.machine import PARAMS
from tests.weights import present

INFO = ImageInfo("png", 2000, 1000)


def speed(weights: str, *, scale: int, is_whole: bool, device: str = "cpu") -> Speed:
    return Speed(
        device=device,
        machine="a machine",
        date="2026-01-01",
        weights=(weights, "another-of-that-shape"),
        scale=scale,
        is_whole=is_whole,
        megapixels_a_second=4.0,
    )


SPEEDS = Speeds(
    speeds=(
        speed(PHOTO.x4.id, scale=4, is_whole=True),
        speed(GENERAL.id, scale=4, is_whole=False),
        speed(X2PLUS.id, scale=2, is_whole=False, device="l4"),
    )
)


def params(**changes: Any) -> UpscaleParams:
    return PARAMS.model_copy(update={"factor": 4} | changes)


def test_the_file_beside_the_code_is_what_the_benchmarks_have_measured() -> None:
    assert SPEEDS_FILE.read_text() == written(read_speeds(RESULTS))
    assert measured_speeds().of(PHOTO.x4.id, device="cpu") is not None


def test_a_whole_job_takes_its_output_by_the_speed(tmp_path: Path) -> None:
    assert Estimates(SPEEDS, tmp_path).expected_s(params(), INFO, device="cpu") == 32 / 4


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_network_makes_its_own_scale_whatever_is_taken_back(tmp_path: Path, factor: int) -> None:
    present(*GENERAL.files, folder=tmp_path)
    wanted = params(slot="text-refine", factor=factor)
    assert Estimates(SPEEDS, tmp_path).expected_s(wanted, INFO, device="cpu") == 32 / 4


@pytest.mark.parametrize(
    ("changes", "device"),
    [
        ({}, None),
        ({}, "cuda"),
        ({}, "l4"),
        ({"factor": 1}, "cpu"),
        ({"factor": 2}, "cpu"),
        ({"factor": 6}, "cpu"),
        ({"slot": "cgi"}, "cpu"),
        ({"slot": "clarity", "model": "clarity-upscale"}, "cpu"),
        ({"slot": "no-such-slot"}, "cpu"),
        ({"faces": FaceParams(strength=1, creativity=0)}, "cpu"),
        ({"is_guarded": True}, "cpu"),
    ],
)
def test_what_was_not_measured_has_no_time(
    tmp_path: Path, changes: dict[str, Any], device: str | None
) -> None:
    assert Estimates(SPEEDS, tmp_path).expected_s(params(**changes), INFO, device=device) is None


def test_results_say_by_their_files_which_device_they_are_of(tmp_path: Path) -> None:
    row = '{"what": "x2plus, output MP/s", "measured": 2.5}'
    for name in ("throughput-cpu", "throughput-l4", "speed"):
        text = f'{{"machine": "{name}", "date": "2026-01-01", "rows": [{row}]}}'
        (tmp_path / f"{name}.json").write_text(text)
    found = read_speeds(tmp_path).speeds
    assert [(each.device, each.machine) for each in found] == [
        ("cpu", "throughput-cpu"),
        ("l4", "throughput-l4"),
    ]
    assert {each.weights for each in found} == {(X2PLUS.id,)}
