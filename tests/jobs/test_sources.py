"""Sources: our own uploads and results, `data:` URIs, and the web."""

import os
from base64 import b64encode
from pathlib import Path

import pytest

from billing.keys import Caller
from jobs.errors import SourceUnusable
from jobs.outbound import TooLarge
from jobs.retention import DAY_MS
from jobs.sources import MAX_DATA_URI_BYTES, MAX_SOURCE_BYTES, shown
from jobs.uploads import KEPT_MS
from tests.jobs.loopback import serving, status
from tests.jobs.machine import PICTURE, PICTURE_URI, PUBLIC_URL, Machine
from tests.running import Clock, Origin


def fetch(machine: Machine, url: str) -> bytes:
    return machine.services.submissions.sources.fetch(url)


def uri_of(data: bytes) -> str:
    return f"data:image/png;base64,{b64encode(data).decode()}"


def test_a_data_uri_is_its_bytes(machine: Machine) -> None:
    assert fetch(machine, PICTURE_URI) == PICTURE


@pytest.mark.parametrize(
    "uri",
    [
        "data:",
        "data:image/png;base64",
        "data:image/png,AAAA",
        "data:image/png;base64,AAA",
        "data:image/png;base64,AA=A",
        "data:image/png;base64,AA AA",
        "data:image/png;base64,AAAA%3D",
        "data:image/png;base64,ÄÄÄÄ",
        "data:image/png;base64,\ud800AAA",
    ],
)
def test_a_data_uri_that_is_not_base64_is_refused(machine: Machine, uri: str) -> None:
    with pytest.raises(SourceUnusable):
        fetch(machine, uri)


def test_a_data_uri_may_have_so_many_bytes_and_no_more(machine: Machine) -> None:
    largest = bytes(MAX_DATA_URI_BYTES)
    assert fetch(machine, uri_of(largest)) == largest
    with pytest.raises(SourceUnusable, match=f"{MAX_DATA_URI_BYTES} bytes"):
        fetch(machine, uri_of(largest + b"000"))


def test_a_picture_on_the_web_is_fetched(machine: Machine, origin: Origin) -> None:
    origin.files["/cat.png"] = PICTURE
    assert fetch(machine, f"{origin.url}/cat.png") == PICTURE


def test_a_picture_on_the_web_has_a_limit(machine: Machine) -> None:
    huge = status(200, f"Content-Length: {MAX_SOURCE_BYTES + 1}")
    with serving({"/huge.png": huge}) as server, pytest.raises(TooLarge):
        fetch(machine, server.url("/huge.png"))


def test_an_upload_is_a_source_for_two_hours(machine: Machine, caller: Caller) -> None:
    upload = machine.services.uploads.receive(caller.account_id, PICTURE)
    machine.clock.now_ms += KEPT_MS - 1
    assert fetch(machine, upload.url) == PICTURE
    machine.clock.now_ms += 1
    with pytest.raises(SourceUnusable, match="its time is over"):
        fetch(machine, upload.url)


def test_a_reservation_is_no_source_before_it_is_filled(machine: Machine, caller: Caller) -> None:
    uploads = machine.services.uploads
    upload = uploads.reserve(
        caller.account_id, content_type="image/png", size_bytes=len(PICTURE)
    ).upload
    with pytest.raises(SourceUnusable):
        fetch(machine, upload.url)
    uploads.fill(upload.object_name, PICTURE, content_type="image/png")
    assert fetch(machine, upload.url) == PICTURE


def test_a_result_is_a_source_for_90_days(machine: Machine, caller: Caller, clock: Clock) -> None:
    job = machine.submit(caller)
    machine.work(job.id)
    result = machine.job(job.id).result
    assert result is not None
    url = machine.services.links.of(result.object_name)
    clock.now_ms += 90 * DAY_MS - 1
    assert fetch(machine, url) == machine.engine.data
    clock.now_ms += 1
    with pytest.raises(SourceUnusable, match="its time is over"):
        fetch(machine, url)


def test_nothing_else_of_ours_is_a_source(machine: Machine, caller: Caller) -> None:
    queued, ended = machine.submit(caller), machine.submit(caller)
    machine.work(ended.id)
    machine.objects.put(f"images/{ended.id}-1.jpg", PICTURE, content_type="image/jpeg")
    for name in (
        queued.source.object_name,
        ended.source.object_name,
        f"images/{queued.id}-1.png",
        f"images/{ended.id}-1.jpg",
        f"images/{{{ended.id}}}-1.png",
        f"images/{ended.id}-1.png?x=1",
        f"images/../sources/{ended.id}.png",
        "images/none-1.png",
        "uploads/none.png",
        "../store.sqlite",
        "",
        "images/\ud800-1.png",
        "uploads/\0.png",
        "uploads/" + "x" * 10_000,
    ):
        with pytest.raises(SourceUnusable):
            fetch(machine, f"{PUBLIC_URL}/files/{name}")


def test_a_result_that_is_too_large_is_not_read(
    machine: Machine, caller: Caller, tmp_path: Path
) -> None:
    job = machine.submit(caller)
    machine.work(job.id)
    result = machine.job(job.id).result
    assert result is not None
    os.truncate(tmp_path / "objects" / result.object_name, MAX_SOURCE_BYTES + 1)
    with pytest.raises(SourceUnusable, match=f"larger than {MAX_SOURCE_BYTES}"):
        fetch(machine, machine.services.links.of(result.object_name))


def test_a_file_that_is_gone_is_no_source(machine: Machine, caller: Caller) -> None:
    upload = machine.services.uploads.receive(caller.account_id, PICTURE)
    machine.objects.delete(upload.object_name)
    with pytest.raises(SourceUnusable):
        fetch(machine, upload.url)


def test_a_record_shows_a_data_uri_without_its_data() -> None:
    assert shown(PICTURE_URI) == "data:image/png;base64,…"
    assert shown("https://example.com/a,b.png") == "https://example.com/a,b.png"
