"""The client of S3 and of what is compatible with it, and what its errors are to us."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storage.addresses import S3Address
from storage.aws import new_session
from storage.objects import ObjectsError, ObjectsUnsuitable

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
MAX_ATTEMPTS = 4
MAX_CONNECTIONS = 128
REGION_OF_OTHERS = "us-east-1"
"""What a store behind an endpoint of its own is called when nobody says: R2 and MinIO take it."""


def open_client(address: S3Address, *, max_attempts: int) -> Any:
    """A client by botocore; safe from threads.

    A request is sent up to `max_attempts` times where sending it again may help. Raises
    `ObjectsUnsuitable` if the client does not know where to go.
    """
    session = new_session()
    region = address.region or session.get_config_variable("region")
    if region is None and address.endpoint is None:
        raise ObjectsUnsuitable(
            f"the region of the bucket {address.bucket} is missing: "
            f"add ?region=<region> to its address, or set AWS_DEFAULT_REGION"
        )
    try:
        return session.create_client(
            "s3",
            region_name=region or REGION_OF_OTHERS,
            endpoint_url=address.endpoint,
            config=_config(has_endpoint=address.endpoint is not None, max_attempts=max_attempts),
        )
    except (BotoCoreError, ValueError) as error:
        raise ObjectsUnsuitable(str(error)) from error


def key_of(address: S3Address, name: str) -> str:
    """What the bucket calls the object of that name."""
    return f"{address.prefix}/{name}" if address.prefix else name


def code_of(error: ClientError) -> str:
    """The store's code for the error; for an answer without a body, its HTTP status."""
    return str(error.response.get("Error", {}).get("Code", "nothing"))


@contextmanager
def reported() -> Iterator[None]:
    """What the store, the network or a file has against the block is an `ObjectsError`.

    The store's own sentences stay out of the message: some of them repeat a key's identifier.
    """
    try:
        yield
    except ClientError as error:
        told = f"the object store answered {code_of(error)} to {error.operation_name}"
        raise ObjectsError(told) from error
    except (BotoCoreError, OSError) as error:
        raise ObjectsError(str(error)) from error


def _config(*, has_endpoint: bool, max_attempts: int) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        max_pool_connections=MAX_CONNECTIONS,
        # Compatible stores refuse the trailers in which checksums would be sent otherwise.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Behind an endpoint of its own, few stores have a host name for each bucket; and only the
        # names that S3 has for buckets say the region, which signed links need.
        s3={"addressing_style": "path" if has_endpoint else "virtual"},
    )
