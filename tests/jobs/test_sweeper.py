"""The sweeper: hints at all that is due, survives what fails, and stays short."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from billing.keys import Caller
from jobs.job import Failure, Job, Status
from jobs.lease import deadline_ms
from jobs.records import JOBS, RETENTION, find_job
from jobs.retention import RETRY_MS
from jobs.services import MAX_ATTEMPTS_PER_HOST
from jobs.sweeper import MAX_PER_QUEUE, MAX_ROUNDS, REHINT_MS
from jobs.uploads import UPLOADS_QUEUE
from jobs.webhooks import DELIVERIES, delivery_put
from storage.folder import FolderObjects
from storage.kv import Due, Item, Key, KeyValue, Put, Unavailable
from storage.objects import ObjectsError, read
from tests.jobs.machine import PARAMS, PICTURE, PRICE_CREDITS, Crash, Machine, told_at
from tests.running import DISPATCH_GRACE_MS, LEASE_MS, Clock, Origin
from tests.watched import WatchedStore

CALLS_WITHOUT_WORK = 7
"""Six queues and the purge."""


def plant(machine: Machine, queue: str, count: int) -> None:
    """Put items that are due in a queue, of no use to anybody."""
    puts = [
        Put(Key("planted", f"{queue} {number:04}"), {}, due=Due(queue, number))
        for number in range(count)
    ]
    for start in range(0, count, 25):
        machine.kv.commit(*puts[start : start + 25])


def take(machine: Machine, job_id: UUID) -> Job:
    """Claim a job that nobody has."""
    kept = find_job(machine.kv, job_id)
    taken = None if kept is None else machine.leases.take(kept)
    assert taken is not None
    return taken


class LaggingStore(WatchedStore):
    """A store whose queues still show what was due a while ago."""

    def __init__(self, kv: KeyValue, late: list[Item]) -> None:
        super().__init__(kv)
        self._late = late

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        if queue == JOBS:
            return self._late
        return super().due(queue, until_ms=until_ms, limit=limit)


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
    assert watched.calls == CALLS_WITHOUT_WORK
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
        if call == 5:  # five queues were asked; this is the first job that is tidied
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


def waiting(machine: Machine, count: int) -> set[UUID]:
    """So many jobs whose hints were all lost, and which are due."""
    caller = machine.customer(credits=count * PRICE_CREDITS, max_in_flight=count)
    jobs = {machine.submit(caller).id for _ in range(count)}
    machine.hints.jobs.clear()
    machine.clock.now_ms += DISPATCH_GRACE_MS
    return jobs


def test_a_sweep_takes_a_bounded_number_of_jobs_and_the_next_ones_the_others(
    machine: Machine,
) -> None:
    jobs = waiting(machine, 2 * MAX_PER_QUEUE + 100)
    hinted_at = []
    for _ in range(3):
        before = len(machine.hints.jobs)
        machine.sweep()
        hinted_at.append(len(machine.hints.jobs) - before)
    assert hinted_at == [MAX_PER_QUEUE, MAX_PER_QUEUE, 100]
    assert set(machine.hints.jobs) == jobs


def test_a_job_that_was_hinted_at_is_hinted_at_again_when_nobody_came(machine: Machine) -> None:
    (job_id,) = waiting(machine, 1)
    machine.sweep()
    machine.clock.now_ms += REHINT_MS - 1
    machine.sweep()
    assert machine.hints.jobs == [job_id]
    machine.clock.now_ms += 1
    machine.sweep()
    assert machine.hints.jobs == [job_id] * 2


def test_how_long_nobody_may_come_is_the_deployments_to_say(machine: Machine) -> None:
    (job_id,) = waiting(machine, 1)
    replace(machine.services.sweeper, rehint_ms=1_000).sweep()
    machine.clock.now_ms += 1_000
    machine.sweep()
    assert machine.hints.jobs == [job_id] * 2


def test_a_job_that_was_hinted_at_may_be_claimed_at_once(machine: Machine) -> None:
    (job_id,) = waiting(machine, 1)
    machine.sweep_and_work()
    assert machine.job(job_id).status is Status.COMPLETED


def test_a_job_whose_lease_has_ended_is_hinted_at_and_may_be_claimed_at_once(
    machine: Machine,
) -> None:
    (job_id,) = waiting(machine, 1)
    take(machine, job_id)
    machine.clock.now_ms += LEASE_MS
    for _ in range(2):
        machine.sweep()
    assert machine.hints.jobs == [job_id]
    machine.clock.now_ms += REHINT_MS
    machine.sweep()
    assert machine.hints.jobs == [job_id] * 2
    machine.work(job_id)
    assert (machine.job(job_id).status, machine.job(job_id).attempt) == (Status.COMPLETED, 2)


def test_a_worker_that_lives_on_has_its_job_back_after_a_hint(machine: Machine) -> None:
    (job_id,) = waiting(machine, 1)
    job = take(machine, job_id)
    machine.clock.now_ms += LEASE_MS
    machine.sweep()
    machine.leases.renew(job, 10, 100)
    assert machine.looked_at_ms(job_id) == machine.clock() + LEASE_MS
    machine.clock.now_ms += LEASE_MS - 1
    machine.sweep()
    assert machine.hints.jobs == [job_id]


def test_no_hint_moves_a_job_past_its_deadline(machine: Machine) -> None:
    (job_id,) = waiting(machine, 1)
    deadline = deadline_ms(machine.job(job_id))
    machine.clock.now_ms = deadline - 1
    machine.sweep()
    assert machine.looked_at_ms(job_id) == deadline
    machine.clock.now_ms = deadline
    machine.sweep()
    assert machine.job(job_id).status is Status.FAILED


def test_who_claims_a_job_during_a_sweep_is_left_in_peace(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    (job_id,) = waiting(machine, 1)

    def claim(call: int) -> None:
        if call == 2:  # the queue was asked, and the job read by its pointer; the commit follows
            take(machine, job_id)

    watched = WatchedStore(machine.kv, after=claim)
    replace(machine, kv=watched).sweep()
    assert machine.hints.jobs == []
    assert machine.job(job_id).attempt == 1
    assert caplog.messages == []


def test_a_queue_that_lags_has_nobody_hinted_at_twice(machine: Machine) -> None:
    waiting(machine, 1)
    late = machine.kv.due(JOBS, until_ms=machine.clock(), limit=1)
    machine.sweep()
    replace(machine, kv=LaggingStore(machine.kv, late)).sweep()
    assert len(machine.hints.jobs) == 1


def test_receivers_that_are_busy_do_not_keep_the_others_waiting(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    machine.work(job.id)
    ended = machine.outbox(job.id)["completed"]
    for number in range(MAX_PER_QUEUE):
        busy = ended.model_copy(update={"name": f"{number}", "url": "http://busy.test/hook"})
        machine.kv.commit(delivery_put(busy, replaces=None, due_at_ms=number))
    with ExitStack() as turns:
        for _ in range(MAX_ATTEMPTS_PER_HOST):
            turns.enter_context(machine.courier.turns.taken(f"{caller.account_id} busy.test:80"))
        for _ in range(2):
            machine.hints.deliveries.clear()
            machine.deliver()
    assert len(origin.received) == 1


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
    assert watched.calls == CALLS_WITHOUT_WORK
    assert [read(machine.objects, job.source.object_name) for job in jobs] == [None, None]
    assert machine.contradictions() == []


class Hanging(FolderObjects):
    """An object store that takes two minutes to fail to delete anything."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder)
        self.clock = clock
        self.calls = 0

    def delete(self, name: str) -> None:
        self.calls += 1
        self.clock.advance(seconds=120)
        raise ObjectsError(f"{name}: no answer")


def test_an_object_store_that_hangs_does_not_hold_up_the_rest(
    machine: Machine, caller: Caller, clock: Clock, tmp_path: Path
) -> None:
    jobs = [machine.submit(caller) for _ in range(3)]
    for job in jobs:
        machine.work(job.id)
    hanging = Hanging(tmp_path / "objects", clock)
    replace(machine, objects=hanging).sweep()
    assert hanging.calls == 1
    clock.advance(seconds=RETRY_MS / 1000)
    machine.sweep()  # the store is well again
    assert [read(machine.objects, job.source.object_name) for job in jobs] == [None] * 3


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
