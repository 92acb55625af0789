"""The stores in memory hold the contracts, but for what takes several processes."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from storage.contract.key_value_changes import Changes
from storage.contract.key_value_counters import Counters
from storage.contract.key_value_limits import Limits
from storage.contract.key_value_model import Model
from storage.contract.key_value_pages import Pages
from storage.contract.key_value_purges import Purges
from storage.contract.key_value_times import Times
from storage.contract.objects_contract import ObjectsContract
from storage.kv import KeyValue
from tests.simulation.memory import MemoryKeyValue, MemoryObjects


class Memory:
    """One store, however often it is opened."""

    def __init__(self) -> None:
        self._store: MemoryKeyValue | None = None

    def open(self, *, clock: Callable[[], int]) -> KeyValue:
        self._store = self._store or MemoryKeyValue(clock=clock)
        return self._store

    def discard(self) -> None:
        """It goes by itself."""


class Files(NamedTuple):
    """One store of objects, however often it is opened."""

    objects: MemoryObjects

    def open(self) -> MemoryObjects:
        return self.objects

    def discard(self) -> None:
        """It goes by itself."""


class TestKeyValue(Changes, Counters, Pages, Times, Limits, Model, Purges):
    def new_backend(self, folder: Path) -> Memory:  # noqa: ARG002
        return Memory()


class TestObjects(ObjectsContract):
    test_of_many_processes_one_stores = None  # type: ignore[assignment]
    test_a_killed_writer_leaves_a_whole_object = None  # type: ignore[assignment]

    def new_backend(self, folder: Path) -> Files:  # noqa: ARG002
        return Files(MemoryObjects())
