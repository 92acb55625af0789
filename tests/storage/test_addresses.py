"""Addresses of stores: what each URL means, and what is refused."""

from pathlib import Path

import pytest

from storage.addresses import (
    DynamoAddress,
    FolderAddress,
    ObjectsAddress,
    PostgresAddress,
    S3Address,
    SqliteAddress,
    StoreAddress,
    objects_address,
    store_address,
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqlite:///srv/a.db", SqliteAddress(Path("/srv/a.db"))),
        ("sqlite:///srv/a%20%3F.db", SqliteAddress(Path("/srv/a ?.db"))),
        ("dynamodb://jobs", DynamoAddress("jobs")),
        ("dynamodb://jobs/", DynamoAddress("jobs")),
        ("dynamodb://a.b_C-9?region=eu-west-1", DynamoAddress("a.b_C-9", "eu-west-1")),
        (
            "dynamodb://jobs?region=us-east-1&endpoint=http://127.0.0.1:8000",
            DynamoAddress("jobs", "us-east-1", "http://127.0.0.1:8000"),
        ),
        ("postgresql://u:p@h:5432/db?sslmode=require", None),
        ("postgres://h/db", None),
    ],
)
def test_a_store_is_what_its_url_says(url: str, address: StoreAddress | None) -> None:
    assert store_address(url) == (address or PostgresAddress(url))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("file:///srv/files", FolderAddress(Path("/srv/files"))),
        ("s3://bucket", S3Address("bucket")),
        ("s3://bucket/", S3Address("bucket")),
        ("s3://bucket/a/b/", S3Address("bucket", "a/b")),
        (
            "s3://bucket/a?endpoint=https://x.r2.cloudflarestorage.com&region=auto",
            S3Address("bucket", "a", "auto", "https://x.r2.cloudflarestorage.com"),
        ),
    ],
)
def test_objects_are_where_their_url_says(url: str, address: ObjectsAddress) -> None:
    assert objects_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jobs",
        "sqlite:relative.db",
        "sqlite://host/a.db",
        "sqlite:///",
        "sqlite:///a.db?mode=ro",
        "dynamodb://",
        "dynamodb:///jobs",
        "dynamodb://jobs/more",
        "dynamodb://key:secret@jobs",
        "dynamodb://jobs?zone=a",
        "dynamodb://jobs?region",
        "dynamodb://jobs?endpoint=127.0.0.1:8000",
        "redis://h",
        "s3://bucket",
    ],
)
def test_another_stores_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|slash|none of|neither"):
        store_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/files",
        "file://host/files",
        "file:///",
        "s3://",
        "s3:///bucket",
        "s3://key:secret@bucket",
        "s3://bucket?acl=public",
        "s3://bucket?endpoint=x.example",
        "dynamodb://jobs",
    ],
)
def test_other_objects_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|none of"):
        objects_address(url)


def test_a_password_is_not_shown() -> None:
    address = store_address("postgresql://ada:secret@h/db")
    assert "secret" not in f"{address} {address!r}"
