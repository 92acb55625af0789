"""Cancelling over HTTP: both dialects, and everything that may be wrong about it."""

from uuid import uuid4

import pytest

from tests.handlers.clients import Apiframe, VicSee, assert_refused
from tests.handlers.working import complete, fail, start
from tests.running import Running


def test_a_queued_job_is_cancelled_and_costs_nothing(apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    answer = apiframe.post(f"/jobs/{job_id}/cancel")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown == apiframe.get(f"/jobs/{job_id}").json()
    assert (shown["status"], shown["creditCost"], shown["error"]) == (
        "CANCELLED", 0, "The job was cancelled",
    )  # fmt: skip
    assert apiframe.left().balance.available == 1000


def test_a_running_job_is_cancelled(service: Running, apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    start(service, job_id, progress=40)
    assert apiframe.post(f"/jobs/{job_id}/cancel").json()["status"] == "CANCELLED"


def test_to_cancel_again_changes_nothing(apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    first = apiframe.post(f"/jobs/{job_id}/cancel")
    again = apiframe.post(f"/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()) == (200, first.json())


@pytest.mark.parametrize(("end", "word"), [(complete, "completed"), (fail, "failed")])
def test_a_finished_job_is_a_conflict_in_both_dialects(
    service: Running, apiframe: Apiframe, vicsee: VicSee, photo: str, end: object, word: str
) -> None:
    job_id = apiframe.submitted(photo)
    assert callable(end)
    end(service, job_id)
    answer = apiframe.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()) == (
        409, {"error": f"The job has {word} already"},
    )  # fmt: skip
    task_id = vicsee.submitted(photo)
    end(service, vicsee.left().jobs[0].id)
    assert_refused(vicsee.post(f"/tasks/{task_id}/cancel"), 409, "TASK_FINISHED")


def test_a_task_is_cancelled_and_does_not_count_as_a_request_of_the_day(
    vicsee: VicSee, photo: str
) -> None:
    task_id = vicsee.submitted(photo)
    left = vicsee.get("/credits").headers["X-RateLimit-Remaining"]
    answer = vicsee.post(f"/tasks/{task_id}/cancel")
    assert answer.status_code == 200
    assert answer.json()["data"]["error"]["code"] == "CANCELLED"
    assert answer.json()["data"]["status"] == "failed"
    assert answer.headers["X-RateLimit-Remaining"] == left
    assert vicsee.left().balance.available == 1000


def test_unknown_and_foreign_jobs_are_not_there(
    service: Running, apiframe: Apiframe, vicsee: VicSee, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    other = Apiframe(service, service.account())
    for answer in (
        other.post(f"/jobs/{job_id}/cancel"),
        other.post(f"/jobs/{uuid4()}/cancel"),
    ):
        assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})
    assert other.post("/jobs/nonsense/cancel").status_code == 400
    assert_refused(vicsee.post(f"/tasks/task_{uuid4().hex}/cancel"), 404, "TASK_NOT_FOUND")
    assert_refused(vicsee.post("/tasks/nonsense/cancel"), 404, "TASK_NOT_FOUND")
    assert apiframe.get(f"/jobs/{job_id}").json()["status"] == "QUEUED"
