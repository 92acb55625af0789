"""Addresses of stores: what an operator's URL says, as a value."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

POSTGRES_SCHEMES = ("postgresql", "postgres")


class SqliteAddress(NamedTuple):
    """`sqlite:///<path>`: a file on this machine."""

    path: Path


class DynamoAddress(NamedTuple):
    """`dynamodb://<table>?region=<region>&endpoint=<url>`: a table; either part may be left to
    boto3's own settings."""

    table: str
    region: str | None = None
    endpoint: str | None = None


class PostgresAddress(NamedTuple):
    """`postgresql://…` as libpq reads it, password and all: never to be shown."""

    url: str

    def __repr__(self) -> str:
        return "PostgresAddress(…)"


class FolderAddress(NamedTuple):
    """`file:///<path>`: a folder on this machine."""

    path: Path


class S3Address(NamedTuple):
    """`s3://<bucket>/<prefix>?region=<region>&endpoint=<url>`: the objects of a bucket whose names
    begin with `<prefix>/`, or all of them if it is empty."""

    bucket: str
    prefix: str = ""
    region: str | None = None
    endpoint: str | None = None


StoreAddress = SqliteAddress | DynamoAddress | PostgresAddress
ObjectsAddress = FolderAddress | S3Address


def store_address(url: str) -> StoreAddress:
    """The key-value store that a URL names; `ValueError` says what is wrong with it."""
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return SqliteAddress(_path(url))
    if scheme == "dynamodb":
        said = _said(url, "region", "endpoint")
        table = _host(url, what="a table")
        if urlsplit(url).path.strip("/"):
            raise ValueError("a table's name has no slash")
        return DynamoAddress(table, said.get("region"), said.get("endpoint"))
    if scheme in POSTGRES_SCHEMES:
        return PostgresAddress(url)
    raise ValueError("must begin with sqlite:///, dynamodb:// or postgresql://")


def objects_address(url: str) -> ObjectsAddress:
    """The object store that a URL names; `ValueError` says what is wrong with it."""
    scheme = url.partition("://")[0]
    if scheme == "file":
        return FolderAddress(_path(url))
    if scheme == "s3":
        said = _said(url, "region", "endpoint")
        prefix = urlsplit(url).path.strip("/")
        return S3Address(
            _host(url, what="a bucket"), prefix, said.get("region"), said.get("endpoint")
        )
    raise ValueError("must begin with file:/// or s3://")


def _path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"must be {parts.scheme}:///<path>")
    if parts.query or parts.fragment:
        raise ValueError("a path has neither ? nor #; write %3F and %23")
    return Path(unquote(parts.path))


def _host(url: str, *, what: str) -> str:
    parts = urlsplit(url)
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
        raise ValueError(f"must be {parts.scheme}://<name>…, naming {what} and no keys")
    return parts.netloc


def _said(url: str, *allowed: str) -> dict[str, str]:
    parts = urlsplit(url)
    try:
        pairs = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
    except ValueError as error:
        raise ValueError("what follows ? must be name=value, joined by &") from error
    said = dict(pairs)
    for name in said.keys() - set(allowed):
        raise ValueError(f"{name} is none of {', '.join(allowed)}")
    endpoint = said.get("endpoint")
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise ValueError("endpoint must begin with http:// or https://")
    return said
