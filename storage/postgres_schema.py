"""The schema and table of the key-value store in PostgreSQL: made, checked, dropped."""

from psycopg import errors, sql

from storage.kv import Unsuitable
from storage.postgres_connection import BoundedConnection, connected, told

SCHEMA = "enlarger"
LAYOUT = "enlarger layout 1"
"""The table's comment. Another layout is another number."""
ENCODING = "UTF8"

MAKE = (
    "CREATE SCHEMA IF NOT EXISTS {schema}",
    """
    CREATE TABLE IF NOT EXISTS {items} (
        partition      TEXT COLLATE "C" NOT NULL,
        sort           TEXT COLLATE "C" NOT NULL,
        value          TEXT NOT NULL,
        version        BIGINT NOT NULL,
        counters       TEXT NOT NULL,
        due_queue      TEXT COLLATE "C",
        due_at_ms      BIGINT,
        expires_at_ms  BIGINT,
        PRIMARY KEY (partition, sort)
    )""",
    """
    CREATE INDEX IF NOT EXISTS items_due ON {items} (due_queue, due_at_ms, partition, sort)
    WHERE due_queue IS NOT NULL""",
    """
    CREATE INDEX IF NOT EXISTS items_expiry ON {items} (expires_at_ms)
    WHERE expires_at_ms IS NOT NULL""",
    "COMMENT ON TABLE {items} IS {layout}",
)
FOUND = """
SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s) IS NOT NULL,
    current_setting('server_encoding')"""
MAKING = "SELECT pg_advisory_xact_lock(hashtext(%s))"


def create_items(url: str, *, schema: str = SCHEMA) -> None:
    """Make the schema and its table, unless they are there.

    Raises `Unsuitable` if a table of another layout is, `Unavailable` if the server cannot be
    reached or does not allow it.
    """
    with connected(url) as connection, connection.transaction():
        connection.execute(MAKING, (schema,))  # several may try at once
        if _layout(connection, schema) is None:
            for statement in MAKE:
                connection.execute(_composed(statement, schema))


def check_items(url: str, *, schema: str = SCHEMA) -> None:
    """Raise `Unsuitable` unless the table is there; raises as `create_items` does."""
    with connected(url) as connection:
        if _layout(connection, schema) is None:
            raise Unsuitable(f"there is no table {schema}.items; run `enlarger store init`")


def drop_items(url: str, *, schema: str) -> None:
    """Remove the schema with all that is in it; quiet if there is none."""
    with connected(url) as connection:
        connection.execute(_composed("DROP SCHEMA IF EXISTS {schema} CASCADE", schema))


def _layout(connection: BoundedConnection, schema: str) -> str | None:
    """The layout of the table, None if there is none; `Unsuitable` if it is not ours."""
    name = sql.Identifier(schema, "items").as_string(connection)
    found = connection.execute(FOUND, (name, name)).fetchone()
    assert found is not None
    layout, is_there, encoding = found
    if encoding != ENCODING:
        raise Unsuitable(f"the database keeps text in {encoding}; it must be {ENCODING}")
    if not is_there:
        return None
    if layout != LAYOUT:
        raise Unsuitable(f"the table {schema}.items is not of {LAYOUT}, which this release needs")
    try:
        columns = "partition, sort, value, version, counters, due_queue, due_at_ms, expires_at_ms"
        connection.execute(_composed(f"SELECT {columns} FROM {{items}} LIMIT 0", schema))
    except errors.UndefinedColumn as error:
        raise Unsuitable(f"the table {schema}.items is incomplete: {told(error)}") from error
    return LAYOUT


def _composed(statement: str, schema: str) -> sql.Composed:
    return sql.SQL(statement).format(
        schema=sql.Identifier(schema),
        items=sql.Identifier(schema, "items"),
        layout=sql.Literal(LAYOUT),
    )
