"""Runs the contract suites against an operator's live stores, in a scratch place beside theirs."""

from pathlib import Path

import pytest

from storage.addresses import ObjectsAddress, StoreAddress

LIVE = Path(__file__).with_name("live.py")
CONFIGURATION = Path(__file__).with_name("check.ini")


class _Addresses:
    """Tells the suites where the stores are."""

    def __init__(self, store: StoreAddress, objects: ObjectsAddress) -> None:
        self._store = store
        self._objects = objects

    @pytest.fixture
    def store_address(self) -> StoreAddress:
        return self._store

    @pytest.fixture
    def objects_address(self) -> ObjectsAddress:
        return self._objects


def holds(store: StoreAddress, objects: ObjectsAddress, *, only: str = "") -> bool:
    """Whether both stores hold to their contracts; what does not is printed.

    `only` chooses some of the cases by their names, as pytest's `-k` does.
    """
    words = [
        *("-c", str(CONFIGURATION), "--rootdir", str(LIVE.parent)),
        *("--import-mode=importlib", "-p", "no:cacheprovider", "--tb=short", "-q"),
        *("-k", only),
        str(LIVE),
    ]
    return pytest.main(words, plugins=[_Addresses(store, objects)]) == pytest.ExitCode.OK
