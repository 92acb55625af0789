"""The object store interface: named, immutable bytes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple, Protocol

MAX_NAME_LENGTH = 512
SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
NAME = re.compile(rf"{SEGMENT}(/{SEGMENT})*")

MEDIA_TYPES = {
    ".avif": "image/avif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
OTHER_MEDIA_TYPE = "application/octet-stream"

Content = bytes | BinaryIO
"""What can be stored: bytes, or an open file, which is read from its beginning to its end."""


class ObjectsError(Exception):
    """The object store cannot be reached or cannot write."""


class ObjectsUnsuitable(ObjectsError):
    """The object store is not as we need it; the message says what an operator can do."""


class Stored(NamedTuple):
    """An object being read: its size, its media type, and its bytes in chunks.

    Close `chunks` when they are not read to the end.
    """

    size_bytes: int
    content_type: str
    chunks: "Chunks"


class DirectUpload(NamedTuple):
    """Where a client may PUT an object itself, and the headers that it must send with it.

    The address lets in whoever has it: it is told to the client alone, and kept nowhere.
    """

    url: str
    headers: Mapping[str, str]


class Chunks(Protocol):
    """Bytes in order, read once."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Objects(Protocol):
    """A store of objects. Every method may raise `ObjectsError`; all are safe from threads.

    A name is a path of plain segments ("images/<job>-1.png"): up to 200 of `A-Za-z0-9._-` each, no
    dot in front, up to `MAX_NAME_LENGTH` in all; no object's name is the folder of another's. Its
    extension says the media type. Any other name or type is a `ValueError`.

    An object appears whole or not at all, and is durable once `put` returns. A file is stored
    without being read into memory, stays open, and may stand anywhere afterwards; one that cannot
    be read is an `ObjectsError` as well.
    """

    def put(self, name: str, data: Content, *, content_type: str) -> None:
        """Store `data` under `name`, replacing what is there."""

    def put_if_absent(self, name: str, data: Content, *, content_type: str) -> bool:
        """Store `data` unless the name is taken; whether it was stored."""

    def get(self, name: str) -> Stored | None:
        """The object as a stream, or None if there is none."""

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None if there is none."""

    def url(self, name: str, *, expires_in_s: int) -> str | None:
        """A short-lived public address of the object's bytes, or None if the store has none.

        A store without addresses of its own leaves the serving to us, through `get`.
        """

    def upload_url(
        self, name: str, *, content_type: str, size_bytes: int, expires_in_s: int
    ) -> DirectUpload | None:
        """Where a client can store an object of that type and size itself, past us.

        None if the store has no such address. Nothing has looked into what is stored there.
        """

    def delete(self, name: str) -> None:
        """Remove the object; quiet if there is none."""


def media_type(name: str) -> str:
    """The media type that a name's extension says."""
    return MEDIA_TYPES.get(PurePosixPath(name).suffix, OTHER_MEDIA_TYPE)


def check_name(name: str) -> None:
    """Raise `ValueError` unless every store can hold an object of this name; adapters call it."""
    if len(name) > MAX_NAME_LENGTH or not NAME.fullmatch(name):
        raise ValueError(f"not the name of an object: {name!r}")


def check_object(name: str, content_type: str) -> None:
    """Raise `ValueError` unless this is an object's name, and its extension says this type."""
    check_name(name)
    if content_type != media_type(name):
        raise ValueError(f"{name} would be {media_type(name)}, not {content_type}")


def read(objects: Objects, name: str) -> bytes | None:
    """All bytes of an object, or None if there is none."""
    stored = objects.get(name)
    return None if stored is None else b"".join(stored.chunks)
