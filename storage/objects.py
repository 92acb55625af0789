"""The object store interface: named, immutable bytes."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class ObjectsError(Exception):
    """The object store cannot be reached or cannot write."""


class Stored(NamedTuple):
    """An object being read: its size, its media type, and its bytes in chunks.

    Close `chunks` when they are not read to the end.
    """

    size_bytes: int
    content_type: str
    chunks: "Chunks"


class Chunks(Protocol):
    """Bytes in order, read once."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Objects(Protocol):
    """A store of objects. Every method may raise `ObjectsError`; all are safe from threads.

    A name is a path of plain segments ("images/<job>-1.png"). An object appears whole or not at
    all, and is durable once `put` returns.
    """

    def put(self, name: str, data: bytes, *, content_type: str) -> None:
        """Store `data` under `name`, replacing what is there."""

    def put_if_absent(self, name: str, data: bytes, *, content_type: str) -> bool:
        """Store `data` unless the name is taken; whether it was stored."""

    def get(self, name: str) -> Stored | None:
        """The object as a stream, or None if there is none."""

    def url(self, name: str, *, expires_in_s: int) -> str | None:
        """A short-lived public address of the object's bytes, or None if the store has none.

        A store without addresses of its own leaves the serving to us, through `get`.
        """

    def delete(self, name: str) -> None:
        """Remove the object; quiet if there is none."""


def read(objects: Objects, name: str) -> bytes | None:
    """All bytes of an object, or None if there is none."""
    stored = objects.get(name)
    return None if stored is None else b"".join(stored.chunks)
