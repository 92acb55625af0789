"""The key-value store in PostgreSQL: for production, behind a pooler in transaction mode or not."""

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from storage.changes import after, has_happened, random_version
from storage.kv import (
    MAX_PAGE,
    Change,
    Item,
    Key,
    StoreError,
    Unavailable,
    Unknown,
    check_limits,
    check_page,
)
from storage.postgres_connection import CONNECTION, BoundedConnection, Dead, told
from storage.postgres_schema import SCHEMA, check_items
from storage.rows import item_of, row_of

MAX_CONNECTIONS = 20
PATIENCE_S = 5.0
MARGIN_S = 2.0
"""How much longer than the server's our own patience is: its answer says more than none."""
TRIES = MAX_CONNECTIONS + 2
"""How many dead connections a call may meet: after a restart of the server all of them are."""

T = TypeVar("T")

COLUMNS = "partition, sort, value, version, counters, due_queue, due_at_ms, expires_at_ms"
LIVE = "(expires_at_ms IS NULL OR expires_at_ms > %s)"
GET = f"SELECT {COLUMNS} FROM {{items}} WHERE partition = %s AND sort = %s AND {LIVE}"
OLDEST_FIRST = f"""
SELECT {COLUMNS} FROM {{items}} WHERE partition = %s AND sort > %s AND {LIVE}
ORDER BY sort LIMIT %s"""
NEWEST_FIRST = f"""
SELECT {COLUMNS} FROM {{items}}
WHERE partition = %s AND (%s::text IS NULL OR sort < %s) AND {LIVE} ORDER BY sort DESC LIMIT %s"""
DUE = f"""
SELECT {COLUMNS} FROM {{items}} WHERE due_queue = %s AND due_at_ms <= %s AND {LIVE}
ORDER BY due_at_ms, partition, sort LIMIT %s"""
# Said, because a database can have another default, and under that one a condition would be
# checked against what was there before the locks were taken.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
PATIENCE = """
SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"""
LOCK = "SELECT pg_advisory_xact_lock(lock) FROM unnest(%s::bigint[]) AS lock"
BEFORE = f"""
SELECT {COLUMNS} FROM {{items}}
JOIN unnest(%s::text[], %s::text[]) AS wanted (partition, sort) USING (partition, sort)
WHERE {LIVE}"""
WRITE = f"""
INSERT INTO {{items}} ({COLUMNS})
SELECT * FROM unnest(
    %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::bigint[],
    %s::bigint[])
ON CONFLICT (partition, sort) DO UPDATE SET
    (value, version, counters, due_queue, due_at_ms, expires_at_ms) = (
        excluded.value, excluded.version, excluded.counters, excluded.due_queue,
        excluded.due_at_ms, excluded.expires_at_ms)"""
REMOVE = """
DELETE FROM {items} USING unnest(%s::text[], %s::text[]) AS gone (partition, sort)
WHERE items.partition = gone.partition AND items.sort = gone.sort"""
PURGE = """
DELETE FROM {items} WHERE (partition, sort) IN (
    SELECT partition, sort FROM {items} WHERE expires_at_ms <= %s
    ORDER BY expires_at_ms LIMIT %s FOR UPDATE SKIP LOCKED)"""


class PostgresKeyValue:
    """A `KeyValue` in the table `items` of a schema that `create_items` has made.

    Any number of threads and processes anywhere may use it at once. A commit that returned is as
    durable as the server's `synchronous_commit` makes it. Nobody waits longer than `patience_s`
    for a connection, a lock or a statement, nor `MARGIN_S` more for a server or pooler that says
    nothing. Nothing is kept in a session, so that a pooler may change it between transactions.
    Raises `Unsuitable` if the table is not there or of another layout.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int],
        new_version: Callable[[], int] = random_version,
        schema: str = SCHEMA,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._clock = clock
        self._new_version = new_version
        self._schema = schema
        self._patience_s = patience_s
        check_items(url, schema=schema)
        self._pool = ConnectionPool(
            url,
            connection_class=BoundedConnection,
            configure=self._bound,
            kwargs=CONNECTION | {"prepare_threshold": None, "autocommit": True},
            min_size=0,
            max_size=MAX_CONNECTIONS,
            timeout=patience_s,
            reconnect_timeout=patience_s,
            open=True,
        )

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
        """Up to `limit` items of a partition in the order of their sort, of one moment."""
        check_page(limit)
        now_ms = self._clock()
        if newest_first:
            rows = self._read(NEWEST_FIRST, partition, after, after, now_ms, limit)
        else:
            rows = self._read(OLDEST_FIRST, partition, after or "", now_ms, limit)
        return [item_of(row) for row in rows]

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        """Up to `limit` items due in `queue` at or before `until_ms`, earliest first."""
        check_page(limit)
        return [item_of(row) for row in self._read(DUE, queue, until_ms, self._clock(), limit)]

    def commit(self, *changes: Change) -> None:
        """Make all changes or none; every condition is checked before anything is written.

        A lock on each key, there or not, is held to the end, so that nobody changes in between
        what a condition saw.
        """
        check_limits(changes)
        version = self._new_version()
        try:
            self._attempted(lambda connection: self._commit(connection, changes, version))
        except Unknown:
            if not self._has_happened(changes, version):
                raise

    def purge(self, *, limit: int) -> int:
        """Physically remove up to `limit` expired items; how many were removed."""
        check_page(limit)
        now_ms = self._clock()

        def purge(connection: BoundedConnection) -> int:
            with connection.round_trip():
                connection.execute(BEGIN)
                self._set_patience(connection)
                purged = connection.execute(self._of(PURGE), (now_ms, limit))
                connection.execute("COMMIT")
            return purged.rowcount

        return self._attempted(purge)

    def close(self) -> None:
        """Release the connections; later calls are `Unavailable`."""
        self._pool.close(timeout=self._patience_s)

    def _commit(
        self, connection: BoundedConnection, changes: tuple[Change, ...], version: int
    ) -> None:
        """Two round trips: one to lock and read, one to write and commit.

        An error rolls back: the pool does, when it takes the connection back.
        """
        items = self._locked(connection, [change.key for change in changes])
        outcome = [
            after(change, item, version) for change, item in zip(changes, items, strict=True)
        ]
        pairs = list(zip(items, outcome, strict=True))
        written = [row_of(new) for old, new in pairs if new is not None and new is not old]
        removed = [old.key for old, new in pairs if old is not None and new is None]
        try:
            with connection.round_trip():
                if written:
                    connection.execute(self._of(WRITE), _columns(written, 8))
                if removed:
                    connection.execute(self._of(REMOVE), _columns(removed, 2))
                connection.execute("COMMIT")
        except psycopg.Error as error:
            if connection.info.transaction_status == TransactionStatus.INERROR:
                raise  # a statement before the COMMIT failed, so that was left out
            raise Unknown(told(error)) from error

    def _locked(self, connection: BoundedConnection, keys: list[Key]) -> list[Item | None]:
        """The live items of a transaction that begins, nobody else's until it ends."""
        locks = sorted({_lock(self._schema, key) for key in keys})
        with connection.round_trip():
            connection.execute(BEGIN)
            self._set_patience(connection)
            connection.execute(LOCK, (locks,))
            # A statement of its own: what it sees is of a moment after the locks.
            found = connection.execute(self._of(BEFORE), (*_columns(keys, 2), self._clock()))
        items = {item.key: item for item in map(item_of, found.fetchall())}
        return [items.get(key) for key in keys]

    def _has_happened(self, changes: tuple[Change, ...], version: int) -> bool:
        try:
            return has_happened(changes, version, get=self.get)
        except StoreError as error:
            raise Unknown(f"and it cannot be looked up: {error}") from error

    def _read(self, statement: str, *parameters: Any) -> list[Any]:
        def read(connection: BoundedConnection) -> list[Any]:
            with connection.round_trip():  # and one transaction
                self._set_patience(connection)
                found = connection.execute(self._of(statement), parameters)
            return found.fetchall()

        return self._attempted(read)

    def _attempted(self, work: Callable[[BoundedConnection], T]) -> T:
        """Do it on a connection of the pool, and on another if that one turns out to be dead."""
        deadline_s = time.monotonic() + self._patience_s
        for tries_left in reversed(range(TRIES)):
            try:
                with self._pool.connection() as connection:
                    return work(connection)
            except (PoolTimeout, PoolClosed) as error:
                raise Unavailable(told(error)) from error
            except Dead as error:
                if not tries_left or time.monotonic() > deadline_s:
                    raise Unavailable(told(error)) from error
            except psycopg.Error as error:
                raise Unavailable(told(error)) from error
        raise AssertionError("the last try returns or raises")

    def _set_patience(self, connection: BoundedConnection) -> None:
        patience_ms = f"{self._patience_s * 1000:.0f}"
        connection.execute(PATIENCE, (patience_ms, patience_ms))

    def _bound(self, connection: BoundedConnection) -> None:
        connection.patience_s = self._patience_s + MARGIN_S

    def _of(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(items=sql.Identifier(self._schema, "items"))


def _lock(schema: str, key: Key) -> int:
    """The number of the advisory lock that guards a key; two keys may share one, by chance."""
    name = "\0".join((schema, *key)).encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)


def _columns(rows: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
    """Rows as one array for each column."""
    return [[row[column] for row in rows] for column in range(count)]
