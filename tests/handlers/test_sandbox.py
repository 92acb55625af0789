"""Sandbox keys over HTTP, in both dialects: what they are shown, and what they are not."""

import re
from uuid import UUID

import pytest
from fastapi.routing import APIRoute

from billing.administration import create_key
from billing.keys import SANDBOX_SCOPES, IssuedKey, Powers
from handlers import apiframe as apiframe_routes
from handlers import vicsee as vicsee_routes
from jobs.sandbox import HOST, SCENES
from tests.handlers.clients import Apiframe, VicSee, assert_refused, kept_job
from tests.running import Customer, Running

SLOW = f"https://{HOST}/slow.png"
REFUSALS = {
    "unreachable": (400, "PROBE_FAILED", 422),
    "not-an-image": (400, "PROBE_FAILED", 422),
    "insufficient-credits": (402, "INSUFFICIENT_CREDITS", 402),
    "cap-reached": (402, "CAP_REACHED", 402),
    "too-many-jobs": (429, "RATE_LIMITED", 429),
    "unavailable": (503, "SERVICE_UNAVAILABLE", 503),
    "no-such-scene": (400, "PROBE_FAILED", 422),
}
"""The status in Apiframe's dialect, and the code and the status in VicSee's."""


class _Key(Customer):
    """A customer by another key than the first."""

    def __init__(self, customer: Customer, key: IssuedKey) -> None:
        super().__init__(customer.opened._replace(key=key))


@pytest.fixture
def live(service: Running) -> Apiframe:
    """A customer without a credit, by a live key."""
    return Apiframe(service, service.account(credits=0))


@pytest.fixture
def tests(live: Apiframe) -> Apiframe:
    """The same by a sandbox key."""
    return _sandboxed(live)


@pytest.fixture
def vicsee_tests(tests: Apiframe) -> VicSee:
    """The same in the other dialect."""
    return VicSee(tests.service, tests.customer)


def worked(service: Running, job_id: UUID) -> None:
    """Have the sandbox's worker look at the job."""
    service.services.worker(None).work(job_id)


def address(name: str) -> str:
    return f"https://{HOST}/{name}.png"


def test_a_sandbox_job_completes_for_nothing(tests: Apiframe) -> None:
    job_id = tests.submitted(address("success"))
    worked(tests.service, job_id)
    shown = tests.get(f"/jobs/{job_id}").json()
    assert (shown["status"], shown["creditCost"], shown["sandbox"]) == ("COMPLETED", 0, True)
    assert tests.service.http.get(shown["result"]["images"][0]).status_code == 200
    listed = tests.get("/jobs").json()["jobs"]
    assert [(job["id"], job["sandbox"]) for job in listed] == [(str(job_id), True)]


def test_a_sandbox_task_completes_for_nothing(vicsee_tests: VicSee) -> None:
    answer = vicsee_tests.upscale(image_url=address("success"), upscale_factor="8")
    made = answer.json()["data"]
    assert (made["creditsUsed"], made["creditsRemaining"]) == (0, 0)
    worked(vicsee_tests.service, UUID(made["id"].removeprefix("task_")))
    shown = vicsee_tests.get(f"/tasks/{made['id']}").json()["data"]
    assert (shown["status"], shown["sandbox"]) == ("completed", True)


def test_a_task_that_fails_says_why_in_the_dialects_own_words(vicsee_tests: VicSee) -> None:
    task_id = vicsee_tests.submitted(address("out-of-memory"))
    worked(vicsee_tests.service, UUID(task_id.removeprefix("task_")))
    shown = vicsee_tests.get(f"/tasks/{task_id}").json()["data"]
    assert (shown["status"], shown["error"]["code"]) == ("failed", "PROCESSING_FAILED")


def test_live_jobs_and_keys_say_nothing_of_a_sandbox(apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    assert "sandbox" not in apiframe.get(f"/jobs/{job_id}").json()
    assert "sandbox" not in apiframe.get("/me").json()["apiKey"]


def test_a_key_is_told_that_it_is_a_sandboxs(tests: Apiframe) -> None:
    assert tests.get("/me").json()["apiKey"]["sandbox"] is True


@pytest.mark.parametrize("name", REFUSALS)
def test_a_scene_refuses_as_the_real_thing_does(
    tests: Apiframe, vicsee_tests: VicSee, name: str
) -> None:
    status, code, vicsee_status = REFUSALS[name]
    answer = tests.topaz(address(name))
    assert (answer.status_code, isinstance(answer.json()["error"], str)) == (status, True)
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert_refused(vicsee_tests.upscale(image_url=address(name)), vicsee_status, code)


def test_what_is_missing_for_a_job_is_named(tests: Apiframe) -> None:
    body = tests.topaz(address("insufficient-credits"), upscale_factor=2).json()
    assert (body["creditsRequired"], body["creditsAvailable"]) == (8, 0)


def test_an_unknown_scene_is_told_with_all_that_there_are(tests: Apiframe) -> None:
    told = tests.topaz(address("eclipse")).json()["error"]
    assert all(f"{name}.png" in told for name in SCENES)


def test_a_live_key_is_told_that_the_scenes_are_for_others(apiframe: Apiframe) -> None:
    answer = apiframe.topaz(address("success"))
    assert (answer.status_code, apiframe.left().jobs) == (400, [])
    assert "is for sandbox keys" in answer.json()["error"]


def test_a_quote_is_of_nothing_and_allowed_without_credits(
    tests: Apiframe, vicsee_tests: VicSee
) -> None:
    body = {
        "model": "clarity-upscale", "maxCredits": 1,
        "clarityUpscaleParams": {"width": 800, "height": 600},
    }  # fmt: skip
    quote = tests.post("/images/upscale/quote", json=body).json()
    assert (quote["credits"], quote["allowed"], quote["reason"]) == (0, True, None)
    quote = vicsee_tests.post(
        "/tools/upscale-image/quote", json={"image_url": SLOW, "max_credits": 1}
    ).json()["data"]
    assert (quote["credits"], quote["allowed"]) == (0, True)


def test_no_price_is_too_high_in_the_sandbox(tests: Apiframe) -> None:
    body = {"model": "topaz-image-upscale", "topazUpscaleParams": {"image": SLOW}, "maxCredits": 1}
    answer = tests.post("/images/upscale", json=body)
    assert answer.status_code == 202
    assert kept_job(tests.service, UUID(answer.json()["jobId"])).price_credits == 0


def _paths(routes: list[APIRoute]) -> list[tuple[str, str]]:
    """Method and path of each route that names a job."""
    return [
        (method, route.path)
        for route in routes
        for method in sorted(route.methods or ())
        if "{job_id}" in route.path or "{task_id}" in route.path
    ]


def _filled(path: str, job_id: str) -> str:
    return re.sub(r"\{\w+\}", "completed", re.sub(r"\{(job|task)_id\}", job_id, path))


APIFRAME_PATHS = _paths(apiframe_routes.guarded.routes)  # type: ignore[arg-type]
VICSEE_PATHS = _paths(
    [*vicsee_routes.guarded.routes, *vicsee_routes.uncounted.routes]  # type: ignore[list-item]
)


@pytest.mark.parametrize(("method", "path"), APIFRAME_PATHS)
def test_the_other_worlds_job_is_not_found(
    apiframe: Apiframe, photo: str, method: str, path: str
) -> None:
    theirs = _sandboxed(apiframe)
    live, rehearsed = apiframe.submitted(photo), theirs.submitted(SLOW)
    for customer, job_id in ((apiframe, rehearsed), (theirs, live)):
        url = f"/v2{_filled(path, str(job_id))}"
        answer = customer.service.http.request(method, url, headers=customer.headers)
        assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})


@pytest.mark.parametrize(("method", "path"), VICSEE_PATHS)
def test_the_other_worlds_task_is_not_found(
    apiframe: Apiframe, photo: str, method: str, path: str
) -> None:
    theirs = _sandboxed(apiframe)
    live, rehearsed = apiframe.submitted(photo), theirs.submitted(SLOW)
    for customer, job_id in ((apiframe, rehearsed), (theirs, live)):
        url = f"/api/v1{_filled(path, f'task_{job_id.hex}')}"
        headers = customer.customer.vicsee
        answer = customer.service.http.request(method, url, headers=headers)
        assert_refused(answer, 404, "TASK_NOT_FOUND", "Task not found")


def test_a_search_does_not_find_the_other_worlds_job(apiframe: Apiframe) -> None:
    rehearsed = _sandboxed(apiframe).submitted(SLOW)
    assert apiframe.get("/jobs", search=str(rehearsed)).json()["jobs"] == []


def test_a_sandbox_key_has_no_say_over_money_or_keys(tests: Apiframe) -> None:
    for path in ("/billing/entries", "/usage", "/keys"):
        assert tests.get(path).status_code == 403


def test_usage_and_statements_know_nothing_of_the_sandbox(live: Apiframe, tests: Apiframe) -> None:
    worked(tests.service, tests.submitted(address("success")))
    assert live.get("/billing/entries").json()["entries"] == []
    assert live.get("/usage").json()["usage"] == []


def _sandboxed(customer: Apiframe) -> Apiframe:
    services = customer.service.services
    key = create_key(
        services.kv, customer.customer.id, name="tests", now_ms=services.clock(),
        powers=Powers(SANDBOX_SCOPES, is_sandbox=True),
    )  # fmt: skip
    return Apiframe(customer.service, _Key(customer.customer, key))
