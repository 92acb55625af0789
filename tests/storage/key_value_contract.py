"""The contract of `KeyValue`, one suite for every adapter.

An adapter is held to it in two lines:

    class TestContract(KeyValueContract):
        def new_backend(self, folder: Path) -> SqliteFile:
            return SqliteFile(folder)
"""

from tests.storage.key_value_changes import Changes
from tests.storage.key_value_counters import Counters
from tests.storage.key_value_limits import Limits
from tests.storage.key_value_model import Model
from tests.storage.key_value_pages import Pages
from tests.storage.key_value_races import Races
from tests.storage.key_value_times import Times


class KeyValueContract(Changes, Counters, Pages, Times, Limits, Model, Races):
    """Every promise of `storage/kv.py`, by topic."""
