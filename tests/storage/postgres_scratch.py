"""Scratch stores in PostgreSQL whose tests have little time."""

import psycopg

from storage.contract.key_value_case import Clock
from storage.contract.postgres_backend import PostgresBackend
from storage.postgres import PostgresKeyValue

PATIENCE_S = 0.5


def impatient(backend: PostgresBackend) -> PostgresKeyValue:
    """The store, which gives up soon."""
    return PostgresKeyValue(
        backend.url, clock=Clock(), schema=backend.schema, patience_s=PATIENCE_S
    )


def execute(url: str, statement: str) -> None:
    """Run a statement beside the store."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
