"""Several sweepers at once see to each item once, and what fails keeps no other waiting."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from uuid import UUID

import pytest

from billing.keys import Caller
from jobs.endings import MAX_ATTEMPTS
from jobs.job import Status
from jobs.lease import deadline_ms
from jobs.records import RETENTION, find_job
from jobs.sweeper import MAX_PER_QUEUE
from jobs.uploads import RETRY_MS
from storage.kv import Change, Put, Unavailable
from storage.objects import read
from tests.jobs.machine import PICTURE, PRICE_CREDITS, Machine
from tests.jobs.test_retention import Unsteady
from tests.running import DISPATCH_GRACE_MS, LEASE_MS, Clock
from tests.watched import WatchedStore

SWEEPERS = 2
MANY = 500
SWEEPS = 4


def submitted(machine: Machine, count: int) -> list[UUID]:
    """So many jobs whose hints were all lost."""
    caller = machine.customer(credits=count * PRICE_CREDITS, max_in_flight=count)
    jobs = [machine.submit(caller).id for _ in range(count)]
    machine.hints.jobs.clear()
    return jobs


def sweep_together(machine: Machine, *, times: int) -> None:
    """Sweep so often, in two threads that begin every sweep together."""
    begin = Barrier(SWEEPERS)

    def sweep(_: int) -> None:
        for _ in range(times):
            begin.wait()
            machine.sweep()

    with ThreadPoolExecutor(SWEEPERS) as threads:
        list(threads.map(sweep, range(SWEEPERS)))


class Refusing(WatchedStore):
    """A store that cannot write one job."""

    def __init__(self, machine: Machine, job_id: UUID) -> None:
        super().__init__(machine.kv)
        self._job_id = str(job_id)

    def commit(self, *changes: Change) -> None:
        if any(isinstance(each, Put) and each.key.sort == self._job_id for each in changes):
            raise Unavailable
        super().commit(*changes)


def test_two_sweepers_on_500_jobs_hint_at_each_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = submitted(machine, MANY)
    machine.clock.now_ms += DISPATCH_GRACE_MS
    sweep_together(machine, times=SWEEPS)
    assert Counter(machine.hints.jobs) == Counter(jobs)
    assert caplog.messages == []


def test_two_sweepers_on_late_jobs_give_each_one_back_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = submitted(machine, 100)
    machine.clock.now_ms = deadline_ms(machine.job(jobs[0]))
    sweep_together(machine, times=SWEEPS)
    ended = [machine.job(job_id) for job_id in jobs]
    assert {job.status for job in ended} == {Status.FAILED}
    account = machine.balance(ended[0].account_id)
    assert (account.available, account.held, account.in_flight) == (100 * PRICE_CREDITS, 0, 0)
    assert machine.contradictions() == []
    assert caplog.messages == []


def test_two_sweepers_tidy_all_ended_jobs(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = submitted(machine, MAX_PER_QUEUE + 1)
    for job_id in jobs:
        kept = find_job(machine.kv, job_id)
        assert kept is not None
        machine.services.endings.cancel(kept)
    sweep_together(machine, times=SWEEPS)
    sizes = [machine.objects.size_bytes(machine.job(job).source.object_name) for job in jobs]
    assert set(sizes) == {None}
    assert machine.kv.due(RETENTION, until_ms=machine.clock(), limit=1) == []
    assert caplog.messages == []


def test_a_job_fails_after_its_attempts_and_its_credits_come_back(
    machine: Machine, caller: Caller
) -> None:
    job = machine.submit(caller)
    for _ in range(MAX_ATTEMPTS):
        kept = find_job(machine.kv, job.id)
        assert kept is not None
        assert machine.leases.take(kept) is not None
        machine.clock.now_ms += LEASE_MS  # whoever took it is dead
        machine.sweep()
    assert machine.job(job.id).status is Status.FAILED
    assert machine.balance(caller.account_id).available == 100
    assert machine.contradictions() == []


def queued(machine: Machine, _: UUID) -> None:
    machine.clock.now_ms += DISPATCH_GRACE_MS


def late(machine: Machine, job_id: UUID) -> None:
    machine.clock.now_ms = deadline_ms(machine.job(job_id))


@pytest.mark.parametrize("becomes", [queued, late])
def test_a_job_that_cannot_be_written_keeps_no_other_waiting(
    machine: Machine, becomes: Callable[[Machine, UUID], None]
) -> None:
    first, *others = submitted(machine, 3)
    becomes(machine, first)
    replace(machine, kv=Refusing(machine, first)).sweep()
    assert machine.job(first).status is Status.QUEUED
    if becomes is queued:
        assert Counter(machine.hints.jobs) == Counter(others)
    else:
        assert {machine.job(job_id).status for job_id in others} == {Status.FAILED}
    machine.sweep()  # the store is well again
    assert first in machine.hints.jobs or machine.job(first).status is Status.FAILED


def test_an_upload_that_cannot_be_deleted_keeps_no_other_waiting(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    uploads = [machine.services.uploads.receive(caller.account_id, PICTURE) for _ in range(3)]
    stuck, *others = [upload.object_name for upload in uploads]
    shaken = replace(machine, objects=Unsteady(machine.objects, stuck=frozenset({stuck})))
    clock.now_ms = uploads[0].expires_at_ms
    shaken.sweep()
    assert [read(machine.objects, name) for name in others] == [None, None]
    assert read(machine.objects, stuck) == PICTURE
    machine.sweep()
    assert read(machine.objects, stuck) == PICTURE  # it rests
    clock.now_ms += RETRY_MS
    machine.sweep()
    assert read(machine.objects, stuck) is None
