"""Deleting over HTTP: both dialects, what is shown afterwards, and all that may be wrong."""

from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest

from billing.keys import Scope
from storage.folder import FolderObjects
from storage.objects import ObjectsError
from tests.handlers.clients import (
    Apiframe,
    Client,
    VicSee,
    assert_refused,
    kept_job,
)
from tests.handlers.working import complete, start
from tests.running import Clock, Running, made, picture, running


class Stubborn(FolderObjects):
    """An object store that deletes nothing while it is asked not to."""

    is_down = False

    def delete(self, name: str) -> None:
        if self.is_down:
            raise ObjectsError("the object store is down")
        super().delete(name)


def delete(client: Client, path: str) -> httpx2.Response:
    return client.service.http.delete(f"{client.prefix}{path}", headers=client.headers)


def test_a_deleted_job_stays_visible_and_nothing_is_left_in_it(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    complete(service, job_id)
    before = apiframe.get(f"/jobs/{job_id}").json()
    answer = delete(apiframe, f"/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    after = apiframe.get(f"/jobs/{job_id}").json()
    assert after == before | {"expired": True, "input": {}}
    assert after["creditCost"] == 8
    address = after["result"]["images"][0]
    assert [service.http.request(how, address).status_code for how in ("GET", "HEAD")] == [410, 410]
    listed = apiframe.get("/jobs").json()["jobs"]
    assert [(each["id"], each["expired"]) for each in listed] == [(str(job_id), True)]
    assert [path for path in apiframe.left().files if str(job_id) in path.name] == []
    assert apiframe.left().balance.spent == 8


def test_deleting_twice_is_quiet(service: Running, apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    complete(service, job_id)
    answers = [delete(apiframe, f"/jobs/{job_id}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 204]


@pytest.mark.parametrize("is_running", [False, True])
def test_an_unfinished_job_is_cancelled_and_given_back(
    service: Running, apiframe: Apiframe, photo: str, *, is_running: bool
) -> None:
    job_id = apiframe.submitted(photo)
    if is_running:
        start(service, job_id, progress=40)
    assert delete(apiframe, f"/jobs/{job_id}").status_code == 204
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert (shown["status"], shown["expired"], shown["input"]) == ("CANCELLED", True, {})
    assert apiframe.left().balance.available == 1000


def test_the_other_dialect_deletes_too(service: Running, vicsee: VicSee, photo: str) -> None:
    task_id = vicsee.submitted(photo)
    complete(service, UUID(task_id.removeprefix("task_")))
    before = vicsee.get(f"/tasks/{task_id}").json()["data"]
    url = before["result"]["url"]
    assert "expired" not in before
    for _ in range(2):
        answer = delete(vicsee, f"/tasks/{task_id}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert service.http.get(url).status_code == 410
    assert_refused(vicsee.get(f"/tasks/{task_id}/download"), 404, "NO_RESULT")
    assert vicsee.get(f"/tasks/{task_id}").json()["data"] == before | {"expired": True}


def test_deleting_in_the_other_dialect_takes_nothing_of_the_day(vicsee: VicSee, photo: str) -> None:
    task_id = vicsee.submitted(photo)
    before = vicsee.get("/credits").headers["X-RateLimit-Remaining"]
    assert delete(vicsee, f"/tasks/{task_id}").headers["X-RateLimit-Remaining"] == before


def test_unknown_and_foreign_jobs_are_not_found(
    service: Running, apiframe: Apiframe, vicsee: VicSee, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    stranger = Apiframe(service, service.account())
    for client, wanted in ((apiframe, uuid4()), (stranger, job_id)):
        answer = delete(client, f"/jobs/{wanted}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})
    assert delete(apiframe, "/jobs/nonsense").status_code == 400
    assert_refused(delete(vicsee, f"/tasks/task_{uuid4().hex}"), 404, "TASK_NOT_FOUND")
    assert_refused(delete(vicsee, f"/tasks/task_{job_id.hex}"), 403, "FORBIDDEN")
    assert_refused(delete(vicsee, "/tasks/nonsense"), 404, "TASK_NOT_FOUND")
    assert kept_job(service, job_id).deleted_at_ms is None


def test_a_key_that_only_reads_deletes_nothing(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    key = apiframe.post("/keys", json={"name": "reader", "scopes": [Scope.JOBS_READ]}).json()["key"]
    answer = service.http.delete(f"/v2/jobs/{job_id}", headers={"X-API-Key": key})
    assert answer.status_code == 403
    assert kept_job(service, job_id).deleted_at_ms is None


def test_an_object_store_that_is_down_delays_only_the_files(tmp_path: Path) -> None:
    clock = Clock()
    objects = Stubborn(made(tmp_path / "objects"))
    with running(tmp_path, objects=objects, clock=clock) as service:
        apiframe = Apiframe(service, service.account())
        file = {"file": ("a.png", picture())}
        image = apiframe.post("/uploads", files=file).json()["url"]
        job_id = apiframe.submitted(image)
        complete(service, job_id)
        objects.is_down = True
        assert delete(apiframe, f"/jobs/{job_id}").status_code == 204
        shown = apiframe.get(f"/jobs/{job_id}").json()
        assert (shown["expired"], shown["input"]) == (True, {})
        address = shown["result"]["images"][0]
        assert service.http.get(address).status_code == 410
        assert objects.size_bytes(f"images/{job_id}-1.jpg") is not None
        objects.is_down = False
        clock.advance(seconds=60)
        service.services.sweeper.sweep()
        assert objects.size_bytes(f"images/{job_id}-1.jpg") is None


def test_a_repeat_of_the_request_of_a_deleted_job_finds_it(
    service: Running, apiframe: Apiframe, vicsee: VicSee, photo: str
) -> None:
    first = apiframe.topaz(photo, idempotency_key="one").json()
    complete(service, UUID(first["jobId"]))
    delete(apiframe, f"/jobs/{first['jobId']}")
    again = apiframe.topaz(photo, idempotency_key="one")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == {"jobId": first["jobId"], "status": "COMPLETED"}
    body, headers = {"image_url": photo}, {"Idempotency-Key": "one"}
    task = vicsee.post("/tools/upscale-image", json=body, headers=headers).json()["data"]
    delete(vicsee, f"/tasks/{task['id']}")
    again = vicsee.post("/tools/upscale-image", json=body, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    shown = again.json()["data"]
    assert (shown["id"], shown["status"], shown["input"]["image_url"]) == (task["id"], "failed", "")
    assert len(vicsee.left().jobs) == 1
