"""The contracts against an operator's live stores; `storage.contract.check` runs it."""

from pathlib import Path

import pytest

from storage.addresses import ObjectsAddress, StoreAddress
from storage.contract.key_value_case import Backend
from storage.contract.key_value_contract import KeyValueContract
from storage.contract.objects_contract import ObjectsBackend, ObjectsContract
from storage.contract.scratch import scratch_key_value, scratch_objects


class TestStore(KeyValueContract):
    """The key-value store."""

    histories = 5
    _address: StoreAddress

    @pytest.fixture(autouse=True)
    def _addressed(self, store_address: StoreAddress) -> None:
        self._address = store_address

    def new_backend(self, folder: Path) -> Backend:  # noqa: ARG002
        return scratch_key_value(self._address)


class TestObjects(ObjectsContract):
    """The object store."""

    _address: ObjectsAddress

    @pytest.fixture(autouse=True)
    def _addressed(self, objects_address: ObjectsAddress) -> None:
        self._address = objects_address

    def new_backend(self, folder: Path) -> ObjectsBackend:  # noqa: ARG002
        return scratch_objects(self._address)
