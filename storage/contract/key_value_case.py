"""What every topic of the key-value contract stands on: a backend, a clock, an open store."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from storage.kv import Key, KeyValue

START_MS = 1_800_000_000_000
LAG_S = 20.0
"""How far what is due may lag behind the commits."""

T = TypeVar("T")


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms


class Backend(Protocol):
    """One store, empty at first; it can be pickled, and opened by many processes at once."""

    def open(self, *, clock: Callable[[], int]) -> KeyValue: ...

    def discard(self) -> None:
        """Remove what is left of it, as far as nothing else does."""


class KeyValueCase:
    """An adapter says what a new backend is; it gets a folder of its own to put it in."""

    histories = 60
    """How many random histories are tried: fewer where every call crosses a network."""

    def new_backend(self, folder: Path) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        backend = self.new_backend(tmp_path)
        yield backend
        backend.discard()

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, backend: Backend, clock: Clock) -> Iterator[KeyValue]:
        store = backend.open(clock=clock)
        yield store
        store.close()


def version_of(store: KeyValue, key: Key) -> int:
    """The version of an item that is there."""
    item = store.get(key)
    assert item is not None
    return item.version


def counters_of(store: KeyValue, key: Key) -> dict[str, int]:
    """The counters of an item that is there."""
    item = store.get(key)
    assert item is not None
    return {**item.counters}


def sorts_of(store: KeyValue, partition: str) -> list[str]:
    """The sorts of all items of a partition, page after page."""
    sorts: list[str] = []
    while page := store.query(partition, after=sorts[-1] if sorts else None):
        sorts += [item.key.sort for item in page]
    return sorts


def agrees(read: Callable[[], Sequence[T]], expected: Sequence[T]) -> None:
    """What is read is as expected, now or once the store has caught up."""
    until = time.monotonic() + LAG_S
    while (found := read()) != expected:
        assert time.monotonic() < until, f"{found} is not {expected}"
        threading.Event().wait(0.1)
