"""The job: every transition that is legal, and every one that is not."""

from collections.abc import Callable
from uuid import UUID

import pytest
from pydantic import ValidationError

from jobs.errors import IllegalTransition
from jobs.job import Failure, Job, Result, Source, Status, Webhook, WebhookEvent
from tests.jobs.machine import PARAMS, PRICE_CREDITS, QUALITY

NOW_MS = 1_800_000_000_000
RESULT = Result(
    object_name="images/a-1.png",
    format="png",
    width_px=2,
    height_px=2,
    size_bytes=9,
    network="double",
)
FAILURE = Failure(code="CORRUPT_IMAGE", message="The image is damaged")

STEPS: dict[Status, Callable[[Job], Job]] = {
    Status.PROCESSING: lambda job: job.claimed(now_ms=NOW_MS),
    Status.COMPLETED: lambda job: job.completed(RESULT, now_ms=NOW_MS),
    Status.FAILED: lambda job: job.failed(FAILURE, now_ms=NOW_MS),
    Status.CANCELLED: lambda job: job.cancelled(now_ms=NOW_MS),
}
LEGAL = {
    (Status.QUEUED, Status.PROCESSING),
    (Status.QUEUED, Status.FAILED),
    (Status.QUEUED, Status.CANCELLED),
    (Status.PROCESSING, Status.PROCESSING),
    (Status.PROCESSING, Status.COMPLETED),
    (Status.PROCESSING, Status.FAILED),
    (Status.PROCESSING, Status.CANCELLED),
}
EVERY = [(start, end) for start in Status for end in STEPS]


def a_job(status: Status = Status.QUEUED, *, events: tuple[WebhookEvent, ...] = ()) -> Job:
    return Job(
        id=UUID(int=7),
        account_id="acc_1",
        key_sha256="00" * 32,
        params=PARAMS,
        said={},
        source=Source(
            object_name="sources/a.png",
            format="png",
            width_px=1,
            height_px=1,
            size_bytes=9,
            sha256="00",
        ),
        price_credits=PRICE_CREDITS,
        webhook=Webhook(url="https://example.com/", events=events) if events else None,
        created_at_ms=NOW_MS,
        status=status,
    )


def test_a_result_that_an_older_release_kept_is_no_fallback_and_has_no_report() -> None:
    kept = RESULT.model_dump()
    del kept["is_fallback"], kept["quality"]
    assert Result.model_validate(kept) == RESULT
    assert not RESULT.is_fallback
    assert RESULT.quality is None


@pytest.mark.parametrize("seam_score", [None, 1.25])
def test_a_report_is_kept_with_the_job(seam_score: float | None) -> None:
    report = QUALITY.model_copy(update={"seam_score": seam_score})
    result = RESULT.model_copy(update={"quality": report})
    job = a_job(Status.PROCESSING).completed(result, now_ms=NOW_MS)
    assert Job.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize(("start", "end"), [step for step in EVERY if step in LEGAL])
def test_a_legal_transition_gives_the_next_job(start: Status, end: Status) -> None:
    before = a_job(start)
    assert STEPS[end](before).status is end
    assert before.status is start


@pytest.mark.parametrize(("start", "end"), [step for step in EVERY if step not in LEGAL])
def test_an_illegal_transition_is_refused(start: Status, end: Status) -> None:
    with pytest.raises(IllegalTransition, match=f"{start} job cannot become {end}"):
        STEPS[end](a_job(start))


@pytest.mark.parametrize("status", list(Status))
def test_only_an_unfinished_job_advances(status: Status) -> None:
    if status in (Status.QUEUED, Status.PROCESSING):
        assert a_job(status).advanced(5, 100).progress == 5
    else:
        with pytest.raises(IllegalTransition):
            a_job(status).advanced(5, 100)


def test_three_statuses_are_the_end() -> None:
    ends = {status for status in Status if status.is_terminal}
    assert ends == {Status.COMPLETED, Status.FAILED, Status.CANCELLED}


@pytest.mark.parametrize(("said", "kept"), [(-1, 40), (0, 40), (39, 40), (41, 41), (100, 99)])
def test_progress_never_falls_and_is_100_only_at_the_end(said: int, kept: int) -> None:
    job = a_job(Status.PROCESSING).advanced(40, 100)
    assert job.advanced(said, 100).progress == kept
    assert job.completed(RESULT, now_ms=NOW_MS).progress == 100


def test_each_claim_is_a_further_attempt_and_the_first_is_the_start() -> None:
    first = a_job().claimed(now_ms=NOW_MS)
    second = first.claimed(now_ms=NOW_MS + 5)
    assert (first.attempt, second.attempt) == (1, 2)
    assert (first.started_at_ms, second.started_at_ms) == (NOW_MS, NOW_MS)


def test_the_end_is_dated() -> None:
    job = a_job(Status.PROCESSING)
    assert job.completed(RESULT, now_ms=NOW_MS + 1).ended_at_ms == NOW_MS + 1
    assert job.failed(FAILURE, now_ms=NOW_MS + 2).ended_at_ms == NOW_MS + 2


@pytest.mark.parametrize("status", list(Status))
def test_a_job_costs_its_price_until_that_is_given_back(status: Status) -> None:
    is_free = status in (Status.FAILED, Status.CANCELLED)
    assert a_job(status).cost_credits == (0 if is_free else PRICE_CREDITS)


def test_an_end_that_is_to_be_told_is_pending() -> None:
    job = a_job(Status.PROCESSING, events=("completed",))
    assert job.completed(RESULT, now_ms=NOW_MS).webhook_status == "pending"
    assert job.failed(FAILURE, now_ms=NOW_MS).webhook_status is None
    assert a_job(Status.PROCESSING).completed(RESULT, now_ms=NOW_MS).webhook_status is None


def test_a_job_is_wanted_to_tell_what_its_webhook_lists() -> None:
    job = a_job(events=("progress", "failed"))
    assert (job.wants("progress"), job.wants("completed"), job.wants("failed")) == (
        True,
        False,
        True,
    )
    assert not a_job().wants("completed")


def test_what_a_newer_release_wrote_survives_a_rewrite() -> None:
    stored = a_job().model_dump(mode="json") | {"colour": "green"}
    stored["source"]["camera"] = "pinhole"
    job = Job.model_validate(stored).claimed(now_ms=NOW_MS)
    rewritten = job.model_dump(mode="json")
    assert (rewritten["colour"], rewritten["source"]["camera"]) == ("green", "pinhole")


def test_a_record_without_its_fields_is_no_job() -> None:
    with pytest.raises(ValidationError):
        Job.model_validate({"id": str(UUID(int=7))})


def test_the_sequence_grows_with_all_that_there_is_to_tell() -> None:
    queued = a_job()
    running = queued.claimed(now_ms=NOW_MS)
    advanced = running.advanced(3, 8)
    ended = advanced.cancelled(now_ms=NOW_MS)
    assert [job.sequence for job in (queued, running, advanced, ended)] == [0, 1, 2, 3]


def test_without_news_a_renewal_tells_nothing() -> None:
    advanced = a_job(Status.PROCESSING).advanced(3, 8)
    assert advanced.advanced(3, 8) is advanced


def test_the_steps_are_those_of_the_attempt_under_way() -> None:
    first = a_job(Status.PROCESSING).advanced(6, 8)
    second = first.claimed(now_ms=NOW_MS)
    assert (second.progress, second.steps_done, second.steps_of) == (75, 0, 0)


def test_a_cancelled_job_says_so_costs_nothing_and_is_told_as_a_failure() -> None:
    job = a_job(events=("failed",)).cancelled(now_ms=NOW_MS)
    assert job.failure is not None
    assert (job.failure.code, job.cost_credits, job.ended_at_ms) == ("CANCELLED", 0, NOW_MS)
    assert job.webhook_status == "pending"
