"""Stores in memory: the same promises as the real ones, for one process, at no cost."""

import io
import json
import marshal
from collections import defaultdict
from collections.abc import Callable, Generator
from itertools import count, islice
from threading import RLock
from typing import NamedTuple

from storage.changes import after
from storage.kv import MAX_PAGE, Change, Due, Item, Key, check_limits, check_page, encoded
from storage.objects import (
    Content,
    DirectUpload,
    ObjectsError,
    Stored,
    check_name,
    check_object,
    media_type,
)

_CHUNK_BYTES = 2**20


class _Row(NamedTuple):
    """An item as it lies here: the value, once it has been JSON, in the form that is read fastest,
    for it is read ten times as often as it is written.
    """

    key: Key
    value: bytes
    version: int
    counters: dict[str, int]
    due: Due | None
    expires_at_ms: int | None

    @property
    def due_at_ms(self) -> int:
        assert self.due is not None
        return self.due.at_ms


class MemoryKeyValue:
    """A `KeyValue` in dicts of rows. Versions are counted, so that a history repeats exactly."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._versions = count(1)
        self._rows: dict[str, dict[str, _Row]] = defaultdict(dict)
        self._due: dict[str, dict[Key, _Row]] = defaultdict(dict)
        self._expiring: dict[Key, _Row] = {}
        self._lock = RLock()

    def get(self, key: Key) -> Item | None:
        """The item, strongly consistent; None if absent."""
        with self._lock:
            return self._live(key)

    def query(
        self,
        partition: str,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
        newest_first: bool = False,
    ) -> list[Item]:
        """Up to `limit` items of a partition in the order of their sort, strongly consistent."""
        check_page(limit)
        with self._lock:
            rows = self._rows.get(partition, {})
            sorts = sorted(rows, key=str.encode, reverse=newest_first)
            if after is not None:
                is_past = str.__lt__ if newest_first else str.__gt__
                sorts = [sort for sort in sorts if is_past(sort, after)]
            live = (rows[sort] for sort in sorts if self._is_live(rows[sort]))
            return [_item_of(row) for row in islice(live, limit)]

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        """Up to `limit` items due in `queue` at or before `until_ms`, earliest first."""
        check_page(limit)
        with self._lock:
            waiting = self._due.get(queue, {}).values()
            due = [row for row in waiting if row.due_at_ms <= until_ms and self._is_live(row)]
            due.sort(key=lambda row: (row.due_at_ms, row.key))
            return [_item_of(row) for row in due[:limit]]

    def commit(self, *changes: Change) -> None:
        """Make all changes or none; every condition is checked before anything is written."""
        check_limits(changes)
        with self._lock:
            version = next(self._versions)
            before = [self._live(change.key) for change in changes]
            outcome = [
                after(change, item, version) for change, item in zip(changes, before, strict=True)
            ]
            for change, old, new in zip(changes, before, outcome, strict=True):
                if new is not old:
                    self._write(change.key, new)

    def purge(self, *, limit: int) -> int:
        """Physically remove up to `limit` expired items; how many were removed."""
        check_page(limit)
        with self._lock:
            expired = [key for key, row in self._expiring.items() if not self._is_live(row)]
            for key in expired[:limit]:
                self._write(key, None)
            return len(expired[:limit])

    def close(self) -> None:
        """Nothing is held."""

    def moments_ms(self, queue: str) -> list[int]:
        """When the items of a queue are due, whenever that is."""
        return sorted(row.due_at_ms for row in self._due[queue].values() if self._is_live(row))

    def queues(self) -> list[str]:
        """The queues that anything is in."""
        return sorted(queue for queue, waiting in self._due.items() if waiting)

    def _live(self, key: Key) -> Item | None:
        row = self._rows.get(key.partition, {}).get(key.sort)
        return _item_of(row) if row is not None and self._is_live(row) else None

    def _is_live(self, row: _Row) -> bool:
        return row.expires_at_ms is None or row.expires_at_ms > self._clock()

    def _write(self, key: Key, item: Item | None) -> None:
        old = self._rows[key.partition].pop(key.sort, None)
        if old is not None and old.due is not None:
            del self._due[old.due.queue][key]
        self._expiring.pop(key, None)
        if item is None:
            return
        row = self._rows[key.partition][key.sort] = _row_of(item)
        if item.due is not None:
            self._due[item.due.queue][key] = row
        if item.expires_at_ms is not None:
            self._expiring[key] = row


class MemoryObjects:
    """An `Objects` in a dict."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._lock = RLock()

    def put(self, name: str, data: Content, *, content_type: str) -> None:
        """Store `data` under `name`, replacing what is there."""
        check_object(name, content_type)
        self._files[name] = _bytes_of(data)

    def put_if_absent(self, name: str, data: Content, *, content_type: str) -> bool:
        """Store `data` unless the name is taken; whether it was stored."""
        check_object(name, content_type)
        with self._lock:
            if name in self._files:
                return False
            self._files[name] = _bytes_of(data)
            return True

    def get(self, name: str) -> Stored | None:
        """The object as a stream, or None if there is none."""
        check_name(name)
        data = self._files.get(name)
        if data is None:
            return None
        return Stored(len(data), media_type(name), _chunks(data))

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None if there is none."""
        check_name(name)
        data = self._files.get(name)
        return None if data is None else len(data)

    def url(self, name: str, *, expires_in_s: int) -> str | None:  # noqa: ARG002
        """There are no addresses here."""
        check_name(name)
        return None

    def upload_url(
        self,
        name: str,
        *,
        content_type: str,
        size_bytes: int,  # noqa: ARG002
        expires_in_s: int,  # noqa: ARG002
    ) -> DirectUpload | None:
        """There are no addresses here."""
        check_object(name, content_type)
        return None

    def delete(self, name: str) -> None:
        """Remove the object; quiet if there is none."""
        check_name(name)
        self._files.pop(name, None)

    def names(self) -> set[str]:
        """The names of all objects."""
        return set(self._files)


def _row_of(item: Item) -> _Row:
    value = marshal.dumps(json.loads(encoded(item.value)))
    return _Row(item.key, value, item.version, {**item.counters}, item.due, item.expires_at_ms)


def _item_of(row: _Row) -> Item:
    key, value, version, counters, due, expires_at_ms = row
    return Item(key, marshal.loads(value), version, {**counters}, due, expires_at_ms)


def _bytes_of(data: Content) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        data.seek(0)
        return b"".join(iter(lambda: data.read(_CHUNK_BYTES), b""))
    except OSError as error:
        raise ObjectsError(str(error)) from error


def _chunks(data: bytes) -> Generator[bytes, None, None]:
    with io.BytesIO(data) as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
