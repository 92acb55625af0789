"""The key-value interface: what a store must promise, its limits, and what a change is.

The common ground of SQLite, PostgreSQL and DynamoDB is a table of items with one atomic,
conditional commit. Callers never read-modify-write under a lock: they read, decide, and commit
changes that hold only if what they read still stands.

An item has a JSON *value*, guarded by its version, and integer *counters*, which guard themselves
with a floor and a ceiling. A `Put` replaces the value and leaves the counters alone; an `Add`
moves the counters and leaves value and version alone, so many submissions may move one balance at
once while nobody's read of the account goes stale.

    StoreError
    ├── Conflict        a condition of one change did not hold; nothing was written
    ├── Unknown         the answer was lost; the commit may or may not have happened
    ├── Unavailable     the store cannot be reached or cannot write; nothing was written
    ├── Unsuitable      the store is not as this release needs it; found when it is opened
    └── LimitExceeded   the caller broke a limit of this interface; nothing was written
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

MAX_CHANGES = 25
MAX_VALUE_BYTES = 64 * 1024
MAX_COMMIT_BYTES = 256 * 1024
MAX_NAME_BYTES = 512
MAX_INTEGER = 2**53 - 1
MAX_PAGE = 1000


class Key(NamedTuple):
    """Where an item lives: queries list one partition in the order of `sort` (byte order).

    Both parts, like the names of queues and counters, have 1 to `MAX_NAME_BYTES` of UTF-8.
    """

    partition: str
    sort: str


class Due(NamedTuple):
    """When an item wants to be looked at again, and in which queue."""

    queue: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Item:
    """One stored item as it was when read."""

    key: Key
    value: Mapping[str, Any]
    version: int
    counters: Mapping[str, int] = field(default_factory=dict)
    due: Due | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value`, `due` and `expires_at_ms`, if the item is still at version `replaces`.

    `replaces=None` means that the item must not exist (an expired one does not). Counters can be
    given only then; afterwards they move by `Add` alone.
    """

    key: Key
    value: Mapping[str, Any]
    replaces: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    due: Due | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Add:
    """Add integers to an existing item's counters (an absent counter is 0).

    It is refused if a counter named in `floors` would end below its floor, one named in `ceilings`
    above its ceiling, or one named in `amounts` beyond 53 bits. A counter may have a floor or a
    ceiling without an amount: then it is only looked at.
    """

    key: Key
    amounts: Mapping[str, int]
    floors: Mapping[str, int] = field(default_factory=dict)
    ceilings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """A condition without a write: the item is at `version`, or absent when that is None."""

    key: Key
    version: int | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the item if it is still at version `replaces`."""

    key: Key
    replaces: int


Change = Put | Add | Check | Delete


class StoreError(Exception):
    """The store failed."""


class Conflict(StoreError):
    """A condition did not hold, so nothing was written."""

    def __init__(self, change: Change) -> None:
        super().__init__(f"{type(change).__name__} {change.key.partition} {change.key.sort}")
        self.change = change


class Unknown(StoreError):
    """The answer to a commit was lost: it may have happened."""


class Unavailable(StoreError):
    """The store cannot be reached; nothing was written."""


class Unsuitable(StoreError):
    """The store is not as this release needs it; the message says what an operator can do."""


class LimitExceeded(StoreError):
    """A limit of the key-value interface was exceeded; nothing was written."""


class KeyValue(Protocol):
    """A store of items. Every method may raise `Unavailable`; all are safe to call from threads.

    Expiry is logical: from the millisecond `expires_at_ms` on, an item is absent for every method
    at once, and physically removed by `purge` some time later. Versions never repeat for a key,
    not even after a delete. Every value read is a dict of its own. A `limit` outside 1 to
    `MAX_PAGE` is `LimitExceeded`.
    """

    def get(self, key: Key) -> Item | None:
        """The item, strongly consistent; None if absent."""

    def query(
        self,
        partition: str,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
        newest_first: bool = False,
    ) -> list[Item]:
        """Up to `limit` items of a partition in the order of their sort, strongly consistent.

        Each item is as last committed, but beside a commit some may be from before it and others
        from after. `after` is the sort of the last item already seen; `newest_first` reverses the
        order.
        """

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        """Up to `limit` items due in `queue` at or before `until_ms`, earliest first.

        It may lag behind commits: read the item again before acting on it.
        """

    def commit(self, *changes: Change) -> None:
        """Make all changes or none.

        Raises `Conflict` naming the first change whose condition failed, `Unknown` if the answer
        was lost (then look for an item that only this commit writes), `LimitExceeded` if the
        changes are too many or too large, name one item twice, or hold what no store can keep.
        """

    def purge(self, *, limit: int) -> int:
        """Physically remove up to `limit` expired items; how many were removed.

        A store that removes them by itself, in its own time, leaves it at that.
        """

    def close(self) -> None:
        """Release connections; the store is not used afterwards."""


def encoded(value: Mapping[str, Any]) -> str:
    """The canonical JSON of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        {**value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def check_limits(changes: tuple[Change, ...]) -> None:
    """Raise `LimitExceeded` unless every store can hold these changes; adapters call it first."""
    if not 1 <= len(changes) <= MAX_CHANGES:
        raise LimitExceeded(f"{len(changes)} changes in a commit, allowed 1 to {MAX_CHANGES}")
    if len({change.key for change in changes}) != len(changes):
        raise LimitExceeded("two changes of one commit name the same item")
    sizes = [_checked_size(change) for change in changes]
    if sum(sizes) > MAX_COMMIT_BYTES:
        raise LimitExceeded(f"{sum(sizes)} bytes in a commit, allowed {MAX_COMMIT_BYTES}")


def check_page(limit: int) -> None:
    """Raise `LimitExceeded` unless a page of `limit` items may be asked for."""
    if not 1 <= limit <= MAX_PAGE:
        raise LimitExceeded(f"a page of {limit} items, allowed 1 to {MAX_PAGE}")


def _checked_size(change: Change) -> int:
    for name in _names(change):
        _check_name(name)
    for name, number in _integers(change):
        if abs(number) > MAX_INTEGER:
            raise LimitExceeded(f"{name} = {number} has more than 53 bits")
    if not isinstance(change, Put):
        return 0
    if change.counters and change.replaces is not None:
        raise LimitExceeded("counters are given when an item is made, then moved by Add")
    size_bytes = _size_bytes(change.value)
    if size_bytes > MAX_VALUE_BYTES:
        raise LimitExceeded(f"a value of {size_bytes} bytes, allowed {MAX_VALUE_BYTES}")
    return size_bytes


def _check_name(name: str) -> None:
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError as error:
        raise LimitExceeded(f"a name that is not Unicode: {name!r}") from error
    if not 1 <= size_bytes <= MAX_NAME_BYTES:
        raise LimitExceeded(f"a name has {size_bytes} bytes, allowed 1 to {MAX_NAME_BYTES}")
    if "\0" in name:  # PostgreSQL cannot keep it
        raise LimitExceeded(f"a name with a zero byte: {name!r}")


def _size_bytes(value: Mapping[str, Any]) -> int:
    try:
        return len(encoded(value).encode())
    except ValueError as error:  # not a number, half a surrogate pair, a circle
        raise LimitExceeded(f"not JSON: {error}") from error


def _names(change: Change) -> list[str]:
    match change:
        case Put():
            queue = [change.due.queue] if change.due else []
            return [*change.key, *queue, *change.counters]
        case Add():
            return [*change.key, *change.amounts, *change.floors, *change.ceilings]
        case _:
            return [*change.key]


def _integers(change: Change) -> list[tuple[str, int]]:
    match change:
        case Put():
            due = [("due", change.due.at_ms)] if change.due else []
            return [*change.counters.items(), *due, ("expires_at_ms", change.expires_at_ms or 0)]
        case Add():
            bounds = [change.amounts, change.floors, change.ceilings]
            return [pair for bound in bounds for pair in bound.items()]
        case _:
            return []
