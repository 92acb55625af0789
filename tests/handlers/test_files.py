"""Our own file addresses: results, uploads, and what is not served."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx2
import pytest

from jobs.ids import iso_utc
from jobs.links import source_name
from storage.addresses import S3Address
from storage.folder import FolderObjects
from storage.objects import read
from storage.s3 import S3Objects
from tests.handlers.clients import (
    NOWHERE,
    TOPAZ,
    Apiframe,
    VicSee,
    assert_refused,
    raw_status,
    topaz_body,
)
from tests.handlers.working import RESULT, complete, fail
from tests.ministack import new_bucket
from tests.running import Clock, Origin, Running, made, picture, running
from tests.storage.faulty_s3 import FaultyS3

HOUR_S = 60 * 60
DAY_S = 24 * HOUR_S


class Elsewhere(FolderObjects):
    """An object store with addresses of its own."""

    def url(self, name: str, *, expires_in_s: int) -> str | None:
        return f"https://objects.example/{name}?for={expires_in_s}"


@pytest.fixture(scope="module")
def redirecting(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Running]:
    """A service whose object store serves files itself."""
    folder = tmp_path_factory.mktemp("redirecting")
    objects = Elsewhere(made(folder / "objects"))
    models = frozenset({TOPAZ})
    with running(folder, objects=objects, clock=clock, models=models) as service:
        yield service


class Bucket(NamedTuple):
    """A service whose files are in a bucket, and what the bucket is asked for."""

    service: Running
    proxy: FaultyS3


@pytest.fixture(scope="module")
def bucket(
    tmp_path_factory: pytest.TempPathFactory, aws_endpoint: str, clock: Clock
) -> Iterator[Bucket]:
    folder = tmp_path_factory.mktemp("bucket")
    models = frozenset({TOPAZ})
    with FaultyS3(aws_endpoint).serving() as proxy:
        objects = S3Objects(S3Address(new_bucket(aws_endpoint), "files", endpoint=proxy.url))
        with running(folder, objects=objects, clock=clock, models=models) as service:
            yield Bucket(service, proxy)


@pytest.mark.parametrize(("format_", "content_type"), [("png", "image/png"), ("jpg", "image/jpeg")])
def test_a_result_is_served_to_whoever_has_its_address(
    service: Running, apiframe: Apiframe, photo: str, format_: str, content_type: str
) -> None:
    answer = service.http.get(_result(apiframe, photo, output_format=format_))
    assert (answer.status_code, answer.content) == (200, RESULT)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-length"] == str(len(RESULT))
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_result_is_gone_from_day_ninety_on(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    address = _result(apiframe, photo)
    clock.advance(seconds=90 * DAY_S - 1)
    assert service.http.get(address).status_code == 200
    clock.advance(seconds=1)
    answer = service.http.get(address)
    assert answer.status_code == 410
    assert list(answer.json()) == ["error"]


def test_a_result_is_gone_when_the_days_of_its_request_are_over(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    job_id = _wished(apiframe, photo, 3)
    address = apiframe.get(f"/jobs/{job_id}").json()["result"]["images"][0]
    clock.advance(seconds=3 * DAY_S - 1)
    assert service.http.get(address).headers["cache-control"] == "private, max-age=1"
    clock.advance(seconds=1)
    assert [service.http.request(how, address).status_code for how in ("GET", "HEAD")] == [410, 410]
    assert apiframe.get(f"/jobs/{job_id}").json()["expired"] is True


def test_what_is_kept_no_day_is_gone_an_hour_after_it_was_fetched(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    job_id = _wished(apiframe, photo, 0)
    address = apiframe.get(f"/jobs/{job_id}").json()["result"]["images"][0]
    clock.advance(seconds=HOUR_S)
    assert service.http.head(address).status_code == 200  # to look is not to fetch
    clock.advance(seconds=HOUR_S)
    for _ in range(2):
        assert service.http.get(address).content == RESULT
    clock.advance(seconds=HOUR_S - 1)
    assert service.http.get(address).status_code == 200
    assert apiframe.get(f"/jobs/{job_id}").json()["expired"] is False
    clock.advance(seconds=1)
    assert service.http.get(address).status_code == 410
    assert apiframe.get(f"/jobs/{job_id}").json()["expired"] is True


def test_what_is_kept_no_day_is_fetched_through_the_other_dialect_too(
    service: Running, vicsee: VicSee, photo: str, clock: Clock
) -> None:
    task_id = vicsee.submitted(photo, retention_days=0)
    complete(service, UUID(task_id.removeprefix("task_")))
    ended_ms = clock()
    clock.advance(seconds=HOUR_S)
    assert _expires_at(vicsee, task_id) == iso_utc(ended_ms + DAY_S * 1000)
    assert vicsee.get(f"/tasks/{task_id}/download", mode="proxy").content == RESULT
    assert _expires_at(vicsee, task_id) == iso_utc(clock() + HOUR_S * 1000)
    clock.advance(seconds=HOUR_S)
    for mode in ("url", "proxy"):
        answer = vicsee.get(f"/tasks/{task_id}/download", mode=mode)
        assert_refused(answer, 404, "NO_RESULT")


def test_the_other_dialect_tells_the_end_of_the_days_that_were_asked_for(
    service: Running, vicsee: VicSee, photo: str, clock: Clock
) -> None:
    task_id = vicsee.submitted(photo, retention_days=7)
    complete(service, UUID(task_id.removeprefix("task_")))
    assert _expires_at(vicsee, task_id) == iso_utc(clock() + 7 * DAY_S * 1000)


@pytest.mark.parametrize("days", [-1, 91, 1.5, "7", True])
def test_days_that_cannot_be_are_refused_in_both_dialects(
    apiframe: Apiframe, vicsee: VicSee, days: object
) -> None:
    body = topaz_body(NOWHERE) | {"retentionDays": days}
    answer = apiframe.post("/images/upscale", json=body)
    assert answer.status_code == 400
    assert "retentionDays" in answer.text
    refused = vicsee.upscale(image_url=NOWHERE, retention_days=days)
    assert_refused(refused, 400, "INVALID_RETENTION_DAYS")


def test_more_days_than_the_operator_keeps_anything_are_refused_in_both_dialects(
    tmp_path: Path,
) -> None:
    with running(tmp_path, retention_days=30) as service:
        apiframe = Apiframe(service, service.account())
        body = topaz_body(NOWHERE) | {"retentionDays": 31}
        answer = apiframe.post("/images/upscale", json=body)
        told = "A result can be kept from 0 to 30 days"
        assert (answer.status_code, answer.json()) == (400, {"error": told})
        refused = VicSee(service, service.account()).upscale(image_url=NOWHERE, retention_days=31)
        assert_refused(refused, 400, "INVALID_RETENTION_DAYS", told)


def test_a_signed_address_does_not_outlive_its_result(
    redirecting: Running, origin: Origin, clock: Clock
) -> None:
    apiframe = Apiframe(redirecting, redirecting.account())
    job_id = _wished(apiframe, f"{origin.url}/photo.png", 1)
    clock.advance(seconds=DAY_S - 60)
    answer = redirecting.http.get(f"/files/images/{job_id}-1.jpg")
    assert answer.headers["location"].endswith("?for=60")


def test_a_result_whose_file_was_lost_is_not_found(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    address = _result(apiframe, photo)
    service.services.objects.delete(address.removeprefix(f"{service.url}/files/"))
    assert service.http.get(address).status_code == 404


def test_without_a_result_there_is_no_file(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    queued, failed = apiframe.submitted(photo), apiframe.submitted(photo)
    fail(service, failed)
    for job_id in (queued, failed, uuid4()):
        answer = service.http.get(f"/files/images/{job_id}-1.jpg")
        assert (answer.status_code, answer.json()) == (404, {"error": "No such file"})


@pytest.mark.parametrize("end", ["-1.png", "-2.jpg", "-1.jpeg", "-1.jpg/x", "-1.jpg.", ".jpg"])
def test_only_a_results_very_name_leads_to_it(
    service: Running, apiframe: Apiframe, photo: str, end: str
) -> None:
    address = _result(apiframe, photo)
    assert service.http.get(address.removesuffix("-1.jpg") + end).status_code == 404


def test_sources_are_not_served(service: Running, apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    name = source_name(job_id, "png")
    assert read(service.services.objects, name) == picture()
    assert service.http.get(f"/files/{name}").status_code == 404


ODD_PATHS = [
    "/files/..",
    "/files/../store.sqlite",
    "/files/../../etc/passwd",
    "/files/%2e%2e/store.sqlite",
    "/files/..%2fstore.sqlite",
    "/files/images/..%2f..%2fstore.sqlite",
    "/files/images%2f{job}-1.jpg%2f..",
    "/files/uploads/..%2f..%2fstore.sqlite",
    "/files/uploads/%00",
    "/files/uploads/" + "a" * 5000,
    "/files/images/" + "a" * 5000,
    "/files/%ff%fe",
    "/files//images/{job}-1.jpg",
    "/files/./images/{job}-1.jpg",
    "/files/images//{job}-1.jpg",
    "/files/images/{job}-1.jpg%00.png",
    "/files/%252e%252e/store.sqlite",
    "/files/.hidden",
    "/files/C:\\windows",
]


@pytest.mark.parametrize("path", ODD_PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_odd_path_leads_nowhere(
    service: Running, apiframe: Apiframe, photo: str, path: str, method: str
) -> None:
    job_id = apiframe.submitted(photo)
    complete(service, job_id)
    before = apiframe.left()
    status = _status(service, method, path.replace("{job}", str(job_id)))
    assert status in (400, 404)
    assert apiframe.left() == before


@pytest.mark.parametrize("name", ["images/{job}-1.jpg", "images/new.png", "sources/{job}.png"])
def test_nothing_but_a_reservation_can_be_put(
    service: Running, apiframe: Apiframe, photo: str, name: str
) -> None:
    job_id = apiframe.submitted(photo)
    complete(service, job_id)
    before = apiframe.left()
    path = f"/files/{name.replace('{job}', str(job_id))}"
    answer = service.http.put(path, content=picture(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 400
    assert apiframe.left() == before
    assert service.http.get(f"/files/images/{job_id}-1.jpg").content == RESULT


def test_a_file_without_a_place_is_refused_before_a_byte_is_read(service: Running) -> None:
    lines = ["PUT /files/uploads/x.png HTTP/1.1", "Host: test", "Content-Length: 1000", "", ""]
    assert raw_status(service, lines) == 400


def test_a_store_with_addresses_of_its_own_is_redirected_to(
    redirecting: Running, origin: Origin, clock: Clock
) -> None:
    apiframe = Apiframe(redirecting, redirecting.account())
    address = _result(apiframe, f"{origin.url}/photo.png")
    answer = redirecting.http.get(address)
    assert answer.status_code == 302
    name = address.removeprefix(f"{redirecting.url}/files/")
    assert answer.headers["location"] == f"https://objects.example/{name}?for=600"
    clock.advance(seconds=90 * DAY_S)
    assert redirecting.http.get(address).status_code == 410


def test_a_file_may_be_asked_for_by_its_head_alone(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    answer = service.http.head(_result(apiframe, photo))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(RESULT))


def test_a_result_in_a_bucket_comes_from_there(bucket: Bucket, photo: str) -> None:
    apiframe = Apiframe(bucket.service, bucket.service.account())
    address = _result(apiframe, photo)
    redirect = bucket.service.http.get(address)
    assert redirect.status_code == 302
    there = redirect.headers["location"]
    assert there.startswith(f"{bucket.proxy.url}/")
    assert "X-Amz-Expires=600" in there
    answer = httpx2.get(there)
    assert (answer.status_code, answer.content) == (200, RESULT)
    assert answer.headers["content-type"] == "image/jpeg"
    assert "inline" in answer.headers["content-disposition"]


def test_the_head_of_a_file_in_a_bucket_is_answered_here(bucket: Bucket, photo: str) -> None:
    address = _result(Apiframe(bucket.service, bucket.service.account()), photo)
    answer = bucket.service.http.head(address)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(RESULT))
    assert answer.headers["content-type"] == "image/jpeg"
    bucket.service.services.objects.delete(address.removeprefix(f"{bucket.service.url}/files/"))
    assert bucket.service.http.head(address).status_code == 404


def test_from_day_ninety_on_the_bucket_is_not_asked(
    bucket: Bucket, photo: str, clock: Clock
) -> None:
    address = _result(Apiframe(bucket.service, bucket.service.account()), photo)
    clock.advance(seconds=90 * DAY_S)
    bucket.proxy.requests.clear()
    assert bucket.service.http.get(address).status_code == 410
    assert bucket.service.http.head(address).status_code == 410
    assert bucket.proxy.requests == []


def test_a_result_in_a_bucket_is_streamed_to_whoever_wants_it_from_us(
    bucket: Bucket, photo: str
) -> None:
    vicsee = VicSee(bucket.service, bucket.service.account())
    task_id = vicsee.submitted(photo)
    complete(bucket.service, UUID(task_id.removeprefix("task_")))
    answer = vicsee.get(f"/tasks/{task_id}/download", mode="proxy")
    assert (answer.status_code, answer.content) == (200, RESULT)


def test_an_upload_goes_to_the_bucket_itself_and_is_used(bucket: Bucket) -> None:
    vicsee = VicSee(bucket.service, bucket.service.account())
    data = picture()
    wanted = {"contentType": "image/png", "sizeBytes": len(data)}
    place = vicsee.post("/upload", json=wanted).json()["data"]
    assert set(place) == {"uploadUrl", "publicUrl", "key", "expiresAt"}
    assert place["uploadUrl"].startswith(f"{bucket.proxy.url}/")
    assert place["publicUrl"] == f"{bucket.service.url}/files/{place['key']}"
    assert bucket.service.http.get(place["publicUrl"]).status_code == 404
    assert_refused(vicsee.upscale(image_url=place["publicUrl"]), 422, "PROBE_FAILED")
    put = httpx2.put(place["uploadUrl"], content=data, headers={"Content-Type": "image/png"})
    assert put.status_code == 200
    assert httpx2.get(place["publicUrl"], follow_redirects=True).content == data
    vicsee.submitted(place["publicUrl"])


def _wished(apiframe: Apiframe, photo: str, days: int) -> UUID:
    """A completed job whose result is to be kept so many days."""
    answer = apiframe.post("/images/upscale", json=topaz_body(photo) | {"retentionDays": days})
    assert answer.status_code == 202, answer.text
    job_id = UUID(answer.json()["jobId"])
    complete(apiframe.service, job_id)
    return job_id


def _expires_at(vicsee: VicSee, task_id: str) -> str:
    shown: str = vicsee.get(f"/tasks/{task_id}/download").json()["data"]["expiresAt"]
    return shown


def _result(apiframe: Apiframe, photo: str, **params: str) -> str:
    job_id = apiframe.submitted(photo, **params)
    complete(apiframe.service, job_id)
    address: str = apiframe.get(f"/jobs/{job_id}").json()["result"]["images"][0]
    return address


def _status(service: Running, method: str, path: str) -> int:
    """The status of a request whose path is sent as it is: clients would tidy it up."""
    return raw_status(service, [f"{method} {path} HTTP/1.1", "Host: test", "", ""])
