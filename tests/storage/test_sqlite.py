"""SQLite holds the contract of `KeyValue`, and what is its own: the file, its locks, its ends."""

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from storage.contract.key_value_case import Clock
from storage.contract.key_value_contract import KeyValueContract
from storage.contract.key_value_purges import Purges
from storage.contract.key_value_snapshots import Snapshots
from storage.contract.processes import barrier, results, started
from storage.contract.scratch import SqliteFile
from storage.contract.writers import claim
from storage.kv import Key, Put, StoreError, Unavailable, Unknown
from storage.sqlite import (
    DUE,
    MAX_IDLE_READERS,
    NEWEST_FIRST,
    OLDEST_FIRST,
    PATIENCE_S,
    PURGE,
    SqliteKeyValue,
)

A = Key("p", "a")
B = Key("p", "b")


class TestContract(KeyValueContract, Purges, Snapshots):
    def new_backend(self, folder: Path) -> SqliteFile:
        return SqliteFile(folder / "store.db")


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path / "store.db")


@pytest.fixture
def store(file: SqliteFile) -> Iterator[SqliteKeyValue]:
    store = file.open(clock=Clock())
    yield store
    store.close()


def test_versions_come_from_the_source_that_was_passed_in(tmp_path: Path) -> None:
    versions = iter((11, 12))
    store = SqliteKeyValue(tmp_path / "db", clock=Clock(), new_version=lambda: next(versions))
    store.commit(Put(A, {}))
    store.commit(Put(A, {}, replaces=11))
    item = store.get(A)
    store.close()
    assert item is not None
    assert item.version == 12


def test_a_locked_file_is_unavailable_in_bounded_time(
    file: SqliteFile, store: SqliteKeyValue
) -> None:
    store.commit(Put(A, {"n": 1}))
    with closing(_connection(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        started_s = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            failures = [
                *(pool.submit(_failure, store.commit, Put(B, {"n": n})) for n in range(3)),
                pool.submit(_failure, lambda: file.open(clock=Clock())),
            ]
            assert store.get(A) is not None  # reading goes on
            assert [type(failure.result()) for failure in failures] == [Unavailable] * 4
        assert time.monotonic() - started_s < 2.5 * PATIENCE_S
        other.execute("ROLLBACK")
    assert store.get(B) is None
    store.commit(Put(B, {}))


def test_many_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    files = [SqliteFile(tmp_path / f"{n}.db") for n in range(10)]
    start = barrier(8)
    running = [started(claim, files, f"{n}", start) for n in range(8)]
    assert sum(results(running)) == len(files)


def test_making_the_file_waits_for_whoever_else_makes_it(file: SqliteFile) -> None:
    with ThreadPoolExecutor(1) as pool, closing(_connection(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = pool.submit(file.open, clock=Clock())
        _, waiting = wait([opening], timeout=PATIENCE_S / 20)
        assert waiting == {opening}
        other.execute("COMMIT")
        opening.result().close()


def test_a_full_disk_is_unknown_and_then_over(file: SqliteFile, store: SqliteKeyValue) -> None:
    store.commit(Put(A, {"n": 1}))
    size_bytes = max(path.stat().st_size for path in file.path.parent.iterdir())
    with _no_file_longer_than(size_bytes + 10_000):
        failure = _failure(store.commit, Put(B, {"long": "x" * 60_000}))
    assert type(failure) is Unknown
    assert store.get(B) is None
    store.commit(Put(B, {"n": 2}))
    store.close()
    again = file.open(clock=Clock())
    assert [item.value for item in again.query("p")] == [{"n": 1}, {"n": 2}]
    again.close()


def test_a_missing_folder_is_unavailable_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=str(tmp_path / "no")):
        SqliteKeyValue(tmp_path / "no" / "store.db", clock=Clock())


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(Unavailable, match="not a database"):
        SqliteKeyValue(tmp_path / "store.db", clock=Clock())


def test_a_damaged_file_is_unavailable(file: SqliteFile) -> None:
    store = file.open(clock=Clock())
    for n in range(20):
        store.commit(Put(Key("p", f"{n:02}"), {"long": "x" * 10_000}))
    store.close()
    pages = bytearray(file.path.read_bytes())
    pages[4096:] = b"\xff" * (len(pages) - 4096)
    file.path.write_bytes(pages)
    store = file.open(clock=Clock())
    assert type(_failure(lambda: store.get(Key("p", "07")))) is Unavailable
    assert type(_failure(store.commit, Put(A, {}))) is Unavailable
    store.close()


@pytest.mark.parametrize("version", [2, 99])
def test_an_unknown_schema_is_refused_and_left_alone(file: SqliteFile, version: int) -> None:
    with closing(_connection(file)) as other:
        other.execute("CREATE TABLE items (n)")
        other.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(Unavailable, match=f"schema {version}"):
        file.open(clock=Clock())
    with closing(_connection(file)) as other:
        assert other.execute("SELECT sql FROM sqlite_schema").fetchall() == [
            ("CREATE TABLE items (n)",)
        ]


def test_somebody_elses_database_is_refused(file: SqliteFile) -> None:
    with closing(_connection(file)) as other:
        other.execute("CREATE TABLE diary (entry)")
    with pytest.raises(Unavailable, match="schema 0"):
        file.open(clock=Clock())


def test_the_file_is_written_ahead(file: SqliteFile, store: SqliteKeyValue) -> None:
    store.commit(Put(A, {}))
    with closing(_connection(file)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_close_leaves_one_file_and_nothing_open(file: SqliteFile, store: SqliteKeyValue) -> None:
    with ThreadPoolExecutor(2 * MAX_IDLE_READERS) as pool:
        list(pool.map(lambda n: store.commit(Put(Key("p", f"{n}"), {})), range(20)))
        list(pool.map(lambda n: store.get(Key("p", f"{n}")), range(20)))
    store.close()
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_closed_store_is_unavailable_at_once(store: SqliteKeyValue) -> None:
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.get(A),
        lambda: store.query("p"),
        lambda: store.due("q", until_ms=0, limit=1),
        lambda: store.commit(Put(A, {})),
        lambda: store.purge(limit=1),
    ]
    started_s = time.monotonic()
    assert [type(_failure(call)) for call in calls] == [Unavailable] * len(calls)
    assert time.monotonic() - started_s < PATIENCE_S


def test_an_error_of_the_caller_leaves_the_store_usable(store: SqliteKeyValue) -> None:
    with pytest.raises(TypeError):
        store.commit(Put(A, {"not": {"json"}}))
    store.commit(Put(A, {}))
    assert store.get(A) is not None


@pytest.mark.parametrize(
    ("sql", "parameters", "index"),
    [
        (OLDEST_FIRST, ("p", "a", 0, 1), "PRIMARY KEY (partition=? AND sort>?)"),
        (NEWEST_FIRST, ("p", "a", 0, 1), "PRIMARY KEY (partition=? AND sort<?)"),
        (DUE, ("q", 1, 0, 1), "items_due (due_queue=? AND due_at_ms<?)"),
        (PURGE, (0, 1), "items_expiry (expires_at_ms<?)"),
    ],
)
def test_every_list_is_read_off_an_index(
    file: SqliteFile,
    store: SqliteKeyValue,
    sql: str,
    parameters: tuple[object, ...],
    index: str,
) -> None:
    store.commit(Put(A, {}))
    with closing(_connection(file)) as other:
        plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    assert any(index in step for step in plan)
    assert not any("SCAN items" in step or "ORDER BY" in step for step in plan)


def _connection(file: SqliteFile) -> sqlite3.Connection:
    return sqlite3.connect(file.path, isolation_level=None)


def _failure(call: Callable[..., object], *arguments: object) -> StoreError:
    with pytest.raises(StoreError) as failure:
        call(*arguments)
    return failure.value


@contextmanager
def _no_file_longer_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
