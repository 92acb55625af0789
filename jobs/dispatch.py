"""Hints: what makes waiting work start at once. The record is the queue; a lost hint costs time.

A dispatcher tells somebody, somewhere, that a job or a delivery waits. The sweeper finds whatever
was not told.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from storage.kv import Key

log = logging.getLogger(__name__)

MAX_HINTS = 1000

T = TypeVar("T", bound=Hashable)


class Dispatcher(Protocol):
    """Where hints go. Neither method fails or waits."""

    def job(self, job_id: UUID, *, model: str) -> None:
        """A job waits to be worked on, by somebody who has that model."""

    def delivery(self, key: Key) -> None:
        """A delivery waits to be made."""


class HintThreads(Generic[T]):
    """Threads of this process that handle hints, oldest first, each waiting hint once.

    What `handle` raises is logged: the record still says that work is due, so the sweeper hints
    again. Hints beyond `MAX_HINTS` are dropped for the same reason.
    """

    def __init__(self, name: str, handle: Callable[[T], None], *, threads: int) -> None:
        self._handle = handle
        self._waiting: deque[T] = deque()
        self._known: set[T] = set()
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._emptied = threading.Condition(lock)
        self._is_stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def hint(self, what: T) -> None:
        """Let a thread handle `what` soon, unless it waits or is being handled already."""
        with self._changed:
            if what in self._known or len(self._waiting) >= MAX_HINTS or self._is_stopping:
                return
            self._known.add(what)
            self._waiting.append(what)
            self._changed.notify()

    def settle(self, *, within_s: float) -> bool:
        """Wait until no hint waits or is being handled; False if that takes longer."""
        with self._emptied:
            return self._emptied.wait_for(lambda: not self._known, within_s)

    def stop(self, *, within_s: float) -> None:
        """Handle no further hints, and wait that long for the current ones."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        until = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _run(self) -> None:
        while (what := self._next()) is not None:
            try:
                self._handle(what)
            except Exception:
                log.exception("handling %s failed", what)
            finally:
                with self._changed:
                    self._known.discard(what)
                    if not self._known:
                        self._emptied.notify_all()

    def _next(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
            return None if self._is_stopping else self._waiting.popleft()
