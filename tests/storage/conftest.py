"""Makes the asserts of the contract suites explain themselves, as those of test files do."""

import pytest

pytest.register_assert_rewrite(
    "storage.contract.key_value_case",
    "storage.contract.key_value_changes",
    "storage.contract.key_value_counters",
    "storage.contract.key_value_limits",
    "storage.contract.key_value_model",
    "storage.contract.key_value_pages",
    "storage.contract.key_value_purges",
    "storage.contract.key_value_races",
    "storage.contract.key_value_snapshots",
    "storage.contract.key_value_times",
    "storage.contract.objects_contract",
)
