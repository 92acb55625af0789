"""Places in the queue: exact while they can be, and looked up rarely."""

from collections.abc import Callable

from jobs.queue_position import KEPT_S, MAX_LOOKED_AT, QueuePositions
from storage.kv import Item, KeyValue, Unavailable
from tests.jobs.machine import Machine
from tests.ticking import Seconds
from tests.watched import WatchedStore


def positions(
    machine: Machine,
    *,
    kv: KeyValue | None = None,
    seconds: Seconds | None = None,
    works_on: Callable[[str], str | None] = lambda _: None,
) -> QueuePositions:
    return QueuePositions(
        kv or machine.kv,
        works_on=works_on,
        clock=machine.clock,
        seconds=seconds or Seconds(),
    )


def test_the_next_job_has_the_first_place(machine: Machine) -> None:
    caller = machine.customer()
    submitted = []
    for _ in range(3):
        submitted.append(machine.submit(caller))
        machine.clock.advance(seconds=1)
    queue = positions(machine)
    assert [queue.of(job) for job in submitted] == [1, 2, 3]


def test_a_job_that_was_hinted_at_again_keeps_its_place(machine: Machine) -> None:
    caller = machine.customer()
    first = machine.submit(caller)
    machine.clock.advance(seconds=1)
    second = machine.submit(caller)
    machine.clock.advance(seconds=machine.services.dispatch_grace_ms / 1000 - 0.5)
    machine.sweep()  # which moves the first job's `due` beyond the second's
    assert machine.looked_at_ms(first.id) != machine.looked_at_ms(second.id)
    queue = positions(machine)
    assert [queue.of(first), queue.of(second)] == [1, 2]


def test_jobs_at_work_and_at_their_end_do_not_count(machine: Machine) -> None:
    caller = machine.customer()
    submitted = []
    for _ in range(3):
        submitted.append(machine.submit(caller))
        machine.clock.advance(seconds=1)
    assert machine.leases.take(machine.kept(submitted[0].id)) is not None
    machine.work(submitted[1].id)
    assert positions(machine).of(submitted[2]) == 1


def test_jobs_of_another_device_wait_in_another_line(machine: Machine) -> None:
    caller = machine.customer()
    machine.submit(caller)
    machine.clock.advance(seconds=1)
    job = machine.submit(caller)
    creative = job.model_copy(
        update={"params": job.params.model_copy(update={"model": "clarity-upscale"})}
    )
    assert positions(machine, works_on=lambda model: model).of(creative) == 1
    assert positions(machine).of(creative) == 2


def test_a_job_that_the_queue_lacks_has_a_place_all_the_same(machine: Machine) -> None:
    caller = machine.customer()
    machine.submit(caller)
    queue = positions(machine)
    machine.clock.advance(seconds=1)
    assert queue.of(machine.submit(caller)) == 2


def test_the_queue_is_looked_at_once_in_a_while_for_all(machine: Machine) -> None:
    caller = machine.customer()
    submitted = [machine.submit(caller) for _ in range(3)]
    store, seconds = WatchedStore(machine.kv), Seconds()
    queue = positions(machine, kv=store, seconds=seconds)
    for _ in range(2):
        for job in submitted:
            queue.of(job)
    assert store.calls == 1
    seconds.advance(KEPT_S)
    queue.of(submitted[0])
    assert store.calls == 2


class LongQueue(WatchedStore):
    """A store whose queues have a full page, whatever waits."""

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        assert limit == MAX_LOOKED_AT
        found = super().due(queue, until_ms=until_ms, limit=limit)
        return found * limit


def test_in_a_queue_that_is_too_long_no_place_is_known(machine: Machine) -> None:
    job = machine.submit(machine.customer())
    assert positions(machine, kv=LongQueue(machine.kv)).of(job) is None


def test_while_the_queue_cannot_be_read_no_place_is_known_and_few_ask(machine: Machine) -> None:
    job, seconds, outage = machine.submit(machine.customer()), Seconds(), [True]

    def fail(_: int) -> None:
        if outage:
            raise Unavailable("no answer")

    store = WatchedStore(machine.kv, before=fail)
    queue = positions(machine, kv=store, seconds=seconds)
    assert [queue.of(job) for _ in range(3)] == [None] * 3
    assert store.calls == 1
    outage.clear()
    seconds.advance(KEPT_S)
    assert queue.of(job) == 1
