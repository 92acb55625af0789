"""The key-value store in one SQLite file: the default on a single machine."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from storage.changes import after, random_version
from storage.kv import (
    MAX_PAGE,
    Change,
    Item,
    Key,
    Unavailable,
    Unknown,
    check_limits,
    check_page,
)
from storage.rows import item_of, row_of

MAX_IDLE_READERS = 16
PATIENCE_S = 5.0
OPENING_PAUSE_S = 0.01
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE items (
    partition      TEXT NOT NULL,
    sort           TEXT NOT NULL,
    value          TEXT NOT NULL,
    version        INTEGER NOT NULL,
    counters       TEXT NOT NULL,
    due_queue      TEXT,
    due_at_ms      INTEGER,
    expires_at_ms  INTEGER,
    PRIMARY KEY (partition, sort)
) WITHOUT ROWID;
CREATE INDEX items_due ON items (due_queue, due_at_ms) WHERE due_queue IS NOT NULL;
CREATE INDEX items_expiry ON items (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
"""

LIVE = "(expires_at_ms IS NULL OR expires_at_ms > ?)"
GET = f"SELECT * FROM items WHERE partition = ? AND sort = ? AND {LIVE}"
OLDEST_FIRST = f"""
SELECT * FROM items WHERE partition = ? AND sort > ? AND {LIVE} ORDER BY sort LIMIT ?"""
NEWEST_FIRST = f"""
SELECT * FROM items WHERE partition = ? AND sort < ? AND {LIVE} ORDER BY sort DESC LIMIT ?"""
DUE = f"""
SELECT * FROM items WHERE due_queue = ? AND due_at_ms <= ? AND {LIVE}
ORDER BY due_at_ms, partition, sort LIMIT ?"""
WRITE = "REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
REMOVE = "DELETE FROM items WHERE partition = ? AND sort = ?"
PURGE = """
DELETE FROM items WHERE (partition, sort) IN (
    SELECT partition, sort FROM items WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)"""

BEFORE_ALL_TEXT = ""
AFTER_ALL_TEXT = b""  # in SQLite's order every blob comes after every text


class SqliteKeyValue:
    """A `KeyValue` in the SQLite file at `path`, made if absent; its folder must exist.

    Any number of threads and processes of one machine may use the file at once. A commit that
    returned has reached the disk. Nobody waits longer than about `PATIENCE_S` for a lock, then it
    is `Unavailable`; so is a file of a schema that this release does not know.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int],
        new_version: Callable[[], int] = random_version,
    ) -> None:
        self._clock = clock
        self._new_version = new_version
        self._writing = Lock()
        self._readers = _Readers(path)
        try:
            self._writer = _opened(path)
        except sqlite3.Error as error:
            raise Unavailable(f"cannot open {path}: {error}") from error

    def get(self, key: Key) -> Item | None:
        """The item, strongly consistent; None if absent."""
        rows = self._read(GET, *key, self._clock())
        return item_of(rows[0]) if rows else None

    def query(
        self,
        partition: str,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
        newest_first: bool = False,
    ) -> list[Item]:
        """Up to `limit` items of a partition in the order of their sort, strongly consistent."""
        check_page(limit)
        page = NEWEST_FIRST if newest_first else OLDEST_FIRST
        start = AFTER_ALL_TEXT if newest_first else BEFORE_ALL_TEXT
        bound = start if after is None else after
        return [item_of(row) for row in self._read(page, partition, bound, self._clock(), limit)]

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        """Up to `limit` items due in `queue` at or before `until_ms`, earliest first."""
        check_page(limit)
        return [item_of(row) for row in self._read(DUE, queue, until_ms, self._clock(), limit)]

    def commit(self, *changes: Change) -> None:
        """Make all changes or none; every condition is checked before anything is written."""
        check_limits(changes)
        with self._transaction() as connection:
            now_ms = self._clock()
            before = [_live(connection, change.key, now_ms) for change in changes]
            version = self._new_version()
            outcome = [
                after(change, item, version) for change, item in zip(changes, before, strict=True)
            ]
            for change, old, new in zip(changes, before, outcome, strict=True):
                if new is None and old is not None:
                    connection.execute(REMOVE, change.key)
                elif new is not None and new is not old:
                    connection.execute(WRITE, row_of(new))

    def purge(self, *, limit: int) -> int:
        """Physically remove up to `limit` expired items; how many were removed."""
        check_page(limit)
        with self._transaction() as connection:
            return connection.execute(PURGE, (self._clock(), limit)).rowcount

    def close(self) -> None:
        """Release each connection when its call has ended; later calls are `Unavailable`."""
        self._readers.close()
        with self._turn():
            self._writer.close()

    def _read(self, sql: str, *parameters: Any) -> list[Any]:
        try:
            reader = self._readers.take()
            try:
                return reader.execute(sql, parameters).fetchall()
            finally:
                self._readers.give_back(reader)
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn():
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                except BaseException:
                    _roll_back(self._writer)
                    raise
            except sqlite3.Error as error:
                raise Unavailable(str(error)) from error
            _commit(self._writer)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._writing.acquire(timeout=PATIENCE_S):
            raise Unavailable("other writers take too long")
        try:
            yield
        finally:
            self._writing.release()


class _Readers:
    """Connections for reading: one for each thread that reads at the moment, so nobody queues."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False

    def take(self) -> sqlite3.Connection:
        with self._lock:
            if self._is_closed:
                raise Unavailable("the store is closed")
            if self._idle:
                return self._idle.pop()
        return _connected(self._path)

    def give_back(self, reader: sqlite3.Connection) -> None:
        with self._lock:
            is_kept = len(self._idle) < MAX_IDLE_READERS and not self._is_closed
            if is_kept:
                self._idle.append(reader)
        if not is_kept:
            reader.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        while self._idle:
            self._idle.pop().close()


def _live(connection: sqlite3.Connection, key: Key, now_ms: int) -> Item | None:
    row = connection.execute(GET, (*key, now_ms)).fetchone()
    return None if row is None else item_of(row)


def _commit(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(connection)
        # The frames may be in the log, from where a crash would bring them back.
        raise Unknown(str(error)) from error


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # a full disk, among others, has ended it already
        connection.execute("ROLLBACK")


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to a file that has our schema."""
    connection = _connected(path)
    with _closed_on_failure(connection):
        _use_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        _ensure_schema(connection)
        connection.execute("COMMIT")
    return connection


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
    )
    with _closed_on_failure(connection):
        connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def _closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write ahead, so that readers and the writer never wait for each other."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (mode := _mode_once_asked_for_wal(connection, deadline_s)) is None:
        time.sleep(OPENING_PAUSE_S)
    if mode != "wal":
        raise sqlite3.NotSupportedError(f"the file system offers only journal mode {mode}")


def _mode_once_asked_for_wal(connection: sqlite3.Connection, deadline_s: float) -> str | None:
    """None while another process makes the file: SQLite itself does not wait for that."""
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
            raise
        return None
    return str(mode)


def _ensure_schema(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version == 0 and tables == 0:
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif version != SCHEMA_VERSION:
        raise sqlite3.NotSupportedError(f"schema {version}; this release knows {SCHEMA_VERSION}")
