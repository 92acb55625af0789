"""The object store in a bucket of S3, R2, or another store that speaks S3's language."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from typing import Any

from botocore.exceptions import ClientError

from storage.addresses import S3Address
from storage.objects import (
    Content,
    DirectUpload,
    ObjectsError,
    Stored,
    check_name,
    check_object,
    media_type,
)
from storage.s3_bucket import check_bucket, set_rules
from storage.s3_client import MAX_ATTEMPTS, code_of, key_of, open_client, reported

log = logging.getLogger(__name__)

CHUNK_BYTES = 1024 * 1024
PART_BYTES = 16 * 1024 * 1024
MAX_PARTS = 10_000
MAX_LINK_S = 7 * 24 * 60 * 60
CONFLICT_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""How long to wait before each further try when another write of the name is under way."""

_ABSENT = ("NoSuchKey", "404")
_TAKEN = ("PreconditionFailed", "412")
_CONFLICT = ("ConditionalRequestConflict", "OperationAborted", "409")
_GONE = ("NoSuchUpload",)
_IF_ABSENT = {"IfNoneMatch": "*"}
_TOKEN = "enlarger-write"


class S3Objects:
    """An `Objects` in the bucket of that address, below its prefix.

    What fits into one part is stored by one request; more is sent part by part, of which two at
    most are in memory, and shows when the last is in. What a killed writer leaves is never shown,
    and the bucket's rules remove it.

    Each write has a token of its own in the object's metadata. boto3 sends a request again when
    its answer is lost, and then hears that the name is taken, by itself: the token tells.
    """

    def __init__(
        self,
        address: S3Address,
        *,
        part_bytes: int = PART_BYTES,
        max_attempts: int = MAX_ATTEMPTS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = address
        self._client = open_client(address, max_attempts=max_attempts)
        self._part_bytes = part_bytes
        self._pause = pause

    def put(self, name: str, data: Content, *, content_type: str) -> None:
        """Store `data` under `name`, replacing what is there."""
        check_object(name, content_type)
        with reported():
            self._write(name, data, condition={})

    def put_if_absent(self, name: str, data: Content, *, content_type: str) -> bool:
        """Store `data` unless the name is taken; whether it was stored."""
        check_object(name, content_type)
        with reported():
            for pause_s in CONFLICT_PAUSES_S:
                try:
                    return self._write(name, data, condition=_IF_ABSENT)
                except ClientError as error:
                    if code_of(error) not in _CONFLICT:
                        raise
                    self._pause(pause_s)
            return self._write(name, data, condition=_IF_ABSENT)

    def get(self, name: str) -> Stored | None:
        """The object as a stream of chunks of at most 1 MiB, or None if there is none."""
        check_name(name)
        with reported():
            try:
                answer = self._client.get_object(**self._place(name))
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
        return Stored(answer["ContentLength"], media_type(name), _BodyChunks(answer["Body"]))

    def size_bytes(self, name: str) -> int | None:
        """The object's size, or None if there is none."""
        check_name(name)
        with reported():
            described = self._described(name)
        return None if described is None else int(described["ContentLength"])

    def url(self, name: str, *, expires_in_s: int) -> str:
        """A signed address of the object, whether there is one or not, good for at most 7 days.

        It ends with the credentials that signed it, if those are temporary and end sooner.
        """
        check_name(name)
        shown = {
            "ResponseContentType": media_type(name),
            "ResponseContentDisposition": f'inline; filename="{name.rpartition("/")[2]}"',
        }
        return self._signed("get_object", {**self._place(name), **shown}, expires_in_s)

    def upload_url(
        self, name: str, *, content_type: str, size_bytes: int, expires_in_s: int
    ) -> DirectUpload:
        """A signed address for one PUT of that type and size, good for at most 7 days.

        Until then the holder may replace the object: that the name is free is no part of the
        signature, for then the client would have to send a header more.
        """
        check_object(name, content_type)
        bound = {"ContentType": content_type, "ContentLength": size_bytes}
        url = self._signed("put_object", {**self._place(name), **bound}, expires_in_s)
        return DirectUpload(url, {"Content-Type": content_type, "Content-Length": f"{size_bytes}"})

    def delete(self, name: str) -> None:
        """Remove the object; quiet if there is none."""
        check_name(name)
        with reported():
            self._client.delete_object(**self._place(name))

    def check_writable(self) -> None:
        """Store, link to and delete a small object; `ObjectsUnsuitable` says what is in the way."""
        check_bucket(self, self._address)

    def set_lifecycle(self) -> None:
        """Have the bucket itself delete what we might leave behind.

        The rules of others stay as they are. Quiet when ours are set; `ObjectsUnsuitable` if the
        bucket cannot be given any.
        """
        set_rules(self._client, self._address)

    def _write(self, name: str, data: Content, *, condition: Mapping[str, str]) -> bool:
        """Store `data`; False if the condition was not met."""
        token = secrets.token_hex(16)
        described = {"ContentType": media_type(name), "Metadata": {_TOKEN: token}}
        parts = _parts(data, self._part_bytes)
        first, second = next(parts), next(parts, None)
        try:
            if second is None:
                self._client.put_object(**self._place(name), **described, **condition, Body=first)
            elif condition and self._described(name) is not None:
                return False  # told before all of it is sent in vain
            else:
                self._send(name, chain((first, second), parts), described, condition=condition)
        except ClientError as error:
            if code_of(error) not in _TAKEN + _GONE:
                raise
            if self._is_written_with(token, name):
                return True
            if code_of(error) in _GONE:
                raise
            return False
        return True

    def _send(
        self,
        name: str,
        parts: Iterable[bytes],
        described: Mapping[str, Any],
        *,
        condition: Mapping[str, str],
    ) -> None:
        """Store the parts as one object; what was sent of it is dropped when that fails."""
        place = self._place(name)
        place["UploadId"] = self._client.create_multipart_upload(**place, **described)["UploadId"]
        try:
            sent = []
            for number, part in enumerate(parts, start=1):
                if number > MAX_PARTS:
                    raise ObjectsError(f"{name} has more than {MAX_PARTS * self._part_bytes} bytes")
                answer = self._client.upload_part(**place, PartNumber=number, Body=part)
                sent.append({"PartNumber": number, "ETag": answer["ETag"]})
            # The parts are told to be one object on the condition that no other has the name: S3
            # and R2 judge it then, as for a single request.
            whole = {"Parts": sent}
            self._client.complete_multipart_upload(**place, MultipartUpload=whole, **condition)
        except BaseException:
            self._drop(place)
            raise

    def _drop(self, place: Mapping[str, str]) -> None:
        try:
            with reported():
                self._client.abort_multipart_upload(**place)
        except ObjectsError as error:  # what made us drop it is to be told, not this
            log.warning("parts of %s wait for the bucket's rule: %s", place["Key"], error)

    def _is_written_with(self, token: str, name: str) -> bool:
        described = self._described(name)
        return described is not None and described.get("Metadata", {}).get(_TOKEN) == token

    def _described(self, name: str) -> Mapping[str, Any] | None:
        try:
            described: Mapping[str, Any] = self._client.head_object(**self._place(name))
        except ClientError as error:
            if code_of(error) in _ABSENT:
                return None
            raise
        return described

    def _signed(self, operation: str, what: Mapping[str, Any], expires_in_s: int) -> str:
        if not 0 < expires_in_s <= MAX_LINK_S:
            raise ValueError(f"a link may last 1 to {MAX_LINK_S} s, not {expires_in_s}")
        with reported():
            return str(
                self._client.generate_presigned_url(operation, Params=what, ExpiresIn=expires_in_s)
            )

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": key_of(self._address, name)}


class _BodyChunks:
    """The bytes of an answer, whose connection is given back at their end, closed by `close`."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        with reported(), closing(self._body) as body:
            while chunk := body.read(CHUNK_BYTES):
                yield chunk

    def close(self) -> None:
        self._body.close()


def _parts(data: Content, part_bytes: int) -> Iterator[bytes]:
    """The content in parts of that size but for the last; one empty part if there is nothing.

    A file is read here, and not where boto3 would take its errors for those of the network.
    """
    if isinstance(data, bytes):
        yield data[:part_bytes]
        for start in range(part_bytes, len(data), part_bytes):
            yield data[start : start + part_bytes]
        return
    data.seek(0)
    part = bytearray()
    is_first = True
    while chunk := data.read(min(CHUNK_BYTES, part_bytes - len(part))):
        part += chunk
        if len(part) == part_bytes:
            yield bytes(part)
            part.clear()
            is_first = False
    if part or is_first:
        yield bytes(part)
