"""The watcher: tells whoever waits for a job what becomes of it, by looking at its record.

Who ends a job may be any process, so each looks by itself: one thread for all that are watched
here, with a limit to its reads, however many watch. There is no such thread while nobody does.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from contextvars import Context
from dataclasses import dataclass, field
from uuid import UUID

from jobs.errors import JobUnknown, TooManyAtOnce, TooManyStreams
from jobs.job import Job, Status
from jobs.news import Seen
from jobs.queue_position import QueuePositions
from jobs.records import find_own_job
from jobs.ticker import Ticker
from jobs.turns import Turns
from jobs.watch import Signal, Watch
from storage.kv import KeyValue, StoreError
from storage.record import RecordTooNew

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
MAX_READS_A_LOOK = 50
"""How many jobs are read at a time; of more, each in its turn."""

LOOK_LATE_BY = 0.05
MAX_REST_S = 1.0
"""A job of which nothing was new for a while rests for that share of the while, so long at most:
who waits long hears of it a little later, and costs a tenth of the reads."""

BEAT_EVERY_S = 15.0
"""So that nobody on the way takes a silent stream for a dead one."""

STREAM_FOR_S = 120.0
"""How long a stream lasts before its client has to resume it: hosts cut off what takes longer."""

MAX_OUTAGE_S = 30.0
"""How long streams outlast a store that cannot be read."""

MAX_STREAMS = 500
MAX_STREAMS_EACH = 50
MAX_WAITS = 200
MAX_WAITS_EACH = 25
"""How many may watch at once, in all and of one account: none fills a container that a host lets so
many requests into."""


@dataclass
class _Watched:
    """A job, as all who watch it were told last; that was new at `new_at_s`."""

    seen: Seen
    new_at_s: float
    next_look_s: float
    watches: set[Watch] = field(default_factory=set)


class Watcher:
    """Looks at the jobs that are watched. `seconds` is a clock that never goes back; `remaining_s`
    says how long a job's work should still take.
    """

    def __init__(
        self,
        kv: KeyValue,
        *,
        positions: QueuePositions,
        remaining_s: Callable[[Job], float | None],
        seconds: Callable[[], float],
        ticker: Ticker,
    ) -> None:
        self._kv = kv
        self._positions = positions
        self._remaining_s = remaining_s
        self._seconds = seconds
        self._ticker = ticker
        self._streams = Turns(in_all=MAX_STREAMS, each=MAX_STREAMS_EACH)
        self._waits = Turns(in_all=MAX_WAITS, each=MAX_WAITS_EACH)
        self._jobs: OrderedDict[UUID, _Watched] = OrderedDict()
        self._down_since_s: float | None = None
        self._is_looking = False
        self._is_stopping = False
        self._changing = threading.Lock()

    def stream(self, job: Job) -> Watch:
        """Watch a job for as long as a stream may last, from how it stands.

        Raises `TooManyStreams` if there is no place, and what the store raises.
        """
        with ExitStack() as turn:
            try:
                turn.enter_context(self._streams.taken(job.account_id))
            except TooManyAtOnce:
                raise TooManyStreams from None
            first = self._estimated(Seen(job, self._position(job)))
            return self._opened(first, turn.pop_all(), for_s=STREAM_FOR_S, is_stream=True)

    def wait(self, job: Job, *, wait_s: int) -> Watch | None:
        """Watch a job for that long; None if too many do already, or nobody can look at it."""
        with ExitStack() as turn:
            try:
                turn.enter_context(self._waits.taken(job.account_id))
                return self._opened(Seen(job), turn.pop_all(), for_s=wait_s, is_stream=False)
            except TooManyAtOnce:
                return None
            except RuntimeError as error:  # no thread is to be had; but the job was accepted
                log.warning("nobody can wait for job %s: %s", job.id, error)
                return None

    def stop(self) -> None:
        """Let nobody wait any longer: the server is about to end."""
        with self._changing:
            self._is_stopping = True
        self._tell(self._all_watches(), Signal.OVER)

    def _opened(self, first: Seen, turn: ExitStack, *, for_s: float, is_stream: bool) -> Watch:
        now_s = self._seconds()
        watch = Watch(
            first,
            until_s=now_s + for_s,
            next_beat_s=now_s + BEAT_EVERY_S,
            is_stream=is_stream,
        )
        watch.on_close(turn.close)
        watch.on_close(lambda: self._leave(first.job.id, watch))
        with self._changing:
            watched = self._jobs.setdefault(first.job.id, _Watched(first, now_s, now_s))
            watched.watches.add(watch)
            watched.next_look_s = min(watched.next_look_s, watch.until_s)
            if watched.seen.is_news(first.mark):  # `first` was read before others were told
                watch.tell(watched.seen)
            if self._is_stopping:
                watch.tell(Signal.OVER)
        try:
            self._see_to_looks()
        except BaseException:
            watch.close()
            raise
        return watch

    def _see_to_looks(self) -> None:
        """Look from now on, if nobody does."""
        with self._changing:
            if not self._is_looking:  # in a context of its own: it is about no request
                Context().run(self._ticker, self._look, every_s=LOOK_EVERY_S, name="watcher")
                self._is_looking = True

    def _leave(self, job_id: UUID, watch: Watch) -> None:
        with self._changing:
            watched = self._jobs[job_id]
            watched.watches.discard(watch)
            if not watched.watches:
                del self._jobs[job_id]

    def _look(self) -> bool:
        """Look at those whose turn it is; False once nobody watches any more."""
        with self._changing:
            if not self._jobs:
                self._is_looking = False
                return False
            now_s = self._seconds()
            due = [
                each
                for each in self._jobs.values()
                if not each.seen.is_end and each.next_look_s <= now_s
            ]
            turn = due[:MAX_READS_A_LOOK]
            for each in turn:
                self._jobs.move_to_end(each.seen.job.id)
        try:
            for each in turn:
                self._look_at(each)
                self._down_since_s = None
        except StoreError as error:
            self._bear(error)
        self._keep_time()
        return True

    def _look_at(self, watched: _Watched) -> None:
        try:
            self._tell_news(watched)
        except JobUnknown:  # its record was deleted
            self._tell(self._watches(watched), Signal.OVER)
        except RecordTooNew as error:  # that is this job's alone, and the others go on
            log.warning("job %s cannot be watched here: %s", watched.seen.job.id, error)
            self._tell(self._watches(watched), Signal.OVER)
        except StoreError:
            raise
        except Exception:  # a broken record must not keep the others waiting
            log.exception("job %s cannot be watched", watched.seen.job.id)
            self._tell(self._watches(watched), Signal.OVER)

    def _tell_news(self, watched: _Watched) -> None:
        seen, now_s = self._seen_now(watched), self._seconds()
        if seen.is_news(watched.seen.mark):
            watched.seen, watched.new_at_s = self._estimated(seen), now_s
            self._tell(self._watches(watched), watched.seen)
        rests_s = min(LOOK_LATE_BY * (now_s - watched.new_at_s), MAX_REST_S)
        ends_s = (watch.until_s for watch in self._watches(watched))
        watched.next_look_s = min(now_s + rests_s, *ends_s)  # whoever leaves has the newest

    def _seen_now(self, watched: _Watched) -> Seen:
        before = watched.seen.job
        job = find_own_job(self._kv, before.world, job_id=before.id)
        is_streamed = any(watch.is_stream for watch in self._watches(watched))
        return Seen(job, self._position(job) if is_streamed else None)

    def _position(self, job: Job) -> int | None:
        return self._positions.of(job) if job.status is Status.QUEUED else None

    def _estimated(self, seen: Seen) -> Seen:
        return seen._replace(remaining_s=self._remaining_s(seen.job))

    def _bear(self, error: StoreError) -> None:
        now_s = self._seconds()
        if self._down_since_s is None:
            log.warning("the jobs that are watched cannot be read: %s", error)
            self._down_since_s = now_s
            self._tell(self._all_watches(), Signal.OUTAGE)
        elif now_s - self._down_since_s >= MAX_OUTAGE_S:
            self._tell(self._all_watches(), Signal.OVER)

    def _keep_time(self) -> None:
        now_s = self._seconds()
        for watch in self._all_watches():
            if now_s >= watch.until_s:
                watch.tell(Signal.OVER)
            elif now_s >= watch.next_beat_s:
                watch.next_beat_s = now_s + BEAT_EVERY_S
                watch.tell(Signal.BEAT)

    def _tell(self, watches: Iterable[Watch], what: Seen | Signal) -> None:
        for watch in watches:
            watch.tell(what)

    def _watches(self, watched: _Watched) -> list[Watch]:
        with self._changing:
            return list(watched.watches)

    def _all_watches(self) -> list[Watch]:
        with self._changing:
            return [watch for each in self._jobs.values() for watch in each.watches]
