"""The watcher: tells whoever waits for a job what becomes of it, by looking at its record.

Who ends a job may be any process, so each looks by itself: one thread for all that are watched
here, with a limit to its reads, however many watch. There is no such thread while nobody does.
"""

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from contextvars import Context
from dataclasses import dataclass, field
from enum import Enum, auto
from uuid import UUID

from jobs.errors import JobUnknown, TooManyAtOnce, TooManyStreams
from jobs.job import Job, Status
from jobs.news import Seen
from jobs.queue_position import QueuePositions
from jobs.records import find_own_job
from jobs.ticker import Ticker
from jobs.turns import Turns
from storage.kv import KeyValue, StoreError
from storage.record import RecordTooNew

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
MAX_READS_A_LOOK = 50
"""How many jobs are read at a time; of more, each in its turn."""

BEAT_EVERY_S = 15.0
"""So that nobody on the way takes a silent stream for a dead one."""

STREAM_FOR_S = 120.0
"""How long a stream lasts before its client has to resume it: hosts cut off what takes longer."""

MAX_OUTAGE_S = 30.0
"""How long streams outlast a store that cannot be read."""

MAX_STREAMS = 500
MAX_STREAMS_EACH = 100
MAX_WAITS = 200
MAX_WAITS_EACH = 50
"""How many may watch at once, in all and of one account."""


class Signal(Enum):
    """What a watch says besides news."""

    BEAT = auto()
    """Nothing is new, and the watch goes on."""
    OUTAGE = auto()
    """The store cannot be read at the moment."""
    OVER = auto()
    """There will be nothing more, though the job may go on."""


class Watch:
    """One who watches a job. However slowly they listen, they are told the newest, not everything.

    Told from any thread; listened to, and closed in the end, on one event loop.
    """

    def __init__(self, first: Seen, *, until_s: float, next_beat_s: float, is_stream: bool) -> None:
        self.until_s = until_s
        self.next_beat_s = next_beat_s
        self.is_stream = is_stream
        self._seen: Seen | None = first
        self._signal: Signal | None = None
        self._bell: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._changing = threading.Lock()
        self._left = ExitStack()

    async def next(self) -> Seen | Signal:
        """Whatever comes next; after the end of the job, or `OVER`, nothing does."""
        loop, bell = asyncio.get_running_loop(), asyncio.Event()
        while True:
            bell.clear()
            with self._changing:
                self._bell = (loop, bell)
                news = self._taken()
            if news is not None:
                return news
            await bell.wait()

    def tell(self, what: Seen | Signal) -> None:
        """Have that come next, in the place of anything older that was not listened to."""
        with self._changing:
            if isinstance(what, Seen):
                self._seen = what
            elif self._signal is not Signal.OVER:
                self._signal = what
            if self._bell is not None:
                loop, bell = self._bell
                with suppress(RuntimeError):  # the loop has ended, and who listened with it
                    loop.call_soon_threadsafe(bell.set)

    def on_close(self, leave: Callable[[], None]) -> None:
        """Have that done once the watch is closed."""
        self._left.callback(leave)

    def close(self) -> None:
        """Watch no more."""
        self._left.close()

    def _taken(self) -> Seen | Signal | None:
        seen, self._seen = self._seen, None
        if seen is not None:
            return seen
        signal = self._signal
        if signal is not Signal.OVER:
            self._signal = None
        return signal


@dataclass
class _Watched:
    """A job, as all who watch it were told last."""

    seen: Seen
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
        """Watch a job for that long; None if too many do already."""
        with ExitStack() as turn:
            try:
                turn.enter_context(self._waits.taken(job.account_id))
            except TooManyAtOnce:
                return None
            return self._opened(Seen(job), turn.pop_all(), for_s=wait_s, is_stream=False)

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
            watched = self._jobs.setdefault(first.job.id, _Watched(first))
            watched.watches.add(watch)
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
            unfinished = [each for each in self._jobs.values() if not each.seen.is_end]
            turn = unfinished[:MAX_READS_A_LOOK]
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
            seen = self._seen_now(watched)
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
        else:
            if seen.is_news(watched.seen.mark):
                watched.seen = self._estimated(seen)
                self._tell(self._watches(watched), watched.seen)

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
