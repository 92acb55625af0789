"""A key-value store that tells a test of every call, so that something may happen just then."""

from collections.abc import Callable
from typing import TypeVar

from storage.kv import MAX_PAGE, Change, Item, Key, KeyValue

T = TypeVar("T")
Hook = Callable[[int], None]
"""Takes the number of the call, counted from 0; what it raises, the caller of the store gets."""


class WatchedStore:
    """A store around another: `before` is called ahead of each call, `after` once it has worked."""

    def __init__(
        self,
        kv: KeyValue,
        *,
        before: Hook = lambda _: None,
        after: Hook = lambda _: None,
    ) -> None:
        self.calls = 0
        self._kv = kv
        self._before = before
        self._after = after

    def get(self, key: Key) -> Item | None:
        return self._call(lambda: self._kv.get(key))

    def query(
        self,
        partition: str,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
        newest_first: bool = False,
    ) -> list[Item]:
        return self._call(
            lambda: self._kv.query(partition, after=after, limit=limit, newest_first=newest_first)
        )

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        return self._call(lambda: self._kv.due(queue, until_ms=until_ms, limit=limit))

    def commit(self, *changes: Change) -> None:
        self._call(lambda: self._kv.commit(*changes))

    def purge(self, *, limit: int) -> int:
        return self._call(lambda: self._kv.purge(limit=limit))

    def close(self) -> None:
        self._kv.close()

    def _call(self, call: Callable[[], T]) -> T:
        number, self.calls = self.calls, self.calls + 1
        self._before(number)
        answer = call()
        self._after(number)
        return answer
