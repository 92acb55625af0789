"""The sweeper: hints at all that is due, survives what fails, and stays short."""

from dataclasses import replace

import pytest

from billing.keys import Caller
from jobs.job import Failure, Status
from jobs.lease import deadline_ms
from jobs.records import RETENTION, find_job
from jobs.sweeper import MAX_PER_QUEUE, MAX_ROUNDS
from jobs.uploads import UPLOADS_QUEUE
from jobs.webhooks import DELIVERIES
from storage.kv import Due, Key, Put, Unavailable
from storage.objects import read
from tests.jobs.machine import PARAMS, PICTURE, PRICE_CREDITS, Crash, Machine, told_at
from tests.running import DISPATCH_GRACE_MS, Clock, Origin
from tests.watched import WatchedStore


def plant(machine: Machine, queue: str, count: int) -> None:
    """Put items that are due in a queue, of no use to anybody."""
    puts = [
        Put(Key("planted", f"{queue} {number:04}"), {}, due=Due(queue, number))
        for number in range(count)
    ]
    for start in range(0, count, 25):
        machine.kv.commit(*puts[start : start + 25])


def test_a_job_whose_hint_was_lost_is_found_after_the_grace(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    job = machine.submit(caller)
    machine.hints.jobs.clear()
    clock.now_ms += DISPATCH_GRACE_MS - 1
    machine.sweep()
    assert machine.hints.jobs == []
    clock.now_ms += 1
    machine.sweep()
    assert machine.hints.jobs == [job.id]


def test_hints_say_which_model_a_job_is_for(machine: Machine, caller: Caller, clock: Clock) -> None:
    machine.submit(caller)
    clock.now_ms += DISPATCH_GRACE_MS
    machine.sweep()
    assert machine.hints.models == [PARAMS.model] * 2  # at the submission, and by the sweep


def test_a_delivery_whose_hint_was_lost_is_found(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    machine.work(job.id)
    machine.hints.deliveries.clear()
    machine.deliver()
    assert len(origin.received) == 1
    machine.deliver()
    assert len(origin.received) == 1


def test_what_has_ended_and_been_tidied_is_not_looked_at_again(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    job = machine.submit(caller)
    machine.work(job.id)
    machine.sweep()
    machine.hints.jobs.clear()
    clock.advance(seconds=24 * 3600)
    watched = WatchedStore(machine.kv)
    replace(machine, kv=watched).sweep()
    assert watched.calls == 5  # four queues and the purge: nothing was due
    assert machine.hints.jobs == []


@pytest.mark.parametrize("queue", [RETENTION, UPLOADS_QUEUE])
def test_a_broken_record_does_not_keep_the_others_waiting(
    machine: Machine, caller: Caller, clock: Clock, queue: str
) -> None:
    job = machine.submit(caller)
    machine.work(job.id)
    upload = machine.services.uploads.receive(caller.account_id, PICTURE)
    plant(machine, queue, 3)
    clock.now_ms = upload.expires_at_ms
    machine.sweep()
    assert read(machine.objects, job.source.object_name) is None
    assert read(machine.objects, upload.object_name) is None


def test_a_store_that_fails_once_costs_one_item_a_sweep(machine: Machine, caller: Caller) -> None:
    jobs = [machine.submit(caller) for _ in range(3)]
    for job in jobs:
        machine.work(job.id)

    def fail(call: int) -> None:
        if call == 3:  # three queues were asked; this is the first job that is tidied
            raise Unavailable

    replace(machine, kv=WatchedStore(machine.kv, before=fail)).sweep()
    left = [job for job in jobs if read(machine.objects, job.source.object_name)]
    assert len(left) == 1
    machine.sweep()
    assert read(machine.objects, left[0].source.object_name) is None


def test_a_sweep_takes_a_bounded_number_of_deliveries(machine: Machine) -> None:
    plant(machine, DELIVERIES, MAX_PER_QUEUE + 5)
    machine.sweep()
    assert len(machine.hints.deliveries) == MAX_PER_QUEUE


def test_a_sweep_takes_a_bounded_number_of_jobs(machine: Machine, clock: Clock) -> None:
    many = MAX_PER_QUEUE + 5
    caller = machine.customer(credits=many * PRICE_CREDITS, max_in_flight=many)
    for _ in range(many):
        machine.submit(caller)
    machine.hints.jobs.clear()
    clock.now_ms += DISPATCH_GRACE_MS
    machine.sweep()
    assert len(machine.hints.jobs) == MAX_PER_QUEUE


@pytest.mark.parametrize("attempts", [0, 1])
def test_the_sweeper_fails_what_is_past_its_deadline_when_no_worker_does(
    machine: Machine, caller: Caller, clock: Clock, attempts: int
) -> None:
    job = machine.submit(caller)
    if attempts:  # a worker has it, and hangs
        kept = find_job(machine.kv, job.id)
        assert kept is not None
        assert machine.leases.take(kept) is not None
    clock.now_ms = deadline_ms(job)
    machine.hints.jobs.clear()
    machine.sweep()
    assert machine.job(job.id).failure == Failure(
        code="DEADLINE_EXCEEDED", message="The image could not be processed in time"
    )
    assert machine.balance(caller.account_id).held == 0
    assert machine.hints.jobs == []
    assert machine.contradictions() == []


def test_what_has_expired_is_purged(machine: Machine, clock: Clock) -> None:
    machine.kv.commit(Put(Key("p", "old"), {}, expires_at_ms=clock() + 1))
    clock.now_ms += 1
    machine.sweep()
    assert machine.kv.purge(limit=1) == 0


def test_a_hint_and_a_sweep_together_work_on_a_job_once(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    job = machine.submit(caller)
    clock.now_ms += DISPATCH_GRACE_MS
    machine.sweep_and_work()
    machine.work(job.id)
    assert machine.engine.calls == 1
    assert machine.job(job.id).status is Status.COMPLETED


def test_a_sweeper_that_dies_at_any_call_leaves_the_rest_to_the_next(
    machine: Machine, caller: Caller
) -> None:
    jobs = [machine.submit(caller) for _ in range(2)]
    for job in jobs:
        machine.work(job.id)
    for at in range(20):

        def die(call: int, at: int = at) -> None:
            if call == at:
                raise Crash

        watched = WatchedStore(machine.kv, after=die)
        try:
            replace(machine, kv=watched).sweep()
        except Crash:
            continue
        break
    assert watched.calls == 5
    assert [read(machine.objects, job.source.object_name) for job in jobs] == [None, None]
    assert machine.contradictions() == []


def test_tidying_all_goes_on_until_nothing_is_left(machine: Machine, caller: Caller) -> None:
    kept_for_ms = 1000
    puts = [
        Put(Key("old", f"{number:04}"), {}, expires_at_ms=machine.clock() + kept_for_ms)
        for number in range(MAX_PER_QUEUE + 1)
    ]
    for start in range(0, len(puts), 25):
        machine.kv.commit(*puts[start : start + 25])
    job = machine.submit(caller)
    machine.work(job.id)
    machine.clock.now_ms += kept_for_ms
    machine.services.sweeper.tidy_all()
    assert machine.kv.purge(limit=1) == 0
    assert read(machine.objects, job.source.object_name) is None


def test_what_cannot_be_tidied_does_not_keep_tidying_for_ever(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    plant(machine, RETENTION, 1)
    machine.services.sweeper.tidy_all()
    assert f"{MAX_ROUNDS} rounds" in caplog.messages[-1]
