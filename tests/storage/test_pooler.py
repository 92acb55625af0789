"""The store in PostgreSQL holds its contract behind a pooler that lends servers by transaction."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from storage.contract.key_value_contract import KeyValueContract
from storage.contract.postgres_backend import PostgresBackend
from storage.kv import Key, Put, Unavailable
from storage.postgres import PostgresKeyValue
from tests.postgres import POOLED_SERVERS
from tests.storage.postgres_scratch import impatient

A = Key("p", "a")


class TestContract(KeyValueContract):
    histories = 5

    @pytest.fixture(autouse=True)
    def _addressed(self, pooled_url: str) -> None:
        self._url = pooled_url

    def new_backend(self, folder: Path) -> PostgresBackend:  # noqa: ARG002
        return PostgresBackend.new(self._url)


@pytest.fixture
def store(pooled_url: str) -> Iterator[PostgresKeyValue]:
    backend = PostgresBackend.new(pooled_url)
    with closing(impatient(backend)) as store:
        yield store
    backend.discard()


def test_a_pooler_that_finds_no_server_is_not_waited_for(
    store: PostgresKeyValue, pooled_url: str
) -> None:
    store.commit(Put(A, {}))
    with ExitStack() as others:
        for _ in range(POOLED_SERVERS):
            others.enter_context(psycopg.connect(pooled_url)).execute("SELECT 1")
        with pytest.raises(Unavailable, match="does not answer"):
            store.get(A)
    assert store.get(A) is not None


def test_nothing_is_left_in_a_session_that_others_get(
    store: PostgresKeyValue, pooled_url: str
) -> None:
    store.commit(Put(A, {}))
    store.purge(limit=1)
    with ExitStack() as others:
        for _ in range(POOLED_SERVERS):
            other = others.enter_context(psycopg.connect(pooled_url))
            assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
            assert other.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert other.execute(held).fetchone() == (0,)
