"""The worker: one job, one end, one settlement, whatever happens to whoever works on it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from threading import Event
from uuid import UUID

import pytest

from billing.keys import Caller
from inference.errors import (
    CorruptImage,
    InferenceError,
    NotANumber,
    OutOfMemory,
    PromptUnreadable,
    WeightsMissing,
)
from jobs.endings import MAX_ATTEMPTS
from jobs.job import Failure, Job, Result, Status
from jobs.lease import DEADLINE_MS, Report
from jobs.records import find_job
from storage.objects import read
from tests.jobs.machine import (
    PATIENCE_S,
    QUALITY,
    Crash,
    EngineDouble,
    Machine,
    cut_off,
    told_at,
)
from tests.running import LEASE_MS, Clock

RETRY_MS = 5_000
WEBHOOK = told_at("https://example.com/hook")


@pytest.fixture
def job(machine: Machine, caller: Caller) -> Job:
    return machine.submit(caller, webhook=WEBHOOK)


def crash(_: Report) -> None:
    raise Crash


def break_down(_: Report) -> None:
    raise MemoryError("out of memory")


def dislike(_: Report) -> None:
    raise CorruptImage


def available(machine: Machine, job: Job) -> int:
    return machine.balance(job.account_id).available


def test_a_job_is_completed_and_paid(machine: Machine, job: Job, clock: Clock) -> None:
    clock.advance(seconds=3)
    machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.status, ended.progress, ended.attempt) == (Status.COMPLETED, 100, 1)
    assert (ended.started_at_ms, ended.ended_at_ms) == (clock(), clock())
    assert ended.result == Result(
        object_name=f"images/{job.id}-1.png",
        format="png",
        width_px=32,
        height_px=24,
        size_bytes=len(machine.engine.data),
        network="double",
        is_fallback=True,
        quality=QUALITY,
    )
    assert read(machine.objects, f"images/{job.id}-1.png") == machine.engine.data
    balance = machine.balance(job.account_id)
    assert (balance.available, balance.held, balance.spent, balance.in_flight) == (92, 0, 8, 0)
    assert machine.contradictions() == []


def test_the_end_is_announced_and_hinted_at(machine: Machine, job: Job) -> None:
    machine.work(job.id)
    (key,) = machine.hints.deliveries
    assert key.sort == "completed"
    assert list(machine.outbox(job.id)) == ["completed"]
    assert machine.job(job.id).webhook_status == "pending"


def test_a_job_without_a_webhook_announces_nothing(machine: Machine, caller: Caller) -> None:
    quiet = machine.submit(caller)
    machine.work(quiet.id)
    assert machine.job(quiet.id).webhook_status is None
    assert (machine.outbox(quiet.id), machine.hints.deliveries) == ({}, [])


def test_a_bad_picture_fails_the_job_and_gives_the_credits_back(machine: Machine, job: Job) -> None:
    machine.engine.does = dislike
    machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt, ended.result) == (Status.FAILED, 1, None)
    assert ended.failure == Failure(code="CORRUPT_IMAGE", message=str(CorruptImage()))
    assert (ended.cost_credits, available(machine, job)) == (0, 100)
    assert list(machine.outbox(job.id)) == ["failed"]
    assert machine.contradictions() == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotANumber(), "PROCESSING_FAILED"),
        (OutOfMemory(), "PROCESSING_FAILED"),
        (PromptUnreadable(), "PROMPT_UNREADABLE"),
    ],
)
def test_what_would_end_alike_again_fails_the_job_at_once_and_gives_the_credits_back(
    machine: Machine, job: Job, error: InferenceError, code: str
) -> None:
    def fail(_: Report) -> None:
        raise error

    machine.engine.does = fail
    machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt) == (Status.FAILED, 1)
    assert ended.failure == Failure(code=code, message=str(error))
    assert (ended.cost_credits, available(machine, job)) == (0, 100)
    assert read(machine.objects, f"images/{job.id}-1.png") is None
    assert machine.contradictions() == []


def test_a_source_that_is_gone_fails_the_job_and_gives_the_credits_back(
    machine: Machine, job: Job
) -> None:
    machine.objects.delete(job.source.object_name)
    machine.work(job.id)
    failure = machine.job(job.id).failure
    assert failure is not None
    assert (failure.code, available(machine, job)) == ("SOURCE_MISSING", 100)
    assert machine.contradictions() == []


@pytest.mark.parametrize("error", [MemoryError("out"), WeightsMissing(), OSError("disk")])
def test_what_is_not_the_pictures_fault_is_tried_again_soon(
    machine: Machine, job: Job, clock: Clock, error: Exception
) -> None:
    def fail(_: Report) -> None:
        raise error

    machine.engine.does = fail
    machine.work(job.id)
    assert machine.job(job.id).status is Status.PROCESSING
    assert machine.looked_at_ms(job.id) == clock() + RETRY_MS
    machine.engine.does = lambda report: report(1, 1)
    clock.now_ms += RETRY_MS - 1
    machine.work(job.id)
    assert machine.engine.calls == 1
    clock.now_ms += 1
    machine.sweep_and_work()
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 2)
    assert machine.contradictions() == []


@pytest.mark.parametrize("does", [break_down, crash])
def test_after_three_attempts_a_job_is_given_up_and_its_credits_given_back(
    machine: Machine, job: Job, clock: Clock, does: Callable[[Report], None]
) -> None:
    machine.engine.does = does
    for attempt in range(1, MAX_ATTEMPTS + 1):
        with suppress(Crash):
            machine.work(job.id)
        assert (machine.job(job.id).attempt, available(machine, job)) == (attempt, 92)
        clock.now_ms += LEASE_MS
    machine.sweep_and_work()
    ended = machine.job(job.id)
    assert (ended.status, machine.engine.calls) == (Status.FAILED, MAX_ATTEMPTS)
    assert ended.failure == Failure(
        code="PROCESSING_FAILED", message="The image could not be processed"
    )
    assert available(machine, job) == 100
    assert machine.contradictions() == []


def test_an_ended_job_is_left_alone(machine: Machine, job: Job) -> None:
    machine.work(job.id)
    ended = machine.job(job.id)
    machine.work(job.id)
    assert (machine.job(job.id), machine.engine.calls) == (ended, 1)


def test_a_job_that_there_is_not_is_left_alone(machine: Machine) -> None:
    machine.work(UUID(int=1))
    assert machine.engine.calls == 0


def test_of_eight_workers_one_works(machine: Machine, job: Job) -> None:
    are_others_done = Event()

    def wait_for_the_others(report: Report) -> None:
        assert are_others_done.wait(PATIENCE_S)
        report(1, 1)

    machine.engine.does = wait_for_the_others
    with ThreadPoolExecutor(8) as pool:
        workers = as_completed([pool.submit(machine.work, job.id) for _ in range(8)])
        for _ in range(7):
            next(workers).result()
        are_others_done.set()
        next(workers).result()
    ended = machine.job(job.id)
    assert (machine.engine.calls, ended.attempt, ended.status) == (1, 1, Status.COMPLETED)
    assert machine.contradictions() == []


def test_a_dead_workers_job_is_taken_over_at_the_end_of_its_lease(
    machine: Machine, job: Job, clock: Clock
) -> None:
    machine.engine.does = crash
    with pytest.raises(Crash):
        machine.work(job.id)
    machine.engine.does = lambda report: report(1, 1)
    clock.now_ms += LEASE_MS - 1
    machine.work(job.id)
    assert machine.engine.calls == 1
    clock.now_ms += 1
    machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 2)
    assert machine.contradictions() == []


def test_an_interrupted_worker_gives_its_job_back_at_once(machine: Machine, job: Job) -> None:
    def interrupt(_: Report) -> None:
        raise KeyboardInterrupt

    machine.engine.does = interrupt
    with pytest.raises(KeyboardInterrupt):
        machine.work(job.id)
    machine.engine.does = lambda report: report(1, 1)
    machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 2)
    assert machine.contradictions() == []


@pytest.mark.parametrize("is_stale_one_right", [True, False])
@pytest.mark.parametrize("is_other_right", [True, False])
def test_a_worker_that_was_overtaken_cannot_settle(
    machine: Machine, job: Job, clock: Clock, *, is_stale_one_right: bool, is_other_right: bool
) -> None:
    machine.engine.does = (lambda report: report(1, 1)) if is_other_right else dislike
    stale = cut_off(machine)

    def be_overtaken(_: Report) -> None:
        clock.now_ms += LEASE_MS
        machine.work(job.id)
        if not is_stale_one_right:
            raise CorruptImage

    stale.engine.does = be_overtaken
    stale.work(job.id)
    ended = machine.job(job.id)
    assert (ended.attempt, stale.engine.calls) == (2, 1)
    assert ended.status is (Status.COMPLETED if is_other_right else Status.FAILED)
    assert available(machine, job) == (92 if is_other_right else 100)
    assert machine.contradictions() == []


def test_a_worker_that_was_overtaken_does_not_settle_for_one_that_still_works(
    machine: Machine, job: Job, clock: Clock
) -> None:
    stale = cut_off(machine)

    def be_overtaken(_: Report) -> None:
        clock.now_ms += LEASE_MS
        kept = find_job(machine.kv, job.id)
        assert kept is not None
        assert machine.leases.take(kept) is not None

    stale.engine.does = be_overtaken
    stale.work(job.id)
    running = machine.job(job.id)
    assert (running.status, running.attempt) == (Status.PROCESSING, 2)
    assert machine.looked_at_ms(job.id) == clock() + LEASE_MS
    assert machine.contradictions() == []


def test_a_worker_that_was_overtaken_does_not_replace_the_result(
    machine: Machine, job: Job, clock: Clock
) -> None:
    stale = cut_off(machine)
    stale.engine.data = b"another encoder's bytes"

    def be_overtaken(_: Report) -> None:
        clock.now_ms += LEASE_MS
        machine.work(job.id)

    stale.engine.does = be_overtaken
    stale.work(job.id)
    assert read(machine.objects, f"images/{job.id}-1.png") == machine.engine.data


def test_a_result_is_as_large_as_what_an_earlier_attempt_has_kept(
    machine: Machine, job: Job
) -> None:
    kept = b"what a worker kept before it died"
    machine.objects.put(f"images/{job.id}-1.png", kept, content_type="image/png")
    machine.work(job.id)
    result = machine.job(job.id).result
    assert result is not None
    assert result.size_bytes == len(kept)


def test_a_job_that_nobody_took_up_fails_at_its_deadline(
    machine: Machine, job: Job, clock: Clock
) -> None:
    clock.now_ms += DEADLINE_MS
    machine.sweep_and_work()
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt, machine.engine.calls) == (Status.FAILED, 0, 0)
    assert available(machine, job) == 100
    assert machine.contradictions() == []


def test_just_before_its_deadline_a_job_is_still_worked_on(
    machine: Machine, job: Job, clock: Clock
) -> None:
    clock.now_ms += DEADLINE_MS - 1
    machine.work(job.id)
    assert machine.job(job.id).status is Status.COMPLETED


def test_a_worker_that_hangs_loses_the_job_at_its_deadline(
    machine: Machine, job: Job, clock: Clock
) -> None:
    hanging = replace(machine, engine=EngineDouble())

    def hang(_: Report) -> None:
        clock.now_ms = job.created_at_ms + DEADLINE_MS - 1
        machine.leases.renew(machine.job(job.id), 1, 100)
        machine.sweep_and_work()
        assert machine.job(job.id).status is Status.PROCESSING
        clock.now_ms += 1
        machine.leases.renew(machine.job(job.id), 2, 100)
        machine.sweep_and_work()

    hanging.engine.does = hang
    hanging.work(job.id)
    assert (machine.job(job.id).status, available(machine, job)) == (Status.FAILED, 100)
    assert machine.contradictions() == []
