"""Turns: how many of the same slow thing may go on at once, in all and for one party to it."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import TooManyAtOnce


class Turns:
    """At most `in_all` at a time in this process, of which one party may have `each`.

    Nobody waits: who waits holds a thread, and threads are what is short.
    """

    def __init__(self, *, in_all: int, each: int) -> None:
        self._in_all = in_all
        self._each = each
        self._taken: Counter[str] = Counter()
        self._changing = threading.Lock()

    @contextmanager
    def taken(self, party: str) -> Iterator[None]:
        """Hold a turn while the block runs; `TooManyAtOnce` if there is none."""
        with self._changing:
            if self._taken.total() >= self._in_all or self._taken[party] >= self._each:
                raise TooManyAtOnce
            self._taken[party] += 1
        try:
            yield
        finally:
            with self._changing:
                self._taken -= Counter([party])
