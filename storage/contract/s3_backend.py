"""A part of a bucket as a store to hold to the contract, and to remove afterwards."""

import secrets
from typing import Any, NamedTuple

from storage.addresses import S3Address
from storage.s3 import PART_BYTES, S3Objects
from storage.s3_client import MAX_ATTEMPTS, key_of, open_client, reported


class S3Backend(NamedTuple):
    """The objects below an address's prefix, which is nobody else's."""

    address: S3Address
    part_bytes: int = PART_BYTES

    @classmethod
    def new(cls, address: S3Address, *, part_bytes: int = PART_BYTES) -> "S3Backend":
        """Below that address, under a prefix of its own."""
        prefix = key_of(address, f"check-{secrets.token_hex(8)}")
        return cls(address._replace(prefix=prefix), part_bytes)

    def open(self) -> S3Objects:
        return S3Objects(self.address, part_bytes=self.part_bytes)

    def discard(self) -> None:
        """Remove every object and every unfinished upload below the prefix."""
        below = {"Bucket": self.address.bucket, "Prefix": key_of(self.address, "")}
        with reported():
            client = open_client(self.address, max_attempts=MAX_ATTEMPTS)
            for page in client.get_paginator("list_objects_v2").paginate(**below):
                _delete(client, self.address.bucket, page.get("Contents", []))
            for page in client.get_paginator("list_multipart_uploads").paginate(**below):
                for upload in page.get("Uploads", []):
                    client.abort_multipart_upload(
                        Bucket=self.address.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
            client.close()


def _delete(client: Any, bucket: str, found: list[dict[str, Any]]) -> None:
    """Delete one page of objects; a page has no more than one request may name."""
    if not found:
        return
    named = {"Objects": [{"Key": one["Key"]} for one in found], "Quiet": True}
    refused = client.delete_objects(Bucket=bucket, Delete=named).get("Errors", [])
    assert not refused, f"{len(refused)} objects could not be deleted: {refused[0]}"
