"""The watcher: what becomes of a job is told to all who watch, by few reads, and to an end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import UUID

import pytest

from billing.keys import Caller
from deployment import WEB
from handlers.waiting import MAX_WAIT_S
from jobs.errors import TooManyStreams
from jobs.job import Job, Status
from jobs.news import Event, Seen
from jobs.queue_position import KEPT_S, QueuePositions
from jobs.records import first_put
from jobs.watch import Signal, Watch
from jobs.watcher import (
    BEAT_EVERY_S,
    LOOK_EVERY_S,
    MAX_OUTAGE_S,
    MAX_READS_A_LOOK,
    MAX_REST_S,
    MAX_STREAMS,
    MAX_STREAMS_EACH,
    MAX_WAITS,
    MAX_WAITS_EACH,
    STREAM_FOR_S,
    Watcher,
)
from storage.kv import Delete, Item, Key, KeyValue, Put, Unavailable
from tests.jobs.machine import PATIENCE_S, Machine
from tests.ticking import HandTicker, Seconds
from tests.watched import WatchedStore

WATCHER = "watcher"


@dataclass
class Lookout:
    """A machine's watcher, which looks when the test says so."""

    machine: Machine
    kv: KeyValue
    ticker: HandTicker = field(default_factory=HandTicker)
    seconds: Seconds = field(default_factory=Seconds)

    @cached_property
    def watcher(self) -> Watcher:
        services = replace(
            self.machine.services, kv=self.kv, ticker=self.ticker, seconds=self.seconds
        )
        return services.watcher

    def stream(self, job: Job) -> Watch:
        """A stream that has heard how the job stands."""
        watch = self.watcher.stream(job)
        assert isinstance(heard(watch), Seen)
        return watch


@pytest.fixture
def lookout(machine: Machine) -> Lookout:
    return Lookout(machine, machine.kv)


def heard(watch: Watch) -> Seen | Signal | None:
    """What comes next at once; None if nothing does."""

    async def listen() -> Seen | Signal | None:
        next_ = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        if next_.done():
            return next_.result()
        next_.cancel()
        return None

    return asyncio.run(listen())


def event(watch: Watch) -> Event:
    """The event that comes next."""
    news = heard(watch)
    assert isinstance(news, Seen)
    return news.event


def begin(machine: Machine, job_id: UUID, *, done: int = 0) -> None:
    """Have a worker take the job and do so many of ten steps."""
    taken = machine.leases.take(machine.kept(job_id))
    assert taken is not None
    machine.leases.renew(taken, done, 10)


def test_a_stream_begins_with_how_the_job_stands(lookout: Lookout, caller: Caller) -> None:
    lookout.machine.submit(caller)
    lookout.machine.clock.advance(seconds=1)
    job = lookout.machine.submit(caller)
    watch = lookout.watcher.stream(job)
    assert heard(watch) == Seen(job, position=2)
    assert heard(watch) is None


def test_a_stream_is_told_what_becomes_of_the_job(lookout: Lookout, caller: Caller) -> None:
    job = lookout.machine.submit(caller)
    watch = lookout.stream(job)
    lookout.ticker.tick()
    assert heard(watch) is None
    begin(lookout.machine, job.id)
    lookout.ticker.tick()
    assert event(watch) is Event.PROVISIONING
    lookout.ticker.tick()
    assert heard(watch) is None
    lookout.machine.services.leases.renew(lookout.machine.job(job.id), 4, 10)
    lookout.ticker.tick()
    assert event(watch) is Event.PROGRESS
    lookout.machine.services.cancellations.cancel(job.account_id, job.id)
    lookout.ticker.tick()
    assert event(watch) is Event.CANCELLED


def test_a_job_that_waits_is_told_its_new_place(lookout: Lookout, caller: Caller) -> None:
    first = lookout.machine.submit(caller)
    lookout.machine.clock.advance(seconds=1)
    watch = lookout.stream(lookout.machine.submit(caller))
    lookout.machine.work(first.id)
    lookout.seconds.advance(KEPT_S)
    lookout.ticker.tick()
    news = heard(watch)
    assert isinstance(news, Seen)
    assert (news.event, news.position) == (Event.QUEUED, 1)


def test_who_listens_slowly_hears_the_newest(lookout: Lookout, caller: Caller) -> None:
    job = lookout.machine.submit(caller)
    watch = lookout.stream(job)
    begin(lookout.machine, job.id)
    for done in range(1, 9):
        lookout.machine.services.leases.renew(lookout.machine.job(job.id), done, 10)
        lookout.ticker.tick()
    news = heard(watch)
    assert isinstance(news, Seen)
    assert news.job.steps_done == 8
    assert heard(watch) is None


def test_who_waits_wants_no_place_in_the_queue(machine: Machine, caller: Caller) -> None:
    store = Queues(machine.kv)
    lookout = Lookout(machine, store)
    watch = lookout.watcher.wait(machine.submit(caller), wait_s=60)
    assert watch is not None
    lookout.ticker.tick()
    assert store.looks == 0
    lookout.stream(machine.submit(caller))
    assert store.looks == 1


class Queues(WatchedStore):
    """A store that counts who looks at a queue."""

    looks = 0

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        self.looks += 1
        return super().due(queue, until_ms=until_ms, limit=limit)


def test_all_who_watch_a_job_share_a_read(machine: Machine, caller: Caller) -> None:
    store = WatchedStore(machine.kv)
    lookout = Lookout(machine, store)
    job = machine.submit(caller)
    begin(machine, job.id)
    watches = [lookout.stream(machine.job(job.id)) for _ in range(20)]
    machine.leases.renew(machine.job(job.id), 5, 10)
    before = store.calls
    lookout.ticker.tick()
    assert store.calls == before + 1
    assert [event(watch) for watch in watches] == [Event.PROGRESS] * 20


def test_of_many_jobs_each_is_looked_at_in_its_turn(machine: Machine) -> None:
    store = WatchedStore(machine.kv)
    lookout = Lookout(machine, store)
    templates = [machine.submit(machine.customer()) for _ in range(2)]
    jobs = [_queued(machine, like, each) for like in templates for each in range(MAX_READS_A_LOOK)]
    for job in jobs:
        begin(machine, job.id)
    watches = [lookout.stream(machine.job(job.id)) for job in jobs]
    for job in jobs:
        machine.leases.renew(machine.job(job.id), 5, 10)
    for looks in (1, 2):
        before = store.calls
        lookout.ticker.tick()
        assert store.calls == before + MAX_READS_A_LOOK
        told = [watch for watch in watches if heard(watch) is not None]
        assert len(told) == MAX_READS_A_LOOK, looks
        watches = [watch for watch in watches if watch not in told]
    assert watches == []


def _queued(machine: Machine, like: Job, number: int) -> Job:
    """A further job like that one, without its money."""
    job = like.model_copy(update={"id": UUID(int=like.id.int + number + 1)})
    machine.kv.commit(*first_put(job, look_at_ms=machine.clock()))
    return job


def test_a_job_of_which_nothing_is_new_is_read_less_and_less(
    machine: Machine, caller: Caller
) -> None:
    store = WatchedStore(machine.kv)
    lookout = Lookout(machine, store)
    job = machine.submit(caller)
    begin(machine, job.id)
    watch = lookout.stream(machine.job(job.id))

    def reads(for_s: int) -> int:
        before = store.calls
        for _ in range(round(for_s / LOOK_EVERY_S)):
            lookout.seconds.advance(LOOK_EVERY_S)
            lookout.ticker.tick()
        return store.calls - before

    assert reads(1) == 1 / LOOK_EVERY_S
    reads(30)
    assert reads(10) <= 10 / MAX_REST_S
    machine.leases.renew(machine.job(job.id), 5, 10)
    assert reads(2) >= 2 / LOOK_EVERY_S / 2  # news are followed by news
    assert event(watch) is Event.PROGRESS


def test_a_job_at_its_end_is_not_read_any_more(machine: Machine, caller: Caller) -> None:
    store = WatchedStore(machine.kv)
    lookout = Lookout(machine, store)
    job = machine.submit(caller)
    watch = lookout.stream(job)
    machine.work(job.id)
    lookout.ticker.tick()
    before = store.calls
    lookout.ticker.tick()
    assert store.calls == before
    assert event(watch) is Event.COMPLETED


def test_who_comes_late_is_told_what_others_know(lookout: Lookout, caller: Caller) -> None:
    job = lookout.machine.submit(caller)
    lookout.stream(job)
    lookout.machine.work(job.id)
    lookout.ticker.tick()
    late = lookout.watcher.stream(job)  # as read before the end
    assert event(late) is Event.COMPLETED


def test_a_silent_stream_beats(lookout: Lookout, caller: Caller) -> None:
    watch = lookout.stream(lookout.machine.submit(caller))
    for _ in range(2):
        lookout.seconds.advance(BEAT_EVERY_S - 1)
        lookout.ticker.tick()
        assert heard(watch) is None
        lookout.seconds.advance(1)
        lookout.ticker.tick()
        assert heard(watch) is Signal.BEAT


@pytest.mark.parametrize(
    ("open_", "most_s"),
    [
        (lambda watcher, job: watcher.stream(job), STREAM_FOR_S),
        (lambda watcher, job: watcher.wait(job, wait_s=7), 7),
    ],
)
def test_no_watch_outlasts_its_time(
    lookout: Lookout, caller: Caller, open_: Callable[[Watcher, Job], Any], most_s: float
) -> None:
    watch = open_(lookout.watcher, lookout.machine.submit(caller))
    lookout.seconds.advance(most_s - 0.5)
    lookout.ticker.tick()
    assert isinstance(heard(watch), Seen)
    assert heard(watch) is not Signal.OVER
    lookout.seconds.advance(0.5)
    lookout.ticker.tick()
    assert heard(watch) is Signal.OVER
    assert heard(watch) is Signal.OVER


@dataclass
class Outage:
    """A hook that fails while it is down."""

    is_down: bool = False

    def __call__(self, _: int) -> None:
        if self.is_down:
            raise Unavailable("no connection")


def test_an_outage_is_told_and_gone_through(machine: Machine, caller: Caller) -> None:
    outage = Outage()
    lookout = Lookout(machine, WatchedStore(machine.kv, before=outage))
    job = machine.submit(caller)
    watch = lookout.stream(job)
    outage.is_down = True
    lookout.ticker.tick()
    assert heard(watch) is Signal.OUTAGE
    lookout.seconds.advance(BEAT_EVERY_S)
    lookout.ticker.tick()
    assert heard(watch) is Signal.BEAT
    machine.work(job.id)
    outage.is_down = False
    lookout.ticker.tick()
    assert event(watch) is Event.COMPLETED


def test_an_outage_that_lasts_ends_the_streams(machine: Machine, caller: Caller) -> None:
    outage = Outage(is_down=False)
    lookout = Lookout(machine, WatchedStore(machine.kv, before=outage))
    watch = lookout.stream(machine.submit(caller))
    outage.is_down = True
    lookout.ticker.tick()
    lookout.seconds.advance(MAX_OUTAGE_S)
    lookout.ticker.tick()
    assert heard(watch) is Signal.OVER


def test_one_outage_after_another_is_borne_anew(machine: Machine, caller: Caller) -> None:
    outage = Outage()
    lookout = Lookout(machine, WatchedStore(machine.kv, before=outage))
    watch = lookout.stream(machine.submit(caller))
    for _ in range(3):
        outage.is_down = True
        lookout.seconds.advance(MAX_REST_S)
        lookout.ticker.tick()
        assert heard(watch) is Signal.OUTAGE
        outage.is_down = False
        lookout.ticker.tick()
        lookout.seconds.advance(MAX_OUTAGE_S)
        lookout.ticker.tick()
        assert heard(watch) is Signal.BEAT


@pytest.mark.parametrize(
    "change",
    [
        lambda item: Delete(item.key, replaces=item.version),
        lambda item: Put(item.key, {"status": "nonsense"}, replaces=item.version),
        lambda item: Put(item.key, {**item.value, "schema_number": 99}, replaces=item.version),
    ],
    ids=["deleted", "broken", "too new"],
)
def test_a_record_that_cannot_be_read_ends_its_own_streams(
    lookout: Lookout, caller: Caller, change: Callable[[Item], Delete | Put]
) -> None:
    lost, other = lookout.machine.submit(caller), lookout.machine.submit(caller)
    watch, others = lookout.stream(lost), lookout.stream(other)
    item = lookout.machine.kv.get(Key(f"jobs#{lost.account_id}", str(lost.id)))
    assert item is not None
    lookout.machine.kv.commit(change(item))
    lookout.machine.work(other.id)
    lookout.ticker.tick()
    assert heard(watch) is Signal.OVER
    assert event(others) is Event.COMPLETED


def test_an_estimate_that_cannot_be_made_ends_its_own_streams(
    lookout: Lookout, caller: Caller
) -> None:
    lost, other = lookout.machine.submit(caller), lookout.machine.submit(caller)

    def remaining_s(job: Job) -> float | None:
        if job.id == lost.id and job.status is Status.PROCESSING:
            raise LookupError(job.params.model)
        return None

    watcher = Watcher(
        lookout.kv,
        positions=QueuePositions(
            lookout.kv,
            works_on=lambda _: None,
            clock=lookout.machine.clock,
            seconds=lookout.seconds,
        ),
        remaining_s=remaining_s,
        seconds=lookout.seconds,
        ticker=lookout.ticker,
    )
    watch, others = watcher.stream(lost), watcher.stream(other)
    begin(lookout.machine, lost.id)
    begin(lookout.machine, other.id)
    lookout.ticker.tick()
    assert [heard(watch), heard(watch)][1] is Signal.OVER
    assert event(others) is Event.PROVISIONING


def test_an_account_has_so_many_streams_and_leaves_room_for_others(machine: Machine) -> None:
    lookout = Lookout(machine, machine.kv)
    job, other = (machine.submit(machine.customer()) for _ in range(2))
    watches = [lookout.watcher.stream(job) for _ in range(MAX_STREAMS_EACH)]
    with pytest.raises(TooManyStreams):
        lookout.watcher.stream(job)
    lookout.stream(other)
    watches[0].close()
    lookout.stream(job)


def test_a_process_has_so_many_streams(machine: Machine) -> None:
    lookout = Lookout(machine, machine.kv)
    for _ in range(MAX_STREAMS // MAX_STREAMS_EACH):
        job = machine.submit(machine.customer())
        for _ in range(MAX_STREAMS_EACH):
            lookout.watcher.stream(job)
    with pytest.raises(TooManyStreams):
        lookout.watcher.stream(machine.submit(machine.customer()))


def test_so_many_may_wait_and_no_more(machine: Machine) -> None:
    lookout = Lookout(machine, machine.kv)
    for _ in range(MAX_WAITS // MAX_WAITS_EACH):
        job = machine.submit(machine.customer())
        watches = [lookout.watcher.wait(job, wait_s=1) for _ in range(MAX_WAITS_EACH)]
        assert all(watches)
        assert lookout.watcher.wait(job, wait_s=1) is None
    other = machine.submit(machine.customer())
    assert lookout.watcher.wait(other, wait_s=1) is None
    assert watches[0] is not None
    watches[0].close()
    assert lookout.watcher.wait(other, wait_s=1) is not None


def test_nobody_looks_while_nobody_watches(lookout: Lookout, caller: Caller) -> None:
    job = lookout.machine.submit(caller)
    for _ in range(2):
        watch = lookout.stream(job)
        assert lookout.ticker.names == {WATCHER}
        watch.close()
        watch.close()  # to close twice is quiet
        lookout.ticker.tick()
        assert lookout.ticker.names == set()


def test_a_thread_that_cannot_be_started_keeps_no_place(machine: Machine, caller: Caller) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")

    watcher = replace(machine.services, ticker=refuse).watcher
    job = machine.submit(caller)
    for _ in range(MAX_STREAMS_EACH + 1):
        with pytest.raises(RuntimeError):
            watcher.stream(job)
        assert watcher.wait(job, wait_s=1) is None  # it was accepted, and is answered as usual


def test_when_the_server_stops_everybody_is_let_go(lookout: Lookout, caller: Caller) -> None:
    job = lookout.machine.submit(caller)
    watch = lookout.stream(job)
    lookout.watcher.stop()
    assert heard(watch) is Signal.OVER
    late = lookout.stream(job)
    assert heard(late) is Signal.OVER


def test_who_listens_is_woken_from_another_thread(lookout: Lookout, caller: Caller) -> None:
    job = lookout.machine.submit(caller)
    watch = lookout.stream(job)

    async def listen() -> Seen | Signal:
        next_ = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        assert not next_.done()
        lookout.machine.work(job.id)
        await asyncio.to_thread(lookout.ticker.tick)
        return await next_

    news = asyncio.run(listen())
    assert isinstance(news, Seen)
    assert news.event is Event.COMPLETED


def test_by_itself_the_watcher_looks_in_a_thread(machine: Machine, caller: Caller) -> None:
    job = machine.submit(caller)
    watch = machine.services.watcher.stream(job)

    async def listen() -> Seen | Signal:
        await watch.next()
        machine.work(job.id)
        return await asyncio.wait_for(watch.next(), PATIENCE_S)

    news = asyncio.run(listen())
    watch.close()
    assert isinstance(news, Seen)
    assert news.event in (Event.PROVISIONING, Event.PROGRESS, Event.COMPLETED)


def test_no_watch_outlasts_what_the_host_bears() -> None:
    assert max(STREAM_FOR_S, MAX_WAIT_S) < WEB.machine.timeout_s


def test_a_listener_whose_loop_has_ended_harms_nobody(lookout: Lookout, caller: Caller) -> None:
    job = lookout.machine.submit(caller)
    gone, other = lookout.stream(job), lookout.stream(job)
    assert heard(gone) is None  # its loop is closed by now
    lookout.machine.work(job.id)
    lookout.ticker.tick()
    assert event(other) is Event.COMPLETED
