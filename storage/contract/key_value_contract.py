"""The contract of `KeyValue`, one suite for every adapter.

An adapter is held to it in two lines:

    class TestContract(KeyValueContract, Purges, Snapshots):
        def new_backend(self, folder: Path) -> SqliteFile:
            return SqliteFile(folder)

`Purges` and `Snapshots` are for the stores that are more than the contract asks for.
"""

from storage.contract.key_value_changes import Changes
from storage.contract.key_value_counters import Counters
from storage.contract.key_value_limits import Limits
from storage.contract.key_value_model import Model
from storage.contract.key_value_pages import Pages
from storage.contract.key_value_races import Races
from storage.contract.key_value_times import Times


class KeyValueContract(Changes, Counters, Pages, Times, Limits, Model, Races):
    """Every promise of `storage/kv.py`, by topic."""
