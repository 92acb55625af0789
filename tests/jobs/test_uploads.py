"""Uploads: received whole or reserved and filled once, kept two hours, then forgotten."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from billing.keys import Caller
from jobs.errors import UploadRefused
from jobs.uploads import KEPT_MS, UPLOADS_QUEUE, Upload, Uploads
from storage.kv import Unavailable
from storage.objects import read
from tests.jobs.machine import PICTURE, PUBLIC_URL, Machine, files_in
from tests.running import Clock, picture
from tests.watched import WatchedStore


@pytest.fixture
def uploads(machine: Machine) -> Uploads:
    return machine.services.uploads


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
