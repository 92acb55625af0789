"""Estimates: what was measured makes a time, anything else makes none."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.estimates import RESULTS, read_speeds, written
from inference.images import ImageInfo
from inference.params import FaceParams, UpscaleParams
from inference.published import GENERAL, PHOTO, X2PLUS
from jobs.estimates import MIN_SHARE_DONE, SPEEDS_FILE, Estimates, Speed, Speeds, measured_speeds
from jobs.job import Job
from tests.jobs.machine import PARAMS, Machine
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


@pytest.fixture
def job(machine: Machine) -> Job:
    """A job that should take 8 s on the CPU."""
    job = machine.submit(machine.customer())
    source = job.source.model_copy(update={"width_px": INFO.width_px, "height_px": INFO.height_px})
    return job.model_copy(update={"params": params(), "source": source})


def remaining_s(job: Job, *, at_s: float, device: str | None = "cpu") -> float | None:
    estimates = Estimates(SPEEDS, Path("no-such-folder"))
    return estimates.remaining_s(job, device=device, now_ms=round(at_s * 1000))


def test_a_job_that_waits_has_its_own_work_before_it(job: Job) -> None:
    assert remaining_s(job, at_s=1_000) == 8
    assert remaining_s(job, at_s=1_000, device="cuda") is None


def test_a_job_that_has_begun_has_the_rest_of_what_is_usual(job: Job) -> None:
    begun = job.claimed(now_ms=1_000_000)
    assert [remaining_s(begun, at_s=at_s) for at_s in (1_000, 1_002.5)] == [8, 5.5]
    assert remaining_s(begun, at_s=1_002, device=None) is None


@pytest.mark.parametrize("late_s", [8, 9])
def test_a_job_that_takes_longer_than_usual_has_no_time(job: Job, late_s: int) -> None:
    assert remaining_s(job.claimed(now_ms=1_000_000), at_s=1_000 + late_s) is None


def test_once_some_is_done_a_jobs_own_pace_tells(job: Job) -> None:
    steps = round(2 / MIN_SHARE_DONE)
    begun = job.claimed(now_ms=1_000_000)
    assert remaining_s(begun.advanced(1, steps), at_s=1_002) == 6
    assert remaining_s(begun.advanced(2, steps), at_s=1_002) == steps - 2
    assert remaining_s(begun.advanced(steps, steps), at_s=1_002) == 0
    assert remaining_s(begun.advanced(2, 4), at_s=1_005, device=None) == 5


def test_a_further_attempt_has_a_pace_of_its_own(job: Job) -> None:
    again = job.claimed(now_ms=1_000_000).advanced(9, 10).claimed(now_ms=1_100_000)
    assert remaining_s(again.advanced(5, 10), at_s=1_104) == 4


def test_a_clock_that_went_back_makes_no_time_negative(job: Job) -> None:
    assert remaining_s(job.claimed(now_ms=1_000_000).advanced(1, 2), at_s=999) == 0


def test_a_job_at_its_end_or_of_an_older_release_has_no_time(job: Job) -> None:
    begun = job.claimed(now_ms=1_000_000)
    assert remaining_s(begun.cancelled(now_ms=1), at_s=1_001) is None
    older = begun.model_copy(update={"attempt_started_at_ms": None})
    assert remaining_s(older, at_s=1_001) is None


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
