"""PostgreSQL holds the contract of `KeyValue`, and what is its own: layouts, locks, plans."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from storage.contract.key_value_case import Clock
from storage.contract.key_value_contract import KeyValueContract
from storage.contract.key_value_purges import Purges
from storage.contract.key_value_snapshots import Snapshots
from storage.contract.postgres_backend import PostgresBackend
from storage.kv import Check, Conflict, Key, Put, Unavailable, Unsuitable
from storage.postgres import (
    BEFORE,
    DUE,
    NEWEST_FIRST,
    OLDEST_FIRST,
    PURGE,
    REMOVE,
    PostgresKeyValue,
)
from storage.postgres_schema import create_items, drop_items
from tests.postgres import DATABASE, PASSWORD, free_port, make_database
from tests.storage.postgres_scratch import execute, impatient

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


@pytest.fixture
def backend(postgres_url: str) -> Iterator[PostgresBackend]:
    backend = PostgresBackend.new(postgres_url)
    yield backend
    backend.discard()


@pytest.fixture
def store(backend: PostgresBackend) -> Iterator[PostgresKeyValue]:
    with closing(impatient(backend)) as store:
        yield store


@pytest.mark.parametrize("isolation", [r"read\ committed", r"repeatable\ read", "serializable"])
def test_of_two_that_each_need_the_others_item_absent_one_wins(
    backend: PostgresBackend, isolation: str
) -> None:
    said = quote(f"-c default_transaction_isolation={isolation}")
    with closing(impatient(backend._replace(url=f"{backend.url}?options={said}"))) as store:
        race_for_absence(store)


def race_for_absence(store: PostgresKeyValue) -> None:
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


def test_a_database_that_cannot_keep_all_text_is_refused(postgres_url: str) -> None:
    server_url, _, _ = postgres_url.rpartition("/")
    make_database(server_url, "latin", encoding="LATIN1")
    with pytest.raises(Unsuitable, match="LATIN1"):
        create_items(f"{server_url}/latin")
    execute(postgres_url, "DROP DATABASE latin")


def test_whoever_waits_too_long_for_a_lock_is_told_that_nothing_was_written(
    store: PostgresKeyValue, backend: PostgresBackend
) -> None:
    store.commit(Put(A, {"n": 1}))
    with psycopg.connect(backend.url) as other:
        other.execute(f"LOCK TABLE {backend.schema}.items IN ACCESS EXCLUSIVE MODE".encode())
        with pytest.raises(Unavailable, match="timeout"):
            store.commit(Put(B, {}))
        with pytest.raises(Unavailable, match="timeout"):
            store.get(A)
    assert store.get(B) is None


def test_a_closed_store_is_unavailable(backend: PostgresBackend) -> None:
    store = backend.open(clock=Clock())
    store.close()
    with pytest.raises(Unavailable):
        store.get(A)
    with pytest.raises(Unavailable):
        store.commit(Put(A, {}))


def test_what_the_server_does_not_write_leaves_the_store_as_it_was(
    store: PostgresKeyValue, backend: PostgresBackend
) -> None:
    execute(backend.url, f"ALTER TABLE {backend.schema}.items ADD CHECK (sort <> 'b')")
    with pytest.raises(Unavailable, match="violates check constraint"):
        store.commit(Put(A, {}), Put(B, {}))
    assert store.query("p") == []
    store.commit(Put(A, {}))


@pytest.mark.parametrize(
    ("statement", "parameters", "index"),
    [
        (OLDEST_FIRST, ("p", "a", 0, 1), "items_pkey"),
        (NEWEST_FIRST, ("p", "a", "a", 0, 1), "items_pkey"),
        (BEFORE, (["p"], ["a"], 0), "items_pkey"),
        (REMOVE, (["p"], ["a"]), "items_pkey"),
        (DUE, ("q", 1, 0, 1), "items_due"),
        (PURGE, (0, 1), "items_expiry"),
    ],
)
def test_every_list_is_read_off_an_index(
    backend: PostgresBackend, statement: str, parameters: tuple[object, ...], index: str
) -> None:
    explained = sql.SQL(f"EXPLAIN {statement}").format(
        items=sql.Identifier(backend.schema, "items")
    )
    with psycopg.connect(backend.url) as connection:
        connection.execute("SET enable_seqscan = off")  # the table is small
        plan = "\n".join(row[0] for row in connection.execute(explained, parameters))
    assert index in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
