"""S3 holds the contract of `Objects`, and what is its own: parts, retries, signed links."""

import io
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx2
import pytest

from storage.addresses import S3Address
from storage.contract.objects_contract import LARGE_BYTES, NAME, PNG, ObjectsContract
from storage.contract.processes import reports_until_killed, started
from storage.contract.s3_backend import S3Backend
from storage.contract.writers import put_until_killed
from storage.objects import ObjectsError, read
from storage.s3 import CONFLICT_PAUSES_S, MAX_LINK_S, PART_BYTES, S3Objects
from tests.ministack import new_bucket
from tests.serving import eventually
from tests.storage.faulty_s3 import FaultyS3, Lost, Refused, Request

SMALL_PART_BYTES = 5 * 1024 * 1024
"""The smallest that S3 takes."""

CONFLICT = Refused(409, "ConditionalRequestConflict")


class FailingLate(io.BytesIO):
    """A file that cannot be read beyond its tenth MiB."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 10 * 2**20:
            raise OSError("broken disk")
        return super().read(size)


@pytest.fixture(scope="module")
def address(aws_endpoint: str) -> S3Address:
    """A part of a new bucket."""
    return S3Address(new_bucket(aws_endpoint), "some/prefix", endpoint=aws_endpoint)


@pytest.fixture
def proxy(aws_endpoint: str) -> Iterator[FaultyS3]:
    with FaultyS3(aws_endpoint).serving() as proxy:
        yield proxy


@pytest.fixture
def disturbed(address: S3Address, proxy: FaultyS3) -> Iterator[S3Address]:
    """A part of its own of that bucket, behind the proxy."""
    backend = S3Backend.new(address)
    yield backend.address._replace(endpoint=proxy.url)
    backend.discard()


@pytest.fixture
def pauses() -> list[float]:
    """How long was waited."""
    return []


@pytest.fixture
def objects(disturbed: S3Address, pauses: list[float]) -> S3Objects:
    """A store behind the proxy, in small parts."""
    return S3Objects(disturbed, part_bytes=SMALL_PART_BYTES, pause=pauses.append)


class TestContract(ObjectsContract):
    @pytest.fixture(autouse=True)
    def _address(self, address: S3Address) -> None:
        self.address = address

    def new_backend(self, folder: Path) -> S3Backend:  # noqa: ARG002
        return S3Backend.new(self.address)


@pytest.mark.parametrize(
    ("size_bytes", "parts"),
    [
        (SMALL_PART_BYTES - 1, 0),
        (SMALL_PART_BYTES, 0),
        (SMALL_PART_BYTES + 1, 2),
        (2 * SMALL_PART_BYTES, 2),
        (2 * SMALL_PART_BYTES + 1, 3),
    ],
)
def test_what_is_larger_than_a_part_is_sent_in_parts(
    objects: S3Objects, proxy: FaultyS3, size_bytes: int, parts: int
) -> None:
    data = (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]
    objects.put("bytes.png", data, content_type=PNG)
    assert objects.put_if_absent("file.png", io.BytesIO(data), content_type=PNG) is True
    assert (
        len([request for request in proxy.requests if "partNumber" in request.query]) == 2 * parts
    )
    assert read(objects, "bytes.png") == read(objects, "file.png") == data


def test_of_a_large_object_whose_name_is_taken_nothing_is_sent(
    objects: S3Objects, proxy: FaultyS3
) -> None:
    objects.put(NAME, b"first", content_type=PNG)
    proxy.requests.clear()
    assert objects.put_if_absent(NAME, bytes(LARGE_BYTES), content_type=PNG) is False
    assert [request.method for request in proxy.requests] == ["HEAD"]
    assert read(objects, NAME) == b"first"


def test_a_large_object_yields_to_one_that_came_meanwhile(
    objects: S3Objects, proxy: FaultyS3, address: S3Address, disturbed: S3Address
) -> None:
    rival = S3Objects(address._replace(prefix=disturbed.prefix))

    def overtake(request: Request) -> None:
        if "partNumber=2" in request.query:
            rival.put(NAME, b"rival", content_type=PNG)

    proxy.disturb = overtake
    assert objects.put_if_absent(NAME, bytes(LARGE_BYTES), content_type=PNG) is False
    assert read(objects, NAME) == b"rival"
    assert _unfinished(disturbed) == []


def test_parts_of_a_file_that_cannot_be_read_on_are_dropped(
    objects: S3Objects, proxy: FaultyS3, disturbed: S3Address
) -> None:
    with pytest.raises(ObjectsError, match="broken disk"):
        objects.put(NAME, FailingLate(bytes(12 * 2**20)), content_type=PNG)
    assert [request for request in proxy.requests if "partNumber=1" in request.query]
    assert objects.get(NAME) is None
    assert _unfinished(disturbed) == []


def test_parts_that_cannot_be_dropped_do_not_hide_what_went_wrong(
    disturbed: S3Address, proxy: FaultyS3, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.always(lambda request: request.method == "DELETE", Refused(500, "InternalError"))
    impatient = S3Objects(disturbed, part_bytes=SMALL_PART_BYTES, max_attempts=1)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ObjectsError, match="broken disk"),
    ):
        impatient.put(NAME, FailingLate(bytes(12 * 2**20)), content_type=PNG)
    assert f"parts of {disturbed.prefix}/{NAME} wait for the bucket's rule" in caplog.text


def test_a_writer_that_is_killed_between_parts_leaves_a_whole_object(address: S3Address) -> None:
    backend = S3Backend.new(address, part_bytes=SMALL_PART_BYTES)
    process, reports = started(put_until_killed, backend, NAME, LARGE_BYTES)
    last = reports_until_killed(process, reports, after=2)[-1]
    data = read(backend.open(), NAME)
    assert data is not None
    assert len(data) == LARGE_BYTES
    assert set(data) in ({last}, {last + 1})
    backend.discard()
    assert _unfinished(backend.address) == []
    assert read(backend.open(), NAME) is None


def test_a_conflict_is_tried_again(
    objects: S3Objects, proxy: FaultyS3, pauses: list[float]
) -> None:
    proxy.once(lambda request: request.method == "PUT", CONFLICT)
    assert objects.put_if_absent(NAME, b"x", content_type=PNG) is True
    assert read(objects, NAME) == b"x"
    assert pauses == [CONFLICT_PAUSES_S[0]]


def test_a_conflict_at_the_last_part_is_tried_again_from_the_first(
    objects: S3Objects, proxy: FaultyS3
) -> None:
    proxy.once(_completes, CONFLICT)
    data = io.BytesIO(bytes(LARGE_BYTES))
    assert objects.put_if_absent(NAME, data, content_type=PNG) is True
    assert objects.size_bytes(NAME) == LARGE_BYTES
    assert len([request for request in proxy.requests if "partNumber=1" in request.query]) == 2


def test_a_conflict_that_does_not_end_is_an_error(
    objects: S3Objects, proxy: FaultyS3, pauses: list[float]
) -> None:
    proxy.always(lambda request: request.method == "PUT", CONFLICT)
    with pytest.raises(ObjectsError, match="ConditionalRequestConflict"):
        objects.put_if_absent(NAME, b"x", content_type=PNG)
    assert tuple(pauses) == CONFLICT_PAUSES_S
    assert objects.get(NAME) is None


@pytest.mark.parametrize("size_bytes", [1, LARGE_BYTES])
def test_a_write_whose_answer_was_lost_is_known_as_ones_own(
    objects: S3Objects, proxy: FaultyS3, size_bytes: int
) -> None:
    proxy.once(lambda request: request.method == "PUT" or _completes(request), Lost())
    assert objects.put_if_absent(NAME, bytes(size_bytes), content_type=PNG) is True
    proxy.once(_completes, Lost())
    assert objects.put_if_absent("second.png", bytes(size_bytes), content_type=PNG) is True
    assert objects.size_bytes(NAME) == objects.size_bytes("second.png") == size_bytes


def test_a_large_replacement_whose_answer_was_lost_has_worked(
    objects: S3Objects, proxy: FaultyS3
) -> None:
    objects.put(NAME, b"old", content_type=PNG)
    proxy.once(_completes, Lost())
    objects.put(NAME, bytes(LARGE_BYTES), content_type=PNG)
    assert objects.size_bytes(NAME) == LARGE_BYTES


def test_parts_that_somebody_else_dropped_are_an_error(objects: S3Objects, proxy: FaultyS3) -> None:
    proxy.always(_completes, Refused(404, "NoSuchUpload"))
    with pytest.raises(ObjectsError, match="NoSuchUpload"):
        objects.put_if_absent(NAME, bytes(LARGE_BYTES), content_type=PNG)
    assert objects.get(NAME) is None


def test_a_store_that_fails_once_is_asked_again(objects: S3Objects, proxy: FaultyS3) -> None:
    proxy.once(lambda request: request.method == "PUT", Refused(503, "SlowDown"))
    objects.put(NAME, b"x", content_type=PNG)
    assert read(objects, NAME) == b"x"


def test_an_answer_that_breaks_off_is_an_error(objects: S3Objects, proxy: FaultyS3) -> None:
    objects.put(NAME, bytes(2 * 2**20), content_type=PNG)
    proxy.once(lambda request: request.method == "GET", Lost(body_bytes=2**20 + 1))
    with pytest.raises(ObjectsError):
        read(objects, NAME)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_what_the_store_refuses_is_an_error_without_its_sentences(
    objects: S3Objects, proxy: FaultyS3, method: str
) -> None:
    told = "User: AKIAIOSFODNN7EXAMPLE may not"
    proxy.always(lambda request: request.method == method, Refused(403, "AccessDenied", told))
    calls: dict[str, Callable[[], object]] = {
        "GET": lambda: objects.get(NAME),
        "HEAD": lambda: objects.size_bytes(NAME),
        "PUT": lambda: objects.put(NAME, b"x", content_type=PNG),
        "DELETE": lambda: objects.delete(NAME),
    }
    with pytest.raises(ObjectsError, match=r"AccessDenied|403") as raised:
        calls[method]()
    assert "AKIA" not in str(raised.value)


def test_without_its_bucket_no_object_is_merely_missing(address: S3Address) -> None:
    elsewhere = S3Objects(address._replace(bucket="no-such-bucket"))
    with pytest.raises(ObjectsError, match="NoSuchBucket"):
        elsewhere.get(NAME)


def test_a_link_serves_the_object_as_a_picture_of_its_name(objects: S3Objects) -> None:
    objects.put(NAME, b"pixels", content_type=PNG)
    answer = httpx2.get(objects.url(NAME, expires_in_s=60))
    assert (answer.status_code, answer.content) == (200, b"pixels")
    assert answer.headers["content-type"] == PNG
    assert answer.headers["content-disposition"] == 'inline; filename="one-1.png"'


def test_a_link_says_how_long_it_lasts(objects: S3Objects) -> None:
    for seconds in (1, 600, MAX_LINK_S):
        said = parse_qs(urlsplit(objects.url(NAME, expires_in_s=seconds)).query)
        assert said["X-Amz-Expires"] == [str(seconds)]


@pytest.mark.parametrize("seconds", [-1, 0, MAX_LINK_S + 1])
def test_a_link_lasts_at_most_seven_days(objects: S3Objects, seconds: int) -> None:
    with pytest.raises(ValueError, match="may last"):
        objects.url(NAME, expires_in_s=seconds)
    with pytest.raises(ValueError, match="may last"):
        objects.upload_url(NAME, content_type=PNG, size_bytes=1, expires_in_s=seconds)


def test_a_link_whose_time_is_over_serves_nothing(objects: S3Objects) -> None:
    objects.put(NAME, b"pixels", content_type=PNG)
    url = objects.url(NAME, expires_in_s=1)
    eventually(lambda: httpx2.get(url).status_code == 403, what="the end of the link")


def test_a_link_of_s3_itself_names_bucket_and_region(
    aws_endpoint: str,  # noqa: ARG001, its credentials sign
) -> None:
    objects = S3Objects(S3Address("pictures", "of/ours", region="eu-west-1"))
    link = objects.url(NAME, expires_in_s=60)
    assert link.startswith(f"https://pictures.s3.eu-west-1.amazonaws.com/of/ours/{NAME}?")


def test_a_file_is_put_to_where_it_may_be_stored(objects: S3Objects) -> None:
    place = objects.upload_url(NAME, content_type=PNG, size_bytes=6, expires_in_s=60)
    assert objects.size_bytes(NAME) is None
    assert httpx2.put(place.url, content=b"pixels", headers=dict(place.headers)).is_success
    assert read(objects, NAME) == b"pixels"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [(b"pixels", "image/jpeg"), (b"pixels", "text/html"), (b"pixels!", PNG), (b"pixel", PNG)],
)
def test_another_file_is_not_stored_there(
    objects: S3Objects, data: bytes, content_type: str
) -> None:
    place = objects.upload_url(NAME, content_type=PNG, size_bytes=6, expires_in_s=60)
    answer = httpx2.put(place.url, content=data, headers={"Content-Type": content_type})
    assert answer.status_code == 403
    assert objects.get(NAME) is None


def test_a_place_whose_time_is_over_takes_nothing(objects: S3Objects) -> None:
    place = objects.upload_url(NAME, content_type=PNG, size_bytes=6, expires_in_s=1)
    headers = dict(place.headers)
    eventually(
        lambda: httpx2.put(place.url, content=b"pixels", headers=headers).status_code == 403,
        what="the end of the place",
    )


def test_discarding_a_part_of_a_bucket_leaves_the_rest(address: S3Address) -> None:
    one, other = S3Backend.new(address), S3Backend.new(address)
    for backend in (one, other):
        backend.open().put(NAME, b"x", content_type=PNG)
    pickle.loads(pickle.dumps(one)).discard()
    assert read(one.open(), NAME) is None
    assert read(other.open(), NAME) == b"x"
    other.discard()
    other.discard()


def test_parts_are_large_enough_for_s3() -> None:
    assert PART_BYTES >= SMALL_PART_BYTES


def _completes(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


def _unfinished(address: S3Address) -> list[str]:
    """What is under way below the address's prefix."""
    client = boto3.client("s3", endpoint_url=address.endpoint)
    answer = client.list_multipart_uploads(Bucket=address.bucket, Prefix=f"{address.prefix}/")
    client.close()
    return [upload["Key"] for upload in answer.get("Uploads", [])]
