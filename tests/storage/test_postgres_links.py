"""What happens to the store in PostgreSQL when a connection or the server goes away."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from storage.contract.key_value_case import START_MS, Clock
from storage.contract.postgres_backend import PostgresBackend
from storage.kv import Key, Put, Unavailable, Unknown
from storage.postgres import MAX_CONNECTIONS, PostgresKeyValue
from storage.postgres_schema import create_items
from tests.cutting import CuttingProxy
from tests.postgres import DATABASE, cluster, make_database
from tests.serving import eventually
from tests.storage.postgres_scratch import execute, impatient

A = Key("p", "a")
B = Key("p", "b")


@pytest.fixture
def backend(postgres_url: str) -> Iterator[PostgresBackend]:
    backend = PostgresBackend.new(postgres_url)
    yield backend
    backend.discard()


@pytest.fixture
def store(backend: PostgresBackend) -> Iterator[PostgresKeyValue]:
    with closing(impatient(backend)) as store:
        yield store


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[CuttingProxy]:
    with CuttingProxy(postgres_url).running() as proxy:
        yield proxy


def test_a_connection_that_died_between_calls_is_replaced(
    store: PostgresKeyValue, backend: PostgresBackend
) -> None:
    store.commit(Put(A, {}))
    kill_all(backend.url)
    assert store.get(A) is not None
    kill_all(backend.url)
    store.commit(Put(B, {}))
    assert store.get(B) is not None


def kill_all(url: str) -> None:
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND usename = current_user",
    )


def test_a_commit_whose_answer_is_lost_is_seen_to_have_happened(
    backend: PostgresBackend, proxy: CuttingProxy
) -> None:
    behind = backend._replace(url=proxy.url)
    with closing(impatient(behind)) as store:
        proxy.cut_after(b"COMMIT\0")
        store.commit(Put(A, {"n": 1}, expires_at_ms=START_MS + 1))
        assert proxy.cuts == 1
        item = store.get(A)
        assert item is not None
        assert item.value == {"n": 1}


def test_a_commit_that_cannot_be_looked_up_is_unknown(
    backend: PostgresBackend, proxy: CuttingProxy
) -> None:
    behind = backend._replace(url=proxy.url)
    with closing(impatient(behind)) as store:
        proxy.cut_after(b"COMMIT\0", stay_down=True)
        with pytest.raises(Unknown):
            store.commit(Put(A, {}))
        proxy.come_back()
        assert store.get(A) is not None


def test_a_commit_that_never_arrived_is_begun_anew(
    backend: PostgresBackend, proxy: CuttingProxy
) -> None:
    behind = backend._replace(url=proxy.url)
    with closing(impatient(behind)) as store:
        proxy.cut_after(b"pg_advisory_xact_lock")
        store.commit(Put(A, {}))
        assert proxy.cuts == 1
        assert store.get(A) is not None


def test_a_server_that_stays_away_is_unavailable(
    backend: PostgresBackend, proxy: CuttingProxy
) -> None:
    behind = backend._replace(url=proxy.url)
    with closing(impatient(behind)) as store:
        store.commit(Put(A, {}))
        proxy.cut_after(b"pg_advisory_xact_lock", stay_down=True)
        with pytest.raises(Unavailable):
            store.commit(Put(B, {}))
        proxy.come_back()
        assert store.get(B) is None


def test_a_server_that_falls_silent_is_not_waited_for(
    backend: PostgresBackend, proxy: CuttingProxy
) -> None:
    behind = backend._replace(url=proxy.url)
    with closing(impatient(behind)) as store:
        store.commit(Put(A, {}))
        proxy.mute_after(b"SELECT")
        with pytest.raises(Unavailable, match="does not answer"):
            store.get(A)
        proxy.mute_after(b"pg_advisory_xact_lock")
        with pytest.raises(Unavailable, match="does not answer"):
            store.commit(Put(B, {}))
        assert store.get(B) is None


def test_a_commit_whose_answer_never_comes_is_seen_to_have_happened(
    backend: PostgresBackend, proxy: CuttingProxy
) -> None:
    behind = backend._replace(url=proxy.url)
    with closing(impatient(behind)) as store:
        proxy.mute_after(b"COMMIT\0")
        store.commit(Put(A, {}))
        assert store.get(A) is not None


def test_a_pool_of_connections_outlives_a_restart_of_the_server() -> None:
    with cluster() as server:
        with server.running():
            make_database(server.server_url, DATABASE)
            create_items(server.url)
            store = PostgresKeyValue(server.url, clock=Clock(), patience_s=3.0)
            store.commit(Put(A, {"n": 1}))
            fill_pool(store, server.url)
        with closing(store):
            with pytest.raises(Unavailable):
                store.get(A)
            with server.running():
                item = store.get(A)
                store.commit(Put(B, {}))
    assert item is not None
    assert item.value == {"n": 1}


def fill_pool(store: PostgresKeyValue, url: str) -> None:
    """Have so many read at once that every connection of the pool is opened."""
    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool, psycopg.connect(url, autocommit=True) as one:
        with one.transaction():
            one.execute("LOCK TABLE enlarger.items IN ACCESS EXCLUSIVE MODE")
            reads = [pool.submit(store.get, A) for _ in range(MAX_CONNECTIONS)]
            eventually(lambda: waiting(one) == MAX_CONNECTIONS, what="readers")
        assert all(read.result() for read in reads)


def waiting(connection: psycopg.Connection) -> int:
    """How many wait for the table."""
    connection.execute("SELECT pg_stat_clear_snapshot()")
    found = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE relation = 'enlarger.items'::regclass AND NOT granted"
    ).fetchone()
    assert found is not None
    return int(found[0])
