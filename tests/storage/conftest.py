"""Makes the asserts of the contract suites explain themselves, as those of test files do."""

import pytest

pytest.register_assert_rewrite(
    "tests.storage.key_value_case",
    "tests.storage.key_value_changes",
    "tests.storage.key_value_counters",
    "tests.storage.key_value_limits",
    "tests.storage.key_value_model",
    "tests.storage.key_value_pages",
    "tests.storage.key_value_races",
    "tests.storage.key_value_times",
    "tests.storage.objects_contract",
)
