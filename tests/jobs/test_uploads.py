"""Uploads: received whole or reserved and filled once, kept two hours, then forgotten."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from billing.keys import Caller
from inference.errors import ImageError
from jobs.errors import SourceUnusable, UploadRefused
from jobs.job import Status
from jobs.uploads import KEPT_MS, UPLOADS_QUEUE, Place, Upload, Uploads
from storage.addresses import S3Address
from storage.kv import Unavailable
from storage.objects import ObjectsError, read
from storage.s3 import S3Objects
from tests.jobs.machine import PICTURE, PUBLIC_URL, Machine, files_in
from tests.ministack import new_bucket
from tests.running import Clock, picture
from tests.storage.faulty_s3 import FaultyS3, Refused
from tests.watched import WatchedStore


@pytest.fixture
def uploads(machine: Machine) -> Uploads:
    return machine.services.uploads


@pytest.fixture
def proxy(aws_endpoint: str) -> Iterator[FaultyS3]:
    with FaultyS3(aws_endpoint).serving() as proxy:
        yield proxy


@pytest.fixture
def in_bucket(machine: Machine, aws_endpoint: str, proxy: FaultyS3) -> Machine:
    """The machine, its files in a bucket."""
    address = S3Address(new_bucket(aws_endpoint), endpoint=proxy.url)
    return replace(machine, objects=S3Objects(address, max_attempts=1))


@pytest.fixture
def place(in_bucket: Machine, caller: Caller) -> Place:
    """A place in the bucket itself."""
    return in_bucket.services.uploads.reserve(
        caller.account_id, content_type="image/png", size_bytes=len(PICTURE)
    )


@pytest.fixture
def reserved(uploads: Uploads) -> Upload:
    return uploads.reserve("acc_1", content_type="image/png", size_bytes=len(PICTURE)).upload


@pytest.mark.parametrize(
    ("kind", "format_", "content_type"),
    [
        ("JPEG", "jpg", "image/jpeg"),
        ("PNG", "png", "image/png"),
        ("WEBP", "webp", "image/webp"),
        ("TIFF", "tiff", "image/tiff"),
    ],
)
def test_a_picture_is_received_as_what_its_bytes_say(
    machine: Machine, uploads: Uploads, clock: Clock, kind: str, format_: str, content_type: str
) -> None:
    data = picture(kind=kind)
    upload = uploads.receive("acc_1", data)
    assert (upload.format, upload.content_type) == (format_, content_type)
    assert upload.url == f"{PUBLIC_URL}/files/uploads/{upload.id}.{format_}"
    assert (upload.account_id, upload.size_bytes) == ("acc_1", len(data))
    assert upload.expires_at_ms == clock() + 2 * 60 * 60 * 1000
    assert uploads.find(upload.object_name) == upload
    assert read(machine.objects, upload.object_name) == data


@pytest.mark.parametrize("data", [b"", b"plain text", picture(kind="GIF"), PICTURE[:-20]])
def test_what_is_no_picture_is_refused(
    machine: Machine, uploads: Uploads, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(UploadRefused):
        uploads.receive("acc_1", data)
    assert files_in(tmp_path) == set()
    assert machine.kv.due(UPLOADS_QUEUE, until_ms=2**52, limit=1) == []


def test_a_picture_of_too_many_pixels_is_refused(uploads: Uploads) -> None:
    with pytest.raises(UploadRefused, match="16 x 12 pixels"):
        replace(uploads, max_pixels=16 * 12 - 1).receive("acc_1", PICTURE)


def test_no_file_is_kept_without_a_record_that_has_it_deleted(
    machine: Machine, tmp_path: Path
) -> None:
    def refuse(_: int) -> None:
        raise Unavailable

    down = replace(machine, kv=WatchedStore(machine.kv, before=refuse))
    with pytest.raises(Unavailable):
        down.services.uploads.receive("acc_1", PICTURE)
    assert files_in(tmp_path) == set()


def test_a_reservation_is_filled_with_what_it_was_made_for(
    machine: Machine, uploads: Uploads, reserved: Upload
) -> None:
    assert uploads.find(reserved.object_name) is None
    uploads.fill(reserved.object_name, PICTURE, content_type="image/png")
    assert uploads.find(reserved.object_name) == reserved.model_copy(update={"is_filled": True})
    assert read(machine.objects, reserved.object_name) == PICTURE


@pytest.mark.parametrize("content_type", ["image/gif", "image/svg+xml", "text/html", ""])
def test_only_pictures_have_places_reserved(uploads: Uploads, content_type: str) -> None:
    with pytest.raises(UploadRefused, match="image/jpeg, image/png, image/webp"):
        uploads.reserve("acc_1", content_type=content_type, size_bytes=10)


@pytest.mark.parametrize(
    ("data", "content_type", "why"),
    [
        (PICTURE, "image/jpeg", "reserved for image/png"),
        (PICTURE + b"!", "image/png", f"reserved for {len(PICTURE)} bytes"),
        (PICTURE[:-1], "image/png", f"reserved for {len(PICTURE)} bytes"),
        (bytes(len(PICTURE)), "image/png", "not a JPEG, PNG, WebP or TIFF"),
    ],
)
def test_a_reservation_is_not_filled_with_anything_else(
    uploads: Uploads, reserved: Upload, tmp_path: Path, data: bytes, content_type: str, why: str
) -> None:
    with pytest.raises(UploadRefused, match=why):
        uploads.fill(reserved.object_name, data, content_type=content_type)
    assert uploads.find(reserved.object_name) is None
    assert files_in(tmp_path) == set()
    uploads.fill(reserved.object_name, PICTURE, content_type="image/png")


def test_a_jpeg_does_not_fill_a_png_s_place(uploads: Uploads) -> None:
    jpeg = picture(kind="JPEG")
    place = uploads.reserve("acc_1", content_type="image/png", size_bytes=len(jpeg)).upload
    with pytest.raises(UploadRefused, match="not image/png"):
        uploads.fill(place.object_name, jpeg, content_type="image/png")


def test_a_reservation_is_filled_once(uploads: Uploads, reserved: Upload) -> None:
    uploads.fill(reserved.object_name, PICTURE, content_type="image/png")
    with pytest.raises(UploadRefused, match="made already"):
        uploads.fill(reserved.object_name, PICTURE, content_type="image/png")


def test_of_many_who_fill_a_reservation_at_once_one_is_told_that_it_did(
    uploads: Uploads, reserved: Upload
) -> None:
    def is_filled(_: int) -> bool:
        try:
            uploads.fill(reserved.object_name, PICTURE, content_type="image/png")
        except UploadRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(is_filled, range(8))).count(True) == 1


def test_bytes_that_were_refused_do_not_replace_those_that_were_kept(
    uploads: Uploads, reserved: Upload, machine: Machine
) -> None:
    other = picture(16, 13)
    rival = other + b"\0" * (reserved.size_bytes - len(other))
    rivals = replace(uploads, objects=machine.objects)
    uploads.fill(reserved.object_name, PICTURE, content_type=reserved.content_type)
    with pytest.raises(UploadRefused):
        rivals.fill(reserved.object_name, rival, content_type=reserved.content_type)
    assert read(machine.objects, reserved.object_name) == PICTURE


def test_a_fill_that_died_before_its_record_can_be_repeated(
    uploads: Uploads, reserved: Upload, machine: Machine
) -> None:
    machine.objects.put(reserved.object_name, PICTURE, content_type=reserved.content_type)
    uploads.fill(reserved.object_name, PICTURE, content_type=reserved.content_type)
    assert uploads.find(reserved.object_name) is not None


def test_a_reservation_is_over_after_two_hours(
    uploads: Uploads, reserved: Upload, clock: Clock
) -> None:
    clock.now_ms += KEPT_MS
    with pytest.raises(UploadRefused, match="its time is over"):
        uploads.fill(reserved.object_name, PICTURE, content_type="image/png")


def test_a_place_that_nobody_reserved_is_refused(uploads: Uploads) -> None:
    with pytest.raises(UploadRefused, match="No upload was reserved"):
        uploads.fill("uploads/none.png", PICTURE, content_type="image/png")
    assert uploads.find("uploads/none.png") is None


def test_after_two_hours_file_and_record_are_forgotten(
    machine: Machine, uploads: Uploads, reserved: Upload, clock: Clock, tmp_path: Path
) -> None:
    received = uploads.receive("acc_1", PICTURE)
    clock.now_ms += KEPT_MS - 1
    machine.sweep()
    assert uploads.find(received.object_name) == received
    clock.now_ms += 1
    assert uploads.find(received.object_name) is None
    machine.sweep()
    assert files_in(tmp_path) == set()
    assert machine.kv.due(UPLOADS_QUEUE, until_ms=clock(), limit=5) == []
    assert uploads.find(reserved.object_name) is None


def test_forgetting_twice_is_quiet(machine: Machine, uploads: Uploads, clock: Clock) -> None:
    uploads.receive("acc_1", PICTURE)
    clock.now_ms += KEPT_MS
    (item,) = machine.kv.due(UPLOADS_QUEUE, until_ms=clock(), limit=5)
    uploads.forget(item)
    uploads.forget(item)
    assert machine.kv.get(item.key) is None


def test_uploads_have_names_that_cannot_be_guessed(uploads: Uploads, caller: Caller) -> None:
    made = [
        uploads.reserve(caller.account_id, content_type="image/png", size_bytes=1).upload
        for _ in range(20)
    ]
    assert len({upload.id for upload in made}) == 20
    assert {len(upload.id) for upload in made} == {32}


def test_a_file_that_is_put_to_the_bucket_itself_is_a_source(
    in_bucket: Machine, place: Place, caller: Caller
) -> None:
    uploads = in_bucket.services.uploads
    assert uploads.find(place.upload.object_name) is None
    with pytest.raises(SourceUnusable):
        in_bucket.submit(caller, source_url=place.upload.url)
    assert _put(place, PICTURE).status_code == 200
    found = uploads.find(place.upload.object_name)
    assert found == place.upload.model_copy(update={"is_filled": True})
    job = in_bucket.submit(caller, source_url=place.upload.url)
    in_bucket.work(job.id)
    assert in_bucket.job(job.id).status == Status.COMPLETED


def test_the_bucket_s_address_lasts_as_long_as_the_place(place: Place, proxy: FaultyS3) -> None:
    assert place.put_url.startswith(f"{proxy.url}/")
    assert place.upload.url.startswith(f"{PUBLIC_URL}/files/uploads/")
    assert parse_qs(urlsplit(place.put_url).query)["X-Amz-Expires"] == [str(KEPT_MS // 1000)]


def test_the_bucket_s_address_is_in_no_record(in_bucket: Machine, place: Place) -> None:
    (item,) = in_bucket.kv.due(UPLOADS_QUEUE, until_ms=place.upload.expires_at_ms, limit=5)
    assert "X-Amz" not in str(item)
    assert item.value["is_direct"] is True


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (PICTURE, "image/jpeg"),
        (PICTURE, "text/html"),
        (PICTURE + b"!", "image/png"),
        (PICTURE[:-1], "image/png"),
    ],
)
def test_the_bucket_takes_nothing_but_what_was_reserved(
    in_bucket: Machine, place: Place, data: bytes, content_type: str
) -> None:
    assert _put(place, data, content_type=content_type).status_code == 403
    assert in_bucket.services.uploads.find(place.upload.object_name) is None
    assert _put(place, PICTURE).status_code == 200


def test_a_file_of_another_size_does_not_fill_a_place(in_bucket: Machine, place: Place) -> None:
    in_bucket.objects.put(place.upload.object_name, PICTURE + b"!", content_type="image/png")
    assert in_bucket.services.uploads.find(place.upload.object_name) is None


def test_what_is_no_picture_is_refused_when_it_is_to_be_enlarged(
    in_bucket: Machine, place: Place, caller: Caller
) -> None:
    assert _put(place, bytes(len(PICTURE))).status_code == 200
    with pytest.raises(ImageError):
        in_bucket.submit(caller, source_url=place.upload.url)
    assert in_bucket.balance(caller.account_id).available == 100


def test_after_two_hours_a_file_in_the_bucket_is_forgotten(
    in_bucket: Machine, place: Place, caller: Caller, clock: Clock
) -> None:
    assert _put(place, PICTURE).status_code == 200
    clock.now_ms += KEPT_MS
    assert in_bucket.services.uploads.find(place.upload.object_name) is None
    with pytest.raises(SourceUnusable, match="its time is over"):
        in_bucket.submit(caller, source_url=place.upload.url)
    in_bucket.sweep()
    assert in_bucket.objects.get(place.upload.object_name) is None
    assert in_bucket.kv.due(UPLOADS_QUEUE, until_ms=clock(), limit=5) == []


def test_of_a_file_that_came_through_us_the_bucket_is_not_asked(
    in_bucket: Machine, proxy: FaultyS3
) -> None:
    uploads = in_bucket.services.uploads
    upload = uploads.receive("acc_1", PICTURE)
    proxy.requests.clear()
    assert uploads.find(upload.object_name) == upload
    assert proxy.requests == []


def test_while_the_bucket_is_down_nobody_is_told_that_a_file_is_missing(
    in_bucket: Machine, place: Place, proxy: FaultyS3
) -> None:
    proxy.always(lambda request: request.method == "HEAD", Refused(503, "SlowDown"))
    with pytest.raises(ObjectsError):
        in_bucket.services.uploads.find(place.upload.object_name)


def _put(place: Place, data: bytes, *, content_type: str = "image/png") -> httpx2.Response:
    return httpx2.put(place.put_url, content=data, headers={"Content-Type": content_type})
