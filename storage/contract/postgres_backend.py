"""A scratch store in an operator's PostgreSQL: a schema of its own."""

import secrets
from collections.abc import Callable
from typing import NamedTuple, Self

from storage.postgres import PostgresKeyValue
from storage.postgres_schema import create_items, drop_items


class PostgresBackend(NamedTuple):
    """A schema with a random name."""

    url: str
    schema: str

    @classmethod
    def new(cls, url: str) -> Self:
        """Make one, empty."""
        backend = cls(url, f"enlarger_check_{secrets.token_hex(8)}")
        create_items(url, schema=backend.schema)
        return backend

    def open(self, *, clock: Callable[[], int]) -> PostgresKeyValue:
        return PostgresKeyValue(self.url, clock=clock, schema=self.schema)

    def discard(self) -> None:
        """Drop it."""
        drop_items(self.url, schema=self.schema)
