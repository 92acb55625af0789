"""A worker that dies, or whose store fails, at any call: the job ends exactly once all the same."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from billing.keys import Caller
from inference.errors import CorruptImage
from jobs.endings import MAX_ATTEMPTS
from jobs.job import Job, Status
from jobs.lease import Report
from storage.kv import StoreError, Unavailable, Unknown
from tests.jobs.machine import Crash, Machine, told_at
from tests.running import LEASE_MS
from tests.watched import WatchedStore

WORKING_CALLS = 8
FAILING_CALLS = 6  # of work that finds a bad picture: no result is kept
"""How many calls of the store a job's work makes: find and claim, find and end it, two each."""

COUNTING_CALLS = 2
"""Then the end is counted: the first time there is no item to add to."""


def succeed(report: Report) -> None:
    report(1, 1)


def dislike(_: Report) -> None:
    raise CorruptImage


@pytest.fixture
def job(machine: Machine, caller: Caller) -> Job:
    return machine.submit(caller, webhook=told_at("https://example.com/hook"))


def recover(machine: Machine, job: Job) -> None:
    """Let time pass, sweep and work, until nothing is left to do."""
    for _ in range(MAX_ATTEMPTS + 1):
        machine.clock.now_ms += LEASE_MS
        machine.sweep_and_work()
    assert machine.looked_at_ms(job.id) != machine.clock()


@pytest.mark.parametrize(("does", "calls"), [(succeed, WORKING_CALLS), (dislike, FAILING_CALLS)])
def test_so_many_calls_of_the_store_are_made(
    machine: Machine, job: Job, does: Callable[[Report], None], calls: int
) -> None:
    machine.engine.does = does
    watched = WatchedStore(machine.kv)
    replace(machine, kv=watched).work(job.id)
    assert watched.calls == calls + COUNTING_CALLS


@pytest.mark.parametrize(
    ("moment", "fault"),
    [
        ("before", Crash),
        ("after", Crash),
        ("before", Unavailable),
        ("before", Unknown),
        ("after", Unknown),
    ],
)
@pytest.mark.parametrize(
    ("does", "at"),
    [(succeed, at) for at in range(WORKING_CALLS + COUNTING_CALLS)]
    + [(dislike, at) for at in range(FAILING_CALLS + COUNTING_CALLS)],
)
def test_a_failure_at_any_call_of_the_store_leaves_one_end(
    machine: Machine,
    job: Job,
    at: int,
    moment: str,
    fault: type[BaseException],
    does: Callable[[Report], None],
) -> None:
    def fail(call: int) -> None:
        if call == at:
            raise fault

    machine.engine.does = does
    watched = WatchedStore(machine.kv, **{moment: fail})
    with suppress(StoreError, Crash):
        replace(machine, kv=watched).work(job.id)
    assert watched.calls > at
    assert machine.contradictions() == []
    recover(machine, job)
    status = Status.COMPLETED if does is succeed else Status.FAILED
    assert machine.job(job.id).status is status
    assert list(machine.outbox(job.id)) == [status.value]
    assert machine.balance(job.account_id).available == (92 if does is succeed else 100)
    assert machine.contradictions() == []


@pytest.mark.parametrize("at", range(WORKING_CALLS + COUNTING_CALLS))
def test_a_worker_that_always_dies_at_the_same_call_ends_in_a_refund_or_a_result(
    machine: Machine, job: Job, at: int
) -> None:
    def die(call: int) -> None:
        if call == at:
            raise Crash

    for _ in range(MAX_ATTEMPTS + 1):
        with suppress(Crash):
            replace(machine, kv=WatchedStore(machine.kv, before=die)).work(job.id)
        assert machine.contradictions() == []
        machine.clock.now_ms += LEASE_MS
    machine.sweep_and_work()
    ended = machine.job(job.id)
    # Before its claim is written an attempt does not count; after the end nothing is lost.
    is_completed = at < 3 or at >= WORKING_CALLS
    assert ended.status is (Status.COMPLETED if is_completed else Status.FAILED)
    assert machine.contradictions() == []
