"""What a bucket must be for us: writable, readable by signed links, and forgetful in time."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from storage.addresses import S3Address
from storage.objects import OTHER_MEDIA_TYPE, Objects, ObjectsError, ObjectsUnsuitable
from storage.s3_client import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, code_of, key_of, reported

KEPT_DAYS = {"images": 91, "sources": 2, "uploads": 2}
"""The folders of objects, and when the bucket deletes what we have not: a day or more after we
would have, for it is only the net below."""

INCOMPLETE_DAYS = 1
PROBE_LINK_S = 60

_DENIED = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")
_UNKNOWN_KEYS = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "Unauthorized",
)
_ELSEWHERE = (
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidRegionName",
    "PermanentRedirect",
)


class Linked(Objects, Protocol):
    """A store whose objects have addresses of their own."""

    def url(self, name: str, *, expires_in_s: int) -> str: ...


def check_bucket(objects: Linked, address: S3Address) -> None:
    """Store a small object, fetch it by a signed link, and delete it.

    Raises `ObjectsUnsuitable` with what an operator can do; no message has credentials in it.
    """
    name = f"uploads/check-{secrets.token_hex(16)}"
    content = name.encode()
    with _explained(address):
        objects.put(name, content, content_type=OTHER_MEDIA_TYPE)
        try:
            _check_link(objects.url(name, expires_in_s=PROBE_LINK_S), content, address)
        finally:
            objects.delete(name)
        if objects.size_bytes(name) is not None:
            raise ObjectsUnsuitable(f"{_named(address)} does not delete what it is told to")


def set_rules(client: Any, address: S3Address) -> None:
    """Set our rules beside those of others, unless they are set; `ObjectsUnsuitable` if refused."""
    with _explained(address), reported():
        now = _rules_of(client, address.bucket)
        ours = {rule["ID"]: rule for rule in _wanted(address)}
        there = {rule.get("ID"): rule for rule in now["Rules"]}
        if all(there.get(name) == rule for name, rule in ours.items()):
            return
        others = [rule for rule in now["Rules"] if rule.get("ID") not in ours]
        rules = {"Rules": [*others, *ours.values()]}
        kept = {name: value for name, value in now.items() if name != "Rules"}
        client.put_bucket_lifecycle_configuration(
            Bucket=address.bucket, LifecycleConfiguration=rules, **kept
        )


def _wanted(address: S3Address) -> list[dict[str, Any]]:
    below = key_of(address, "")
    rules: list[dict[str, Any]] = [
        {
            "ID": f"enlarger {below}{folder}",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{below}{folder}/"},
            "Expiration": {"Days": days},
        }
        for folder, days in KEPT_DAYS.items()
    ]
    incomplete = {
        "ID": f"enlarger {below}incomplete",
        "Status": "Enabled",
        "Filter": {"Prefix": below},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": INCOMPLETE_DAYS},
    }
    return [*rules, incomplete]


def _rules_of(client: Any, bucket: str) -> dict[str, Any]:
    """The bucket's rules, and what else has to be said again when they are set."""
    try:
        answer = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if code_of(error) != "NoSuchLifecycleConfiguration":
            raise
        return {"Rules": []}
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def _check_link(url: str, content: bytes, address: S3Address) -> None:
    """A link is signed without a word to the store: a wrong region or clock would show late."""
    session = URLLib3Session(
        timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S), proxies=get_environ_proxies(url)
    )
    try:
        with reported():
            answer = session.send(AWSRequest("GET", url).prepare())
    finally:
        session.close()
    if answer.status_code != 200 or answer.content != content:
        raise ObjectsUnsuitable(
            f"{_named(address)} answers a signed link with {answer.status_code}: are the region "
            "and this machine's clock right, and do the credentials allow s3:GetObject?"
        )


@contextmanager
def _explained(address: S3Address) -> Iterator[None]:
    try:
        yield
    except ObjectsUnsuitable:
        raise
    except ObjectsError as error:
        raise ObjectsUnsuitable(_explanation(error, address)) from error


def _explanation(error: ObjectsError, address: S3Address) -> str:
    match error.__cause__:
        case NoCredentialsError():
            return (
                f"there are no credentials for {_named(address)}: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or run where a role has them"
            )
        case EndpointConnectionError() | ConnectTimeoutError():
            where = address.endpoint or "S3"
            return f"nothing answers at {where}: is the endpoint of {_named(address)} right?"
        case ParamValidationError():
            return f"{address.bucket} is no name of a bucket"
        case ClientError() as answer:
            return _answered(code_of(answer), answer.operation_name, address)
        case BotoCoreError() as failure:
            return f"{_named(address)} cannot be used: {failure}"
    return str(error)


def _answered(code: str, operation: str, address: S3Address) -> str:
    bucket = _named(address)
    if code == "NoSuchBucket":
        return f"there is no {bucket}: make it first"
    if code in _UNKNOWN_KEYS:
        return f"the store of {bucket} does not accept the credentials ({code})"
    if code in _DENIED and "Lifecycle" in operation:
        return (
            f"the credentials may not set the rules of {bucket}: allow "
            "s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration"
        )
    if code in _DENIED and operation == "HeadObject":
        return (
            f"{bucket} does not say which objects are missing: allow s3:ListBucket on it, for "
            "without that every missing object is forbidden"
        )
    if code in _DENIED:
        return (
            f"the credentials may not write to {bucket}: allow s3:ListBucket on it, and "
            "s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on "
            f"{key_of(address, '*')}"
        )
    if code in _ELSEWHERE:
        return f"{bucket} is in another region: say which, as ?region=<region> in its address"
    return f"{bucket} cannot be used: {operation} was answered with {code}"


def _named(address: S3Address) -> str:
    at = f" at {address.endpoint}" if address.endpoint else ""
    return f"bucket {address.bucket}{at}"
