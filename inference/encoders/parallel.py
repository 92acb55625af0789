"""Bands packed by several threads at once, and written in order by the one that calls."""

import os
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from inference.encoders.encoder import Encoder, Rows

BAND_BYTES = 1_048_576
"""About what a band takes in memory: large enough to compress well, small enough for many."""

BANDS_WAITING_PER_THREAD = 2
MAX_THREADS = 16

Packed = TypeVar("Packed")


class ParallelEncoder(Encoder, Generic[Packed]):
    """An encoder whose bands are independent of each other.

    The sink is written by the caller's thread alone, so a slow sink holds up the caller. What a
    thread raises, the next `write` or `close` raises.
    """

    def _start(self) -> None:
        threads = min(len(os.sched_getaffinity(0)), MAX_THREADS)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="encoder")
        self._waiting: deque[Future[Packed]] = deque()
        self._most_waiting = threads * BANDS_WAITING_PER_THREAD

    @property
    def _band_px(self) -> int:
        return max(1, BAND_BYTES // self._shape.row_bytes)

    @abstractmethod
    def _task(self, band: Rows) -> Callable[[], Packed]:
        """What a thread has to do for the band."""

    @abstractmethod
    def _put(self, packed: Packed) -> None:
        """Write a band's outcome; called in the order of the bands."""

    @abstractmethod
    def _end(self) -> None:
        """Write what follows the last band."""

    def _encode(self, band: Rows) -> None:
        if len(self._waiting) == self._most_waiting:
            self._put(self._waiting.popleft().result())
        self._waiting.append(self._threads.submit(self._task(band)))
        while self._waiting and self._waiting[0].done():
            self._put(self._waiting.popleft().result())

    def _finish(self) -> None:
        while self._waiting:
            self._put(self._waiting.popleft().result())
        self._end()
        self._threads.shutdown()

    def abandon(self) -> None:
        """Stop here and leave the file incomplete; the threads end with what they have begun."""
        super().abandon()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._waiting.clear()
