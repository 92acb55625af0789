"""Scratch stores beside an operator's own: in the same file system, table, database or bucket."""

import secrets
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

from storage.addresses import (
    DynamoAddress,
    FolderAddress,
    ObjectsAddress,
    PostgresAddress,
    S3Address,
    SqliteAddress,
    StoreAddress,
)
from storage.contract.key_value_case import Backend
from storage.contract.objects_contract import ObjectsBackend
from storage.folder import FolderObjects
from storage.sqlite import SqliteKeyValue


class SqliteFile(NamedTuple):
    """A database file, made when it is first opened."""

    path: Path

    def open(self, *, clock: Callable[[], int]) -> SqliteKeyValue:
        return SqliteKeyValue(self.path, clock=clock)

    def discard(self) -> None:
        """Remove it, and what SQLite keeps beside it."""
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


class Folder(NamedTuple):
    """A folder, made when it is first opened."""

    path: Path

    def open(self) -> FolderObjects:
        return FolderObjects(self.path)

    def discard(self) -> None:
        """Remove it with everything in it."""
        if self.path.exists():
            rmtree(self.path)


def scratch_key_value(address: StoreAddress) -> Backend:
    """An empty store where that one is, which it does not touch."""
    match address:
        case SqliteAddress():
            return SqliteFile(address.path.with_name(f".check-{secrets.token_hex(8)}.sqlite"))
        case DynamoAddress():
            from storage.contract.dynamo_backend import DynamoBackend

            return DynamoBackend.new(address)
        case PostgresAddress():
            from storage.contract.postgres_backend import PostgresBackend

            return PostgresBackend.new(address.url)


def scratch_objects(address: ObjectsAddress) -> ObjectsBackend:
    """An empty store of objects where that one is, which it does not touch."""
    match address:
        case FolderAddress():
            return Folder(address.path.with_name(f".check-{secrets.token_hex(8)}"))
        case S3Address():
            from storage.contract.s3_backend import S3Backend

            return S3Backend.new(address)
