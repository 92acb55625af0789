"""PostgreSQL holds the contract of `KeyValue`, and what is its own: layouts, locks, lost links."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from storage.contract.key_value_case import START_MS, Clock
from storage.contract.key_value_contract import KeyValueContract
from storage.contract.key_value_purges import Purges
from storage.contract.key_value_snapshots import Snapshots
from storage.contract.postgres_backend import PostgresBackend
from storage.kv import Check, Conflict, Key, Put, Unavailable, Unknown, Unsuitable
from storage.postgres import PostgresKeyValue
from storage.postgres_schema import create_items, drop_items
from tests.cutting import CuttingProxy
from tests.postgres import DATABASE, PASSWORD, free_port

A = Key("p", "a")
B = Key("p", "b")
ROUNDS = 20


class TestContract(KeyValueContract, Purges, Snapshots):
    histories = 20

    @pytest.fixture(autouse=True)
    def _addressed(self, postgres_url: str) -> None:
        self._url = postgres_url

    def new_backend(self, folder: Path) -> PostgresBackend:  # noqa: ARG002
        return PostgresBackend.new(self._url)


class TestContractBehindAPooler(KeyValueContract):
    histories = 5

    @pytest.fixture(autouse=True)
    def _addressed(self, pooled_url: str) -> None:
        self._url = pooled_url

    def new_backend(self, folder: Path) -> PostgresBackend:  # noqa: ARG002
        return PostgresBackend.new(self._url)


@pytest.fixture
def backend(postgres_url: str) -> Iterator[PostgresBackend]:
    backend = PostgresBackend.new(postgres_url)
    yield backend
    backend.discard()


@pytest.fixture
def store(backend: PostgresBackend) -> Iterator[PostgresKeyValue]:
    with closing(impatient(backend)) as store:
        yield store


def impatient(backend: PostgresBackend) -> PostgresKeyValue:
    return PostgresKeyValue(backend.url, clock=Clock(), schema=backend.schema, patience_s=0.5)


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_of_two_that_each_need_the_others_item_absent_one_wins(store: PostgresKeyValue) -> None:
    start = Barrier(2, timeout=30)

    def put(mine: int) -> int:
        wins = 0
        for round_ in range(ROUNDS):
            keys = Key("skew", f"{round_}-0"), Key("skew", f"{round_}-1")
            start.wait()
            try:
                store.commit(Check(keys[1 - mine], None), Put(keys[mine], {}))
                wins += 1
            except Conflict:
                continue
        return wins

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(put, range(2))) == ROUNDS


def test_commits_that_name_items_in_any_order_never_lock_each_other_out(
    store: PostgresKeyValue,
) -> None:
    keys = [Key("order", f"{n}") for n in range(6)]
    start = Barrier(4, timeout=30)

    def commit(writer: int) -> None:
        start.wait()
        for n in range(ROUNDS):
            mine = [Key(f"of-{writer}", f"{n}")]
            order = keys[:: 1 if writer % 2 else -1]
            store.commit(*(Check(key, None) for key in order), *(Put(key, {}) for key in mine))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commit, range(4)))


def test_making_the_table_twice_changes_nothing(
    store: PostgresKeyValue, backend: PostgresBackend
) -> None:
    store.commit(Put(A, {"n": 1}))
    create_items(backend.url, schema=backend.schema)
    item = store.get(A)
    assert item is not None
    assert item.value == {"n": 1}


def test_many_may_make_the_table_at_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: create_items(postgres_url, schema="at_once"), range(8)))
    PostgresKeyValue(postgres_url, clock=Clock(), schema="at_once").close()
    drop_items(postgres_url, schema="at_once")


def test_a_table_that_was_not_made_is_told_with_what_makes_it(postgres_url: str) -> None:
    with pytest.raises(Unsuitable, match=r"nowhere\.items; run `enlarger store init`"):
        PostgresKeyValue(postgres_url, clock=Clock(), schema="nowhere")


@pytest.mark.parametrize(
    "change",
    [
        "COMMENT ON TABLE {}.items IS 'enlarger layout 2'",
        "COMMENT ON TABLE {}.items IS NULL",
        "ALTER TABLE {}.items DROP COLUMN counters",
    ],
)
def test_a_table_of_another_layout_is_refused(backend: PostgresBackend, change: str) -> None:
    execute(backend.url, change.format(backend.schema))
    with pytest.raises(Unsuitable, match=f"{backend.schema}.items is"):
        backend.open(clock=Clock())
    with pytest.raises(Unsuitable, match=f"{backend.schema}.items is"):
        create_items(backend.url, schema=backend.schema)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (PASSWORD, "wrong-secret", "password authentication failed"),
        (f"/{DATABASE}?", "/nowhere?", "does not exist"),
    ],
)
def test_what_the_server_refuses_is_told_without_the_password(
    postgres_url: str, old: str, new: str, told: str
) -> None:
    with pytest.raises(Unavailable, match=told) as refusal:
        PostgresKeyValue(f"{postgres_url}?sslmode=disable".replace(old, new), clock=Clock())
    assert "secret" not in str(refusal.value)
    assert PASSWORD not in str(refusal.value)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    url = f"postgresql://ada:{PASSWORD}@127.0.0.1:{free_port()}/db"
    with pytest.raises(Unavailable, match="refused") as refusal:
        PostgresKeyValue(url, clock=Clock())
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize("url", ["postgresql://ada:%zz-secret@h/db", "postgresql://h/db?secret=1"])
def test_an_address_that_is_none_is_told_without_a_word_of_it(url: str) -> None:
    with pytest.raises(Unsuitable, match="not an address") as refusal:
        PostgresKeyValue(url, clock=Clock())
    assert "secret" not in str(refusal.value)


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


def test_whoever_waits_too_long_for_a_lock_is_told_that_nothing_was_written(
    store: PostgresKeyValue, backend: PostgresBackend
) -> None:
    store.commit(Put(A, {"n": 1}))
    with psycopg.connect(backend.url) as other:
        other.execute(f"LOCK TABLE {backend.schema}.items IN ACCESS EXCLUSIVE MODE".encode())
        with pytest.raises(Unavailable, match="timeout"):
            store.commit(Put(B, {}))
    assert store.get(B) is None


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[CuttingProxy]:
    with CuttingProxy(postgres_url).running() as proxy:
        yield proxy


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


def test_a_closed_store_is_unavailable(backend: PostgresBackend) -> None:
    store = backend.open(clock=Clock())
    store.close()
    with pytest.raises(Unavailable):
        store.get(A)
    with pytest.raises(Unavailable):
        store.commit(Put(A, {}))
