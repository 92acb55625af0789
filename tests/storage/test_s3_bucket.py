"""What a bucket must be: each way in which it is not is told clearly; rules beside others'."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from jobs.links import RESULTS, SOURCES, UPLOADS
from jobs.retention import DAY_MS, MAX_RETENTION_DAYS, SECOND_LOOK_MS
from jobs.uploads import KEPT_MS
from storage.addresses import S3Address
from storage.objects import ObjectsUnsuitable
from storage.s3 import S3Objects
from storage.s3_bucket import KEPT_DAYS
from tests.ministack import new_bucket
from tests.storage.faulty_s3 import FaultyS3, Refused, Request

OPERATORS = [
    {
        "ID": "of the operator",
        "Status": "Enabled",
        "Filter": {"Prefix": "logs/"},
        "Expiration": {"Days": 7},
    },
    {
        "ID": "paused",
        "Status": "Disabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
    },
]


@pytest.fixture
def address(aws_endpoint: str) -> S3Address:
    """A part of a new bucket."""
    return S3Address(new_bucket(aws_endpoint), "some/prefix", endpoint=aws_endpoint)


@pytest.fixture
def proxy(aws_endpoint: str) -> Iterator[FaultyS3]:
    with FaultyS3(aws_endpoint).serving() as proxy:
        yield proxy


@pytest.fixture
def client(aws_endpoint: str) -> Iterator[Any]:
    """An operator's own client."""
    client = boto3.client("s3", endpoint_url=aws_endpoint)
    yield client
    client.close()


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nobody has told boto3 anything."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


def test_a_bucket_that_can_be_used_is_left_as_it_was(address: S3Address, client: Any) -> None:
    S3Objects(address).check_writable()
    assert client.list_objects_v2(Bucket=address.bucket)["KeyCount"] == 0


def test_a_bucket_that_is_missing_is_not_made(address: S3Address) -> None:
    nowhere = address._replace(bucket="no-such-bucket")
    with pytest.raises(ObjectsUnsuitable, match=r"there is no bucket no-such-bucket at .*make it"):
        S3Objects(nowhere).check_writable()
    with pytest.raises(ObjectsUnsuitable, match="there is no bucket no-such-bucket"):
        S3Objects(nowhere).check_writable()


@pytest.mark.parametrize(
    ("method", "refusal", "why"),
    [
        ("PUT", Refused(403, "AccessDenied"), r"may not write to .*some/prefix/\*"),
        ("DELETE", Refused(403, "AccessDenied"), "s3:DeleteObject"),
        ("HEAD", Refused(403, "AccessDenied"), "does not say which .*s3:ListBucket"),
        ("GET", Refused(403, "AccessDenied"), "signed link with 403.*s3:GetObject"),
        ("GET", Refused(400, "AuthorizationHeaderMalformed"), "signed link with 400.*region"),
        ("PUT", Refused(403, "InvalidAccessKeyId"), "does not accept the credentials"),
        ("PUT", Refused(403, "SignatureDoesNotMatch"), "does not accept the credentials"),
        ("PUT", Refused(400, "IllegalLocationConstraintException"), "in another region"),
        ("PUT", Refused(405, "MethodNotAllowed"), "PutObject was answered with MethodNotAllowed"),
    ],
)
def test_what_the_store_refuses_is_told_as_what_to_do(
    address: S3Address, proxy: FaultyS3, method: str, refusal: Refused, why: str
) -> None:
    told = refusal._replace(message="AKIAIOSFODNN7EXAMPLE with test")
    proxy.always(lambda request: request.method == method, told)
    with pytest.raises(ObjectsUnsuitable, match=why) as raised:
        S3Objects(address._replace(endpoint=proxy.url), max_attempts=1).check_writable()
    assert "AKIA" not in str(raised.value)


def test_a_store_that_deletes_nothing_is_told(address: S3Address, proxy: FaultyS3) -> None:
    proxy.always(lambda request: request.method == "DELETE", Refused(204, "nothing done"))
    with pytest.raises(ObjectsUnsuitable, match="does not delete"):
        S3Objects(address._replace(endpoint=proxy.url)).check_writable()


@pytest.mark.usefixtures("no_settings")
def test_missing_credentials_are_told(address: S3Address) -> None:
    with pytest.raises(ObjectsUnsuitable, match=r"no credentials .*AWS_ACCESS_KEY_ID"):
        S3Objects(address).check_writable()


@pytest.mark.usefixtures("no_settings")
def test_half_of_the_credentials_are_told_as_missing(
    address: S3Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    with pytest.raises(ObjectsUnsuitable, match="missing: AWS_SECRET_ACCESS_KEY"):
        S3Objects(address)


@pytest.mark.usefixtures("no_settings")
def test_a_missing_region_is_told() -> None:
    with pytest.raises(ObjectsUnsuitable, match=r"region of the bucket pictures is missing.*\?reg"):
        S3Objects(S3Address("pictures"))


def test_an_endpoint_where_nothing_answers_is_told(address: S3Address) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ObjectsUnsuitable, match=f"nothing answers at {nobody}"):
        S3Objects(address._replace(endpoint=nobody), max_attempts=1).check_writable()


def test_an_endpoint_that_is_no_address_is_told(address: S3Address) -> None:
    with pytest.raises(ObjectsUnsuitable, match="Invalid endpoint"):
        S3Objects(address._replace(endpoint="http://"))


def test_a_name_that_no_bucket_can_have_is_told(address: S3Address) -> None:
    with pytest.raises(ObjectsUnsuitable, match="a b is no name of a bucket"):
        S3Objects(address._replace(bucket="a b")).check_writable()


def test_the_bucket_forgets_what_we_might_leave_behind(address: S3Address, client: Any) -> None:
    S3Objects(address).set_lifecycle()
    rules = _rules(client, address)
    assert all(rule["Status"] == "Enabled" for rule in rules)
    expiring = {
        rule["Filter"]["Prefix"]: rule["Expiration"]["Days"]
        for rule in rules
        if "Expiration" in rule
    }
    assert expiring == {
        "some/prefix/images/": 91,
        "some/prefix/sources/": 2,
        "some/prefix/uploads/": 2,
    }
    (incomplete,) = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
    assert incomplete["Filter"] == {"Prefix": "some/prefix/"}
    assert incomplete["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_the_rules_leave_every_file_its_time() -> None:
    lives = {RESULTS: MAX_RETENTION_DAYS * DAY_MS, SOURCES: SECOND_LOOK_MS, UPLOADS: KEPT_MS}
    assert lives.keys() == KEPT_DAYS.keys()
    for folder, life_ms in lives.items():
        assert KEPT_DAYS[folder] * DAY_MS >= life_ms + DAY_MS


def test_the_rules_of_others_stay(address: S3Address, client: Any) -> None:
    _set_rules(client, address, OPERATORS)
    S3Objects(address).set_lifecycle()
    rules = _rules(client, address)
    assert [rule for rule in rules if rule["ID"] in ("of the operator", "paused")] == OPERATORS
    assert len(rules) == len(OPERATORS) + 4


def test_rules_that_are_set_are_not_set_again(
    address: S3Address, client: Any, proxy: FaultyS3
) -> None:
    _set_rules(client, address, OPERATORS)
    objects = S3Objects(address._replace(endpoint=proxy.url))
    objects.set_lifecycle()
    objects.set_lifecycle()
    assert [request.method for request in proxy.requests] == ["GET", "PUT", "GET"]


def test_a_rule_of_ours_that_was_changed_is_set_right(address: S3Address, client: Any) -> None:
    S3Objects(address).set_lifecycle()
    right = _rules(client, address)
    wrong = [rule | {"Status": "Disabled"} for rule in right]
    _set_rules(client, address, [OPERATORS[0], *wrong])
    S3Objects(address).set_lifecycle()
    assert _rules(client, address) == [OPERATORS[0], *right]


def test_two_services_in_one_bucket_have_rules_of_their_own(
    address: S3Address, client: Any
) -> None:
    for prefix in ("", "one", "two"):
        S3Objects(address._replace(prefix=prefix)).set_lifecycle()
    prefixes = [rule["Filter"]["Prefix"] for rule in _rules(client, address)]
    assert len(set(prefixes)) == len(prefixes) == 12
    assert {"images/", "one/images/", "two/images/"} <= set(prefixes)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_rules_that_may_not_be_set_are_told(
    address: S3Address, proxy: FaultyS3, method: str
) -> None:
    def refused(request: Request) -> bool:
        return request.method == method and "lifecycle" in request.query

    proxy.always(refused, Refused(403, "AccessDenied"))
    with pytest.raises(ObjectsUnsuitable, match=r"may not set the rules.*PutLifecycle"):
        S3Objects(address._replace(endpoint=proxy.url)).set_lifecycle()


def _rules(client: Any, address: S3Address) -> list[dict[str, Any]]:
    answer = client.get_bucket_lifecycle_configuration(Bucket=address.bucket)
    rules: list[dict[str, Any]] = answer["Rules"]
    return rules


def _set_rules(client: Any, address: S3Address, rules: list[Any]) -> None:
    client.put_bucket_lifecycle_configuration(
        Bucket=address.bucket, LifecycleConfiguration={"Rules": rules}
    )
