"""Stores that can be made to fail."""

from typing import BinaryIO

from storage.folder import FolderObjects
from storage.kv import Change, Item, Key, Unavailable, Unknown
from storage.objects import Stored
from storage.sqlite import SqliteKeyValue


class Failing(SqliteKeyValue):
    """A key-value store that can be made to fail, at reading or only at writing."""

    reading: Exception | None = None
    writing: Exception | None = None
    is_lost_after_the_next_job = False
    is_down_after_the_next_job = False

    def get(self, key: Key) -> Item | None:
        if self.reading is not None:
            raise self.reading
        return super().get(key)

    def commit(self, *changes: Change) -> None:
        if self.writing is not None and not any("quota" in each.key.partition for each in changes):
            raise self.writing
        super().commit(*changes)
        if self.is_lost_after_the_next_job and len(changes) > 2:
            self.is_lost_after_the_next_job = False
            self.reading = Unavailable("no connection")
            raise Unknown("no answer")
        if self.is_down_after_the_next_job and len(changes) > 2:
            self.is_down_after_the_next_job = False
            self.reading = Unavailable("no connection")


class FailingObjects(FolderObjects):
    """An object store that can be made to fail."""

    failure: Exception | None = None

    def put(self, name: str, data: bytes | BinaryIO, *, content_type: str) -> None:
        if self.failure is not None:
            raise self.failure
        super().put(name, data, content_type=content_type)

    def get(self, name: str) -> Stored | None:
        if self.failure is not None:
            raise self.failure
        return super().get(name)
