"""A store in a file, a clock, and an account with 100 credits that may have 5 unfinished jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.accounts import Account
from billing.administration import open_account
from storage.kv import KeyValue
from storage.sqlite import SqliteKeyValue
from tests.running import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Iterator[KeyValue]:
    store = SqliteKeyValue(tmp_path / "store.sqlite", clock=clock)
    yield store
    store.close()


@pytest.fixture
def account(kv: KeyValue, clock: Clock) -> Account:
    return open_account(kv, "Ada", credits=100, now_ms=clock(), max_in_flight=5).account
