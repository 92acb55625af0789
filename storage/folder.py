"""The object store in a local folder: the default on a single machine."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from heapq import nsmallest
from pathlib import Path
from typing import BinaryIO

from storage.objects import (
    Content,
    DirectUpload,
    ObjectsError,
    Stored,
    check_name,
    check_object,
    media_type,
)

CHUNK_BYTES = 1024 * 1024


class FolderObjects:
    """An `Objects` under the folder `root`, made if absent.

    An object is a plain file at `root/<name>`, so its media type is what its extension says. A
    file is written beside its place under a name that no object can have (a leading dot) and moved
    there when it is on the disk; what a killed writer leaves is such a file, and is never read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        with _reported():
            self._root.mkdir(parents=True, exist_ok=True)
            _sync(self._root.parent)

    def put(self, name: str, data: Content, *, content_type: str) -> None:
        """Store `data` under `name`, replacing what is there."""
        check_object(name, content_type)
        place = self._root / name
        with _reported(), _written(place.parent, data) as file:
            file.replace(place)
            self._sync_above(place)

    def put_if_absent(self, name: str, data: Content, *, content_type: str) -> bool:
        """Store `data` unless the name is taken; whether it was stored.

        Either way the object that now has the name is durable.
        """
        check_object(name, content_type)
        place = self._root / name
        with _reported(), _written(place.parent, data) as file:
            is_stored = _linked(file, place)
            self._sync_above(place)
        return is_stored

    def get(self, name: str) -> Stored | None:
        """The object as a stream of 1 MiB chunks, or None if there is none."""
        check_name(name)
        with _reported():
            try:
                file = (self._root / name).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            return Stored(os.fstat(file.fileno()).st_size, media_type(name), _FileChunks(file))

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None if there is none."""
        check_name(name)
        place = self._root / name
        with _reported():
            try:
                return place.stat().st_size if place.is_file() else None
            except FileNotFoundError:  # deleted between the two
                return None

    def url(self, name: str, *, expires_in_s: int) -> str | None:  # noqa: ARG002
        """None: a folder has no addresses of its own."""
        check_name(name)
        return None

    def upload_url(
        self,
        name: str,
        *,
        content_type: str,
        size_bytes: int,  # noqa: ARG002
        expires_in_s: int,  # noqa: ARG002
    ) -> DirectUpload | None:
        """None: a folder has no addresses of its own."""
        check_object(name, content_type)
        return None

    def delete(self, name: str) -> None:
        """Remove the object; quiet if there is none."""
        check_name(name)
        place = self._root / name
        with _reported():
            try:
                place.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            self._sync_above(place)

    def names(self, folder: str, *, limit: int) -> list[str]:
        """The first `limit` names of the objects that are in a folder itself, in their order."""
        check_name(folder)
        with _reported():
            try:
                with os.scandir(self._root / folder) as entries:
                    found = (each.name for each in entries if each.is_file())
                    names = nsmallest(limit, (name for name in found if name[0] != "."))
            except FileNotFoundError:
                return []
        return [f"{folder}/{name}" for name in names]

    def delete_unfinished(self, folder: str, *, before_ms: int) -> int:
        """Remove what killed writers have left in a folder until then; how much it was."""
        check_name(folder)
        count = 0
        with _reported():
            for path in (self._root / folder).glob(".*"):
                with suppress(FileNotFoundError):  # its writer has just moved it
                    if path.stat().st_mtime_ns < before_ms * 1_000_000:
                        path.unlink()
                        count += 1
        return count

    def _sync_above(self, place: Path) -> None:
        """Make the entries on the way to `place` durable: the folders may be new as well."""
        for folder in place.parents:
            _sync(folder)
            if folder == self._root:
                return


class _FileChunks:
    """The bytes of an open file, which is closed at their end or by `close`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        with _reported(), self._file as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def close(self) -> None:
        self._file.close()


@contextmanager
def _written(folder: Path, data: Content) -> Iterator[Path]:
    """A file in `folder` that holds `data` on the disk; gone afterwards unless it was moved."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{secrets.token_hex(16)}"
    try:
        with path.open("xb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                data.seek(0)
                shutil.copyfileobj(data, file, CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _linked(file: Path, place: Path) -> bool:
    try:
        place.hardlink_to(file)
    except FileExistsError:
        return False
    return True


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ObjectsError(str(error)) from error
