"""Uploads: a customer's file, kept two hours for use as a source.

A file comes in one of two ways: whole (`receive`), or as a reservation that is filled later by
whoever has its address (`reserve`, then `fill`). Where the object store has addresses of its own, a
reservation is filled there, past us: such a file is not looked into before it is used as a source.
When its time is over the sweeper deletes the file first, the record last.
"""

import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from inference.errors import ImageError
from inference.images import probe
from inference.params import OutputFormat
from jobs.errors import UploadRefused
from jobs.ids import Clock
from jobs.links import CONTENT_TYPES, FORMATS, Links, is_upload, upload_name
from storage.kv import Conflict, Delete, Due, Item, Key, KeyValue, Put
from storage.objects import Objects, ObjectsError, read
from storage.record import Record

log = logging.getLogger(__name__)

KEPT_MS = 2 * 60 * 60 * 1000
UPLOADS_QUEUE = "uploads"

RETRY_MS = 60_000
"""How long a file rests that could not be deleted: others are not kept waiting by it."""


class Upload(Record):
    """An upload's record; `url` is its public address once it is filled.

    One that `is_direct` is filled as soon as the object store has a file of its size.
    """

    id: str
    account_id: str
    url: str
    object_name: str
    format: OutputFormat
    size_bytes: int
    expires_at_ms: int
    is_filled: bool
    is_direct: bool = False

    @property
    def content_type(self) -> str:
        """The media type of the file."""
        return CONTENT_TYPES[self.format]


class Place(NamedTuple):
    """A reservation, and the address that its file is to be PUT to, with its type and no key.

    The address may let in whoever has it: it is for the customer, and for no record or log.
    """

    upload: Upload
    put_url: str


@dataclass(frozen=True)
class Uploads:
    """Takes files in, hands their bytes out, and forgets them in time."""

    kv: KeyValue
    objects: Objects
    links: Links
    clock: Clock
    max_pixels: int

    def receive(self, account_id: str, data: bytes) -> Upload:
        """Keep a whole file; `UploadRefused` unless it is a picture we read.

        The type is what the bytes say; what the client calls it is ignored.
        """
        upload = self._new(
            account_id, _format_of(data, self.max_pixels), size_bytes=len(data), is_filled=True
        )
        # The record goes first, for it is what has the file deleted in time.
        self.kv.commit(_put(upload, replaces=None))
        self.objects.put(upload.object_name, data, content_type=upload.content_type)
        return upload

    def reserve(self, account_id: str, *, content_type: str, size_bytes: int) -> Place:
        """Promise a place to a file of that type and size; whoever knows its address may fill it.

        The address is the object store's where it has one, else ours.
        """
        if content_type not in FORMATS:
            raise UploadRefused(f"contentType must be one of {', '.join(FORMATS)}")
        upload = self._new(
            account_id, FORMATS[content_type], size_bytes=size_bytes, is_filled=False
        )
        direct = self.objects.upload_url(
            upload.object_name,
            content_type=content_type,
            size_bytes=size_bytes,
            expires_in_s=KEPT_MS // 1000,
        )
        upload = upload.model_copy(update={"is_direct": direct is not None})
        self.kv.commit(_put(upload, replaces=None))
        return Place(upload, upload.url if direct is None else direct.url)

    def fill(self, object_name: str, data: bytes, *, content_type: str) -> None:
        """Keep the bytes that a reservation was made for, once."""
        item, upload = self._reserved(object_name)
        if content_type != upload.content_type:
            raise UploadRefused(f"The upload was reserved for {upload.content_type}")
        if len(data) != upload.size_bytes:
            raise UploadRefused(f"The upload was reserved for {upload.size_bytes} bytes")
        if _format_of(data, self.max_pixels) != upload.format:
            raise UploadRefused(f"The file is not {upload.content_type}")
        is_first = self.objects.put_if_absent(object_name, data, content_type=content_type)
        if not is_first and read(self.objects, object_name) != data:
            raise UploadRefused("This upload has been made already")
        filled = upload.model_copy(update={"is_filled": True})
        try:
            self.kv.commit(_put(filled, replaces=item.version))
        except Conflict as error:
            raise UploadRefused("This upload has been made already") from error

    def check_reserved(self, object_name: str) -> None:
        """Raise `UploadRefused` unless a reservation of that name waits to be filled."""
        self._reserved(object_name)

    def find(self, object_name: str) -> Upload | None:
        """The filled upload of that name whose time is not over."""
        item = self._item(object_name)
        upload = None if item is None else Upload.model_validate(item.value)
        if upload is None or not (upload.is_filled or self._is_there(upload)):
            return None
        return upload.model_copy(update={"is_filled": True})

    def forget(self, item: Item) -> None:
        """Delete an upload whose time is over, or try again later if the object store cannot.

        It is quiet if another sweeper was faster.
        """
        upload = Upload.model_validate(item.value)
        change: Delete | Put = Delete(item.key, replaces=item.version)
        try:
            self.objects.delete(upload.object_name)
        except ObjectsError as error:
            log.warning("%s is left for now: %s", upload.object_name, error)
            change = _put(upload, replaces=item.version, due_at_ms=self.clock() + RETRY_MS)
        with suppress(Conflict):
            self.kv.commit(change)

    def _new(
        self, account_id: str, format_: OutputFormat, *, size_bytes: int, is_filled: bool
    ) -> Upload:
        upload_id = secrets.token_hex(16)
        name = upload_name(upload_id, format_)
        return Upload(
            id=upload_id,
            account_id=account_id,
            url=self.links.of(name),
            object_name=name,
            format=format_,
            size_bytes=size_bytes,
            expires_at_ms=self.clock() + KEPT_MS,
            is_filled=is_filled,
        )

    def _is_there(self, upload: Upload) -> bool:
        if not upload.is_direct:  # else the file came past us, and nobody has told the record
            return False
        return self.objects.size_bytes(upload.object_name) == upload.size_bytes

    def _reserved(self, object_name: str) -> tuple[Item, Upload]:
        item = self._item(object_name)
        if item is None:
            raise UploadRefused("No upload was reserved at this address, or its time is over")
        upload = Upload.model_validate(item.value)
        if upload.is_filled:
            raise UploadRefused("This upload has been made already")
        return item, upload

    def _item(self, object_name: str) -> Item | None:
        item = self.kv.get(_key(object_name)) if is_upload(object_name) else None
        is_live = item is not None and item.value["expires_at_ms"] > self.clock()
        return item if is_live else None


def _put(upload: Upload, *, replaces: int | None, due_at_ms: int | None = None) -> Put:
    due = Due(UPLOADS_QUEUE, upload.expires_at_ms if due_at_ms is None else due_at_ms)
    return Put(_key(upload.object_name), upload.model_dump(), replaces=replaces, due=due)


def _key(object_name: str) -> Key:
    return Key(f"upload#{object_name}", "upload")


def _format_of(data: bytes, max_pixels: int) -> OutputFormat:
    try:
        return probe(data, max_pixels=max_pixels).format
    except ImageError as error:
        raise UploadRefused(str(error)) from error
