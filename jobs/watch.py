"""Watches: one who waits for what becomes of a job, and is told it from another thread."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import Enum, auto

from jobs.news import Seen


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
