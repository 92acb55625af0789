"""Leases: taken once, renewed by the work, lost to whoever is next, over at the deadline."""

import threading
from dataclasses import replace

import pytest

from billing.keys import Caller
from jobs.endings import MAX_ATTEMPTS
from jobs.errors import LeaseLost
from jobs.job import Job, Status
from jobs.lease import DEADLINE_MS, Report
from jobs.records import find_job, next_put
from storage.kv import Unavailable, Unknown
from tests.jobs.machine import PATIENCE_S, EngineDouble, Machine, told_at
from tests.running import LEASE_MS, Clock
from tests.watched import WatchedStore


@pytest.fixture
def job(machine: Machine, caller: Caller) -> Job:
    return machine.submit(caller, webhook=told_at("https://example.com/hook"))


def taken(machine: Machine, job: Job) -> Job:
    """The job with a lease on it."""
    claimed = try_to_take(machine, job)
    assert claimed is not None
    return claimed


def try_to_take(machine: Machine, job: Job) -> Job | None:
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    return machine.leases.take(kept)


def test_a_lease_is_taken_for_its_time(machine: Machine, job: Job, clock: Clock) -> None:
    claimed = taken(machine, job)
    assert (claimed.status, claimed.attempt) == (Status.PROCESSING, 1)
    assert machine.job(job.id) == claimed
    assert machine.looked_at_ms(job.id) == clock() + LEASE_MS


def test_a_leased_job_is_not_taken_before_the_lease_ends(
    machine: Machine, job: Job, clock: Clock
) -> None:
    taken(machine, job)
    clock.now_ms += LEASE_MS - 1
    assert try_to_take(machine, job) is None
    clock.now_ms += 1
    assert taken(machine, job).attempt == 2


def test_a_renewal_survives_a_sweep_that_has_looked_at_the_job_meanwhile(
    machine: Machine, job: Job
) -> None:
    claimed = taken(machine, job)

    def look(call: int) -> None:
        if call == 2:  # the renewal's commit, after it has read the job
            kept = find_job(machine.kv, job.id)
            assert kept is not None
            machine.kv.commit(next_put(kept.job, replaces=kept.version, due=kept.due))

    disturbed = replace(machine, kv=WatchedStore(machine.kv, before=look))
    disturbed.leases.renew(claimed, 1, 2)
    assert machine.job(job.id).progress == 50


def test_a_job_that_changes_all_the_time_cannot_be_renewed(machine: Machine, job: Job) -> None:
    claimed = taken(machine, job)

    def look(call: int) -> None:
        if call % 3 == 2:
            kept = find_job(machine.kv, job.id)
            assert kept is not None
            machine.kv.commit(next_put(kept.job, replaces=kept.version, due=kept.due))

    disturbed = replace(machine, kv=WatchedStore(machine.kv, before=look))
    with pytest.raises(Unavailable):
        disturbed.leases.renew(claimed, 1, 2)


def test_of_two_who_read_the_same_job_one_takes_it(machine: Machine, job: Job) -> None:
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    assert machine.leases.take(kept) is not None
    assert machine.leases.take(kept) is None
    assert machine.job(job.id).attempt == 1


def test_progress_renews_the_lease_and_never_falls(
    machine: Machine, job: Job, clock: Clock
) -> None:
    claimed = taken(machine, job)
    told = []
    for progress in (10, 40, 30, 40, 90, 100):
        clock.advance(seconds=20)
        machine.leases.renew(claimed, progress, 100)
        told.append(machine.job(job.id).progress)
        assert machine.looked_at_ms(job.id) == clock() + LEASE_MS
    assert told == [10, 40, 40, 40, 90, 99]


def test_only_news_of_progress_is_announced(machine: Machine, job: Job) -> None:
    claimed = taken(machine, job)
    for progress in (0, 10, 10, 5, 20):
        machine.leases.renew(claimed, progress, 100)
    assert [delivery.event for delivery in machine.outbox(job.id).values()] == ["progress"] * 2
    assert [key.sort for key in machine.hints.deliveries] == ["progress-1-10", "progress-1-20"]


def test_a_lost_lease_is_told(machine: Machine, job: Job, clock: Clock) -> None:
    stale = taken(machine, job)
    clock.now_ms += LEASE_MS
    current = taken(machine, job)
    with pytest.raises(LeaseLost):
        machine.leases.renew(stale, 50, 100)
    with pytest.raises(LeaseLost):
        machine.leases.current(stale)
    assert machine.leases.current(current).job == current
    machine.leases.give_back(stale)
    assert machine.looked_at_ms(job.id) == clock() + LEASE_MS


def test_the_lease_of_an_ended_job_is_lost(machine: Machine, job: Job) -> None:
    claimed = taken(machine, job)
    machine.clock.now_ms += LEASE_MS
    machine.work(job.id)
    with pytest.raises(LeaseLost):
        machine.leases.renew(claimed, 50, 100)


def test_no_lease_outlives_the_deadline(machine: Machine, job: Job, clock: Clock) -> None:
    deadline_ms = job.created_at_ms + DEADLINE_MS
    clock.now_ms = deadline_ms - LEASE_MS // 2
    claimed = taken(machine, job)
    assert machine.looked_at_ms(job.id) == deadline_ms
    machine.leases.renew(claimed, 50, 100)
    assert machine.looked_at_ms(job.id) == deadline_ms
    clock.now_ms = deadline_ms - 1
    machine.leases.give_back(claimed)
    assert machine.looked_at_ms(job.id) == deadline_ms


def test_a_lease_given_back_is_free_after_a_moment(
    machine: Machine, job: Job, clock: Clock
) -> None:
    machine.leases.give_back(taken(machine, job))
    assert try_to_take(machine, job) is None
    clock.advance(seconds=5)
    assert taken(machine, job).attempt == 2


def test_giving_back_to_a_store_that_is_down_leaves_the_lease(
    machine: Machine, job: Job, clock: Clock
) -> None:
    claimed = taken(machine, job)

    def refuse(_: int) -> None:
        raise Unavailable

    down = replace(machine, kv=WatchedStore(machine.kv, before=refuse))
    down.leases.give_back(claimed)
    assert machine.looked_at_ms(job.id) == clock() + LEASE_MS


def renewing_thread(job: Job) -> threading.Thread:
    """The thread that renews the job's lease at the moment."""
    return next(each for each in threading.enumerate() if each.name == f"lease-{job.id}")


class Renewals:
    """Hears of the store's calls that are made by the thread that renews leases."""

    def __init__(self, machine: Machine, *, lease_ms: int = 30) -> None:
        self.heard = threading.Semaphore(0)
        self.machine = replace(
            machine,
            kv=WatchedStore(machine.kv, before=self._before, after=self._after),
            lease_ms=lease_ms,
            engine=EngineDouble(),
        )
        self.fault: Exception | None = None

    def wait(self, calls: int) -> None:
        """Return when so many more calls of the store have been made, or have failed."""
        while self.heard.acquire(blocking=False):
            pass
        for _ in range(calls):
            assert self.heard.acquire(timeout=PATIENCE_S)

    def _before(self, _: int) -> None:
        if self._is_renewing() and self.fault is not None:
            self.heard.release()
            raise self.fault

    def _after(self, _: int) -> None:
        if self._is_renewing():
            self.heard.release()

    def _is_renewing(self) -> bool:
        return threading.current_thread().name.startswith("lease-")


def test_progress_is_recorded_while_the_work_goes_on(machine: Machine, job: Job) -> None:
    renewals = Renewals(machine)
    told = []

    def work(report: Report) -> None:
        for done in (1, 2, 3):
            report(done, 4)
            renewals.wait(6)  # two renewals: the first may have begun before the report
            told.append(machine.job(job.id).progress)

    renewals.machine.engine.does = work
    renewals.machine.work(job.id)
    assert told == [25, 50, 75]
    assert machine.job(job.id).status is Status.COMPLETED
    assert list(machine.outbox(job.id)) == [
        "completed", "progress-1-25", "progress-1-50", "progress-1-75",
    ]  # fmt: skip


def test_a_long_silent_step_keeps_its_lease(machine: Machine, job: Job, clock: Clock) -> None:
    renewals = Renewals(machine)

    def work(_report: Report) -> None:
        for _ in range(4):
            clock.now_ms += 25
            renewals.wait(6)
            assert machine.looked_at_ms(job.id) == clock() + 30
            machine.work(job.id)

    renewals.machine.engine.does = work
    renewals.machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt, machine.engine.calls) == (Status.COMPLETED, 1, 0)


@pytest.mark.parametrize("fault", [Unavailable(), Unknown()])
def test_a_store_that_fails_for_a_while_does_not_end_the_work(
    machine: Machine, job: Job, fault: Exception
) -> None:
    renewals = Renewals(machine)

    def work(report: Report) -> None:
        renewals.fault = fault
        renewals.wait(2)
        renewals.fault = None
        report(1, 2)
        renewals.wait(6)
        assert machine.job(job.id).progress == 50

    renewals.machine.engine.does = work
    renewals.machine.work(job.id)
    assert machine.job(job.id).status is Status.COMPLETED


def test_work_is_stopped_once_its_lease_is_lost(machine: Machine, job: Job, clock: Clock) -> None:
    renewals = Renewals(machine)

    def work(report: Report) -> None:
        renewals.fault = Unavailable()
        renewals.wait(1)
        clock.now_ms += 30
        machine.work(job.id)
        renewals.fault = None
        renewing_thread(job).join(PATIENCE_S)
        with pytest.raises(LeaseLost):
            report(1, 2)
        report(2, 2)

    renewals.machine.engine.does = work
    renewals.machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.attempt, ended.status) == (2, Status.COMPLETED)
    assert machine.contradictions() == []


def test_work_on_a_cancelled_job_stops_at_its_next_step(machine: Machine, job: Job) -> None:
    renewals = Renewals(machine)

    def work(report: Report) -> None:
        report(1, 2)
        machine.services.cancellations.cancel(job.account_id, job.id)
        renewing_thread(job).join(PATIENCE_S)
        with pytest.raises(LeaseLost):
            report(2, 2)
        raise LeaseLost

    renewals.machine.engine.does = work
    renewals.machine.work(job.id)
    assert machine.job(job.id).status is Status.CANCELLED
    assert machine.contradictions() == []


def test_the_renewing_thread_ends_with_the_work(machine: Machine, job: Job) -> None:
    threads: list[threading.Thread] = []
    machine.engine.does = lambda _: threads.append(renewing_thread(job))
    machine.work(job.id)
    assert [thread.is_alive() for thread in threads] == [False]


def test_what_is_handed_over_can_be_taken_at_once_and_its_work_stops(
    machine: Machine, job: Job
) -> None:
    def work(report: Report) -> None:
        machine.leases.hand_over()
        assert taken(machine, job).attempt == 2
        with pytest.raises(LeaseLost):
            report(1, 2)
        report(2, 2)

    machine.engine.does = work
    machine.work(job.id)
    assert (machine.job(job.id).attempt, machine.job(job.id).status) == (2, Status.PROCESSING)
    assert machine.contradictions() == []


def test_interruptions_are_no_failures_of_the_job(machine: Machine, job: Job) -> None:
    for _ in range(MAX_ATTEMPTS + 1):
        machine.leases.give_back(taken(machine, job), is_interrupted=True)
    machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, MAX_ATTEMPTS + 2)


def test_work_that_ends_after_its_handing_over_counts_if_nobody_was_faster(
    machine: Machine, job: Job
) -> None:
    machine.engine.does = lambda _: machine.leases.hand_over()
    machine.work(job.id)
    ended = machine.job(job.id)
    assert (ended.attempt, ended.status) == (1, Status.COMPLETED)
    assert machine.contradictions() == []


def test_without_work_there_is_nothing_to_hand_over(machine: Machine, job: Job) -> None:
    machine.work(job.id)
    ended = machine.job(job.id)
    machine.leases.hand_over()
    assert machine.job(job.id) == ended
