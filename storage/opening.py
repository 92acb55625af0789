"""Opening and preparing stores by their addresses; an adapter's library is imported only then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.addresses import (
    DynamoAddress,
    FolderAddress,
    ObjectsAddress,
    PostgresAddress,
    S3Address,
    SqliteAddress,
    StoreAddress,
)
from storage.kv import KeyValue
from storage.objects import Objects

LIBRARIES = {"boto3": "aws", "botocore": "aws", "psycopg": "postgres", "psycopg_pool": "postgres"}
"""In which of the package's extras the adapters' libraries are."""


class LibraryMissing(Exception):
    """The library that an adapter stands on is not installed; the message names the extra."""

    def __init__(self, error: ModuleNotFoundError) -> None:
        extra = LIBRARIES[error.name or ""]
        super().__init__(f"{error.name} is missing: install 'enlarger[{extra}]'")


def open_key_value(address: StoreAddress, *, clock: Callable[[], int]) -> KeyValue:
    """The key-value store, which has been prepared.

    Raises `Unsuitable` or `Unavailable` with what is wrong, or `LibraryMissing`.
    """
    match address:
        case SqliteAddress():
            from storage.sqlite import SqliteKeyValue

            return SqliteKeyValue(address.path, clock=clock)
        case DynamoAddress():
            with _installed():
                from storage.dynamo import DynamoKeyValue
            return DynamoKeyValue(address, clock=clock)
        case PostgresAddress():
            with _installed():
                from storage.postgres import PostgresKeyValue
            return PostgresKeyValue(address.url, clock=clock)


def prepare_key_value(address: StoreAddress) -> None:
    """Make the file, table or schema, unless it is there; raises as `open_key_value` does."""
    match address:
        case SqliteAddress():
            from storage.sqlite import SqliteKeyValue

            address.path.parent.mkdir(parents=True, exist_ok=True)
            SqliteKeyValue(address.path, clock=lambda: 0).close()
        case DynamoAddress():
            with _installed():
                from storage.dynamo_table import create_table
            create_table(address)
        case PostgresAddress():
            with _installed():
                from storage.postgres_schema import create_items
            create_items(address.url)


def open_objects(address: ObjectsAddress) -> Objects:
    """The object store, which can be written.

    Raises `ObjectsUnsuitable` or `ObjectsError` with what is wrong, or `LibraryMissing`.
    """
    match address:
        case FolderAddress():
            from storage.folder import FolderObjects

            return FolderObjects(address.path)
        case S3Address():
            with _installed():
                from storage.s3 import S3Objects
            objects = S3Objects(address)
            objects.check_writable()
            return objects


def prepare_objects(address: ObjectsAddress) -> None:
    """Make the folder, or have the bucket forget files in time; raises as `open_objects` does."""
    match address:
        case FolderAddress():
            open_objects(address)
        case S3Address():
            with _installed():
                from storage.s3 import S3Objects
            objects = S3Objects(address)
            objects.check_writable()
            objects.set_lifecycle()


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        raise LibraryMissing(error) from error
