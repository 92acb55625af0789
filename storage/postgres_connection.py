"""A connection to PostgreSQL that nobody waits for without end, and what it says when it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from storage.kv import Unavailable, Unsuitable

CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8_000,
    "client_encoding": "UTF8",
}
"""So that a server that is gone is noticed within ten seconds, connections at rest included."""

POLL_S = 0.1

T = TypeVar("T")


class Dead(psycopg.OperationalError):
    """The connection turned out to be of no use; another may do."""


class BoundedConnection(Connection[Any]):
    """A connection that waits `patience_s` for an answer, and is closed if none comes.

    The time-outs that the server keeps help only while it runs, and behind a pooler only once the
    pooler has found it a server.
    """

    patience_s = 10.0

    @contextmanager
    def round_trip(self) -> Iterator[None]:
        """Send what is executed in the block at once; results can be fetched after it.

        A statement that fails is the last one executed. `Dead` if the connection is.
        """
        try:
            with self.pipeline():
                yield
        except psycopg.Error as error:
            if self.info.transaction_status in (TransactionStatus.INERROR, TransactionStatus.IDLE):
                raise  # what the server said of a statement
            is_ours = self.closed and not self.broken
            self.close()
            raise error if is_ours else Dead(told(error)) from error

    def wait(self, gen: PQGen[T], interval: float = POLL_S, timeout: float | None = None) -> T:
        """Let psycopg do what waits for the server."""
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except errors._WaitTimeout as error:
            self.close()  # the answer may still come, to whoever asks next
            raise psycopg.OperationalError("the server does not answer") from error


@contextmanager
def connected(url: str) -> Iterator[BoundedConnection]:
    """A connection for the length of a block; what the server has against it is `Unavailable`."""
    try:
        conninfo_to_dict(url)
    except psycopg.Error:
        # Not its own words: they quote what they stumble over, which may be the password.
        raise Unsuitable("it is not an address as PostgreSQL's libpq reads them") from None
    try:
        with BoundedConnection.connect(
            url, **CONNECTION, prepare_threshold=None, autocommit=True
        ) as opened:
            yield opened
    except psycopg.Error as error:
        raise Unavailable(told(error)) from error


def told(error: Exception) -> str:
    """What PostgreSQL says, in a line."""
    return " ".join(str(error).split())
