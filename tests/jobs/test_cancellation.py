"""Cancellation: queued or running, once, with the credits back, whoever was faster."""

from dataclasses import replace
from uuid import UUID

import pytest

from billing.keys import Caller
from billing.usage import usage
from inference.errors import CorruptImage
from jobs.errors import JobFinished, JobForeign, JobUnknown
from jobs.job import Job, Status
from jobs.lease import Report
from storage.kv import KeyValue, Unavailable, Unknown
from storage.objects import read
from tests.jobs.machine import Machine, told_at
from tests.running import Clock
from tests.watched import WatchedStore

CREDITS = 100
DAY_S = 86_400
LATER_S = 7 * DAY_S


@pytest.fixture
def job(machine: Machine, caller: Caller) -> Job:
    return machine.submit(caller, webhook=told_at("https://example.com/hook"))


def cancel(machine: Machine, job: Job) -> Job:
    return machine.services.cancellations.cancel(job.account_id, job.id)


def test_a_queued_job_ends_at_once_and_its_credits_come_back(machine: Machine, job: Job) -> None:
    ended = cancel(machine, job)
    assert (ended.status, ended.cost_credits) == (Status.CANCELLED, 0)
    assert machine.job(job.id) == ended
    balance = machine.balance(job.account_id)
    assert (balance.available, balance.held, balance.in_flight) == (CREDITS, 0, 0)
    assert machine.contradictions() == []


def test_a_cancelled_job_is_not_worked_on(machine: Machine, job: Job) -> None:
    cancel(machine, job)
    machine.work(job.id)
    machine.sweep_and_work()
    assert machine.engine.calls == 0


def test_it_is_told_by_webhook(machine: Machine, job: Job) -> None:
    cancel(machine, job)
    (delivery,) = machine.outbox(job.id).values()
    assert '"event": "failed"' in delivery.body
    assert '"status": "CANCELLED"' in delivery.body
    assert '"creditCost": 0' in delivery.body
    assert machine.hints.deliveries != []


def test_it_is_no_longer_counted_as_used(machine: Machine, job: Job) -> None:
    cancel(machine, job)
    (row,) = usage(machine.kv, job.account_id, first_day=0, last_day=99_999)
    assert (row.refunded_jobs, row.refunded_credits) == (1, job.price_credits)


def test_a_running_job_ends_at_once_and_its_result_is_not_kept(machine: Machine, job: Job) -> None:
    def work(report: Report) -> None:
        report(1, 2)
        cancel(machine, job)

    machine.engine.does = work
    machine.work(job.id)
    assert machine.job(job.id).status is Status.CANCELLED
    assert machine.balance(job.account_id).available == CREDITS
    assert machine.contradictions() == []


def test_whatever_a_worker_left_behind_is_deleted(machine: Machine, job: Job, clock: Clock) -> None:
    def work(report: Report) -> None:
        report(1, 2)
        cancel(machine, job)
        machine.objects.put(f"images/{job.id}-1.png", b"late", content_type="image/png")

    machine.engine.does = work
    machine.work(job.id)
    clock.advance(seconds=LATER_S)
    machine.sweep()
    assert read(machine.objects, f"images/{job.id}-1.png") is None
    assert read(machine.objects, job.source.object_name) is None


def test_to_cancel_twice_is_quiet(machine: Machine, job: Job) -> None:
    assert cancel(machine, job) == cancel(machine, job)
    assert machine.balance(job.account_id).available == CREDITS


@pytest.mark.parametrize("is_well", [True, False])
def test_a_job_at_its_end_cannot_be_cancelled(machine: Machine, job: Job, is_well: bool) -> None:
    def dislike(_: Report) -> None:
        raise CorruptImage

    if not is_well:
        machine.engine.does = dislike
    machine.work(job.id)
    before = machine.job(job.id), machine.balance(job.account_id)
    with pytest.raises(JobFinished):
        cancel(machine, job)
    assert (machine.job(job.id), machine.balance(job.account_id)) == before


def test_nobody_cancels_what_is_not_theirs(machine: Machine, job: Job) -> None:
    other = machine.customer().account_id
    with pytest.raises(JobForeign):
        machine.services.cancellations.cancel(other, job.id)
    with pytest.raises(JobUnknown):
        machine.services.cancellations.cancel(other, UUID(int=1))
    assert machine.job(job.id) == job


def over(machine: Machine, kv: KeyValue) -> Machine:
    return replace(machine, kv=kv)


def test_a_worker_that_takes_the_job_meanwhile_changes_nothing(machine: Machine, job: Job) -> None:
    def take(call: int) -> None:
        if call == 1:  # the commit, after the job was read
            machine.engine.does = lambda report: report(1, 2)
            kept = machine.services.leases.take(machine.kept(job.id))
            assert kept is not None

    cancel(over(machine, WatchedStore(machine.kv, before=take)), job)
    assert machine.job(job.id).status is Status.CANCELLED
    assert machine.contradictions() == []


def test_a_worker_that_was_faster_has_the_last_word(machine: Machine, job: Job) -> None:
    def finish(call: int) -> None:
        if call == 1:
            machine.work(job.id)

    with pytest.raises(JobFinished):
        cancel(over(machine, WatchedStore(machine.kv, before=finish)), job)
    assert machine.job(job.id).status is Status.COMPLETED
    assert machine.contradictions() == []


def test_a_lost_answer_is_found_out(machine: Machine, job: Job) -> None:
    def lose(call: int) -> None:
        if call == 1:
            raise Unknown

    assert cancel(over(machine, WatchedStore(machine.kv, after=lose)), job).status is (
        Status.CANCELLED
    )
    assert machine.balance(job.account_id).available == CREDITS


def test_a_job_that_changes_all_the_time_is_too_contended(machine: Machine, job: Job) -> None:
    def lose(call: int) -> None:
        if call % 2 == 1:
            raise Unknown

    with pytest.raises(Unavailable):
        cancel(over(machine, WatchedStore(machine.kv, before=lose)), job)
    assert machine.job(job.id).status is Status.QUEUED
