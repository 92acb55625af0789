"""Metrics: what is counted when, that nothing fails with the counting, and what waits."""

from dataclasses import replace
from itertools import count, cycle, pairwise

import pytest

from billing.keys import Caller
from inference.errors import CorruptImage
from jobs.job import Job, Status
from jobs.lease import DEADLINE_MS, Report
from jobs.metrics import (
    LONGER,
    SHARDS,
    WAIT_BOUNDS_MS,
    Attempt,
    Counted,
    Metrics,
    Total,
    Unfinished,
)
from jobs.records import find_job
from storage.kv import Change, Key, Put, Unavailable, Unknown
from tests.jobs.machine import PARAMS, Machine, cut_off, told_at
from tests.jobs.test_courier import deliver
from tests.running import LEASE_MS, Clock, Origin
from tests.watched import WatchedStore

ENGINE_MS = 1_500
ENGINE = Total(Counted.ENGINE_MS, (PARAMS.model,))
WAITED_MS = Total(Counted.QUEUE_WAIT_MS)


def ended(status: Status) -> Total:
    return Total(Counted.JOBS_ENDED, (PARAMS.model, status.value))


def waits(bound: object) -> Total:
    return Total(Counted.QUEUE_WAITS, (str(bound),))


def attempts(attempt: Attempt) -> Total:
    return Total(Counted.WEBHOOK_ATTEMPTS, (attempt.value,))


class Uncounted(WatchedStore):
    """A store that fails whoever counts, before or after it has written."""

    fault: Exception = Unavailable("db.internal is down")
    is_written = False

    def commit(self, *changes: Change) -> None:
        if any(change.key.partition == "metrics" for change in changes):
            if self.is_written:
                super().commit(*changes)
            raise self.fault
        super().commit(*changes)


def totals(machine: Machine) -> dict[Total, int]:
    return dict(machine.services.metrics.totals())


def work(machine: Machine, job: Job) -> None:
    """Work on the job with an engine that takes `ENGINE_MS`."""
    seconds = count(0.0, ENGINE_MS / 1000)
    worker = machine.services.worker(machine.engine)
    replace(worker, seconds=lambda: next(seconds)).work(job.id)


@pytest.fixture
def job(machine: Machine, caller: Caller) -> Job:
    return machine.submit(caller)


def test_nothing_is_counted_at_first(machine: Machine) -> None:
    assert totals(machine) == {}


def test_a_completed_job_is_counted_with_its_wait_and_its_engine_time(
    machine: Machine, job: Job, clock: Clock
) -> None:
    clock.now_ms += 1_234
    work(machine, job)
    assert totals(machine) == {
        ended(Status.COMPLETED): 1,
        waits(2_000): 1,
        WAITED_MS: 1_234,
        ENGINE: ENGINE_MS,
    }


def test_a_failed_job_is_counted_with_what_it_cost(machine: Machine, job: Job) -> None:
    def dislike(_: Report) -> None:
        raise CorruptImage

    machine.engine.does = dislike
    work(machine, job)
    assert totals(machine) == {ended(Status.FAILED): 1, waits(500): 1, ENGINE: ENGINE_MS}


def test_an_attempt_in_vain_counts_its_engine_time_alone(machine: Machine, job: Job) -> None:
    def break_down(_: Report) -> None:
        raise RuntimeError

    machine.engine.does = break_down
    work(machine, job)
    assert totals(machine) == {ENGINE: ENGINE_MS}


def test_an_attempt_that_was_overtaken_counts_its_engine_time_alone(
    machine: Machine, job: Job, clock: Clock
) -> None:
    stale = cut_off(machine)

    def overtake(_: Report) -> None:
        clock.now_ms += LEASE_MS
        work(machine, job)

    stale.engine.does = overtake
    work(stale, job)
    assert totals(machine)[ended(Status.COMPLETED)] == 1
    assert totals(machine)[ENGINE] == 2 * ENGINE_MS


def test_a_job_that_nobody_took_has_waited_to_its_end(
    machine: Machine, job: Job, clock: Clock
) -> None:
    clock.now_ms = job.created_at_ms + DEADLINE_MS + 1
    machine.sweep()
    assert totals(machine) == {
        ended(Status.FAILED): 1,
        waits(LONGER): 1,
        WAITED_MS: DEADLINE_MS + 1,
    }


@pytest.mark.parametrize(
    ("wait_ms", "bound"),
    [
        (0, 500),
        *[(bound, bound) for bound in WAIT_BOUNDS_MS],
        *[(low + 1, high) for low, high in pairwise(WAIT_BOUNDS_MS)],
        (WAIT_BOUNDS_MS[-1] + 1, LONGER),
    ],
)
def test_a_wait_is_counted_under_the_first_bound_that_holds_it(
    machine: Machine, job: Job, wait_ms: int, bound: object
) -> None:
    started = job.model_copy(update={"started_at_ms": job.created_at_ms + wait_ms})
    machine.services.metrics.job_ended(started, engine_ms=0)
    assert totals(machine)[waits(bound)] == 1


@pytest.mark.parametrize(
    ("status", "attempt"),
    [(204, Attempt.DELIVERED), (500, Attempt.REFUSED), (302, Attempt.REFUSED), (410, Attempt.GONE)],
)
def test_an_answered_webhook_is_counted_by_its_answer(
    machine: Machine, caller: Caller, origin: Origin, status: int, attempt: Attempt
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    machine.work(job.id)
    origin.answers.append(status)
    deliver(machine, job)
    assert totals(machine)[attempts(attempt)] == 1


def test_a_webhook_that_reaches_nobody_is_counted(machine: Machine, caller: Caller) -> None:
    job = machine.submit(caller, webhook=told_at("http://10.0.0.1/hook"))
    machine.work(job.id)
    deliver(machine, job)
    assert totals(machine)[attempts(Attempt.UNREACHABLE)] == 1


def test_what_all_shards_have_is_added_up(machine: Machine) -> None:
    shards = cycle(range(SHARDS))
    metrics = Metrics(machine.kv, machine.clock, shard=lambda: next(shards))
    for _ in range(2 * SHARDS):
        metrics.webhook_attempted(Attempt.GONE)
    assert len(machine.kv.query("metrics")) == SHARDS
    assert metrics.totals() == {attempts(Attempt.GONE): 2 * SHARDS}


def test_two_who_are_the_first_to_count_are_both_counted(machine: Machine) -> None:
    def outrun(call: int) -> None:
        if call == 1:  # there was no item to add to; it is about to be made
            Metrics(machine.kv, machine.clock, shard=lambda: 0).webhook_attempted(Attempt.GONE)

    metrics = Metrics(WatchedStore(machine.kv, before=outrun), machine.clock, shard=lambda: 0)
    metrics.webhook_attempted(Attempt.GONE)
    assert metrics.totals() == {attempts(Attempt.GONE): 2}


@pytest.mark.parametrize("fault", [Unavailable("down"), RuntimeError("a defect")])
def test_a_job_and_its_webhook_end_though_nothing_can_be_counted(
    machine: Machine,
    caller: Caller,
    origin: Origin,
    fault: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    broken = Uncounted(machine.kv)
    broken.fault = fault
    uncounted = replace(machine, kv=broken)
    uncounted.work(job.id)
    deliver(uncounted, job)
    assert machine.job(job.id).status is Status.COMPLETED
    assert machine.job(job.id).webhook_status == "delivered"
    assert machine.contradictions() == []
    assert totals(machine) == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert str(fault) in caplog.text


def test_a_count_of_unknown_fate_is_not_repeated(machine: Machine) -> None:
    metrics = Metrics(machine.kv, machine.clock, shard=lambda: 0)
    metrics.webhook_attempted(Attempt.GONE)
    lossy = Uncounted(machine.kv)
    lossy.fault, lossy.is_written = Unknown("no answer"), True
    replace(metrics, kv=lossy).webhook_attempted(Attempt.GONE)
    assert metrics.totals() == {attempts(Attempt.GONE): 2}


def test_what_another_release_counts_is_left_alone(machine: Machine) -> None:
    machine.kv.commit(Put(Key("metrics", "00"), {}, counters={"teapots/blue": 3}))
    metrics = Metrics(machine.kv, machine.clock, shard=lambda: 0)
    metrics.webhook_attempted(Attempt.GONE)
    assert metrics.totals() == {attempts(Attempt.GONE): 1}
    (item,) = machine.kv.query("metrics")
    assert item.counters["teapots/blue"] == 3


def test_without_jobs_nothing_is_unfinished(machine: Machine) -> None:
    assert machine.services.metrics.unfinished() == Unfinished(
        {Status.QUEUED: 0, Status.PROCESSING: 0}, oldest_ms=0
    )


def test_jobs_that_wait_are_told_from_those_that_run_and_those_that_ended(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    jobs = []
    for _ in range(5):
        jobs.append(machine.submit(caller))
        clock.now_ms += 1_000
    machine.work(jobs[0].id)
    take(machine, jobs[1])
    clock.now_ms += LEASE_MS
    machine.sweep()  # the job's worker is silent: it waits among the stranded
    take(machine, jobs[2])
    assert machine.services.metrics.unfinished() == Unfinished(
        {Status.QUEUED: 2, Status.PROCESSING: 2}, oldest_ms=2_000 + LEASE_MS
    )


def take(machine: Machine, job: Job) -> None:
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    assert machine.leases.take(kept) is not None
