"""Turns: how many of the same slow thing may go on at once, in all and for one account."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import TooManyAtOnce


class Turns:
    """At most `in_all` at a time in this process, of which one account may have `each`.

    Nobody waits: a waiting request would hold a thread, and threads are what is short.
    """

    def __init__(self, *, in_all: int, each: int) -> None:
        self._in_all = in_all
        self._each = each
        self._taken: Counter[str] = Counter()
        self._changing = threading.Lock()

    @contextmanager
    def taken(self, account_id: str) -> Iterator[None]:
        """Hold a turn while the block runs; `TooManyAtOnce` if there is none."""
        with self._changing:
            if self._taken.total() >= self._in_all or self._taken[account_id] >= self._each:
                raise TooManyAtOnce
            self._taken[account_id] += 1
        try:
            yield
        finally:
            with self._changing:
                self._taken -= Counter([account_id])
