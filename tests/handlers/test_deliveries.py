"""Webhooks as a customer debugs them: listed, sent again, tried out, and never their answers."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from jobs.ids import iso_utc
from jobs.outbound import Outbound
from jobs.webhooks import delivery_key
from tests.handlers.clients import NOWHERE, TOPAZ, Apiframe, topaz_body
from tests.handlers.working import complete, fail, start
from tests.jobs.loopback import serving, status
from tests.running import Clock, Origin, Running, running

EVENTS = ["progress", "completed", "failed"]
PRIVATE = [
    "http://10.0.0.1/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://localhost/",
    "http://LOCALHOST/hook",
    "http://any.localhost/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://0/",
    "http://169.254.169.254/latest/meta-data",
    "https://192.168.1.1/hook",
]
UNUSABLE = [
    "ftp://example.com/",
    "file:///etc/passwd",
    "http://user:secret@example.com/",
    "https://user@example.com/",
    "https://example.com:8080/",
    "https://example.com:22/",
    "example.com/hook",
    "//example.com/hook",
    "https://",
    "https:///hook",
    "https://exam ple.com/",
    "https://example.com/\x00",
    "",
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with the guard as it is in production: no exceptions."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(folder, models=frozenset({TOPAZ}), outbound=Outbound()) as service:
        yield service


def told(apiframe: Apiframe, photo: str, url: str) -> UUID:
    """A job whose every event is told there."""
    body = topaz_body(photo) | {"webhookUrl": url, "webhookEvents": EVENTS}
    answer = apiframe.post("/images/upscale", json=body)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["jobId"])


def deliver(service: Running, job_id: UUID, name: str = "completed") -> None:
    service.services.courier.deliver(delivery_key(job_id, name))


def listed(apiframe: Apiframe, job_id: UUID) -> Any:
    answer = apiframe.get(f"/jobs/{job_id}/deliveries")
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


def redeliver(apiframe: Apiframe, job_id: object, event: str) -> Any:
    return apiframe.post(f"/jobs/{job_id}/deliveries/{event}/redeliver")


def test_a_delivery_is_shown_with_its_attempts(
    apiframe: Apiframe, service: Running, photo: str, origin: Origin, clock: Clock
) -> None:
    job_id = told(apiframe, photo, f"{origin.url}/hook")
    complete(service, job_id)
    at = iso_utc(clock())
    origin.answers = [302]
    deliver(service, job_id)
    (first,) = [each for each in listed(apiframe, job_id) if each["event"] == "completed"]
    (attempt,) = first.pop("attempts")
    next_at = first.pop("nextAttemptAt")
    assert first == {
        "id": f"msg_{job_id}_completed",
        "event": "completed",
        "url": f"{origin.url}/hook",
        "state": "pending",
        "attemptCount": 1,
        "postponed": 0,
        "createdAt": at,
    }
    assert isinstance(attempt.pop("durationMs"), int)
    assert attempt == {
        "at": at,
        "status": 302,
        "error": {
            "code": "redirect",
            "message": "The receiver answered 302, and redirects are not followed",
        },
    }
    assert iso_utc(clock() + 5_000) <= next_at <= iso_utc(clock() + 5_500)
    clock.advance(seconds=6)
    deliver(service, job_id)
    (last,) = [each for each in listed(apiframe, job_id) if each["event"] == "completed"]
    assert (last["state"], last["attemptCount"], last["nextAttemptAt"]) == ("delivered", 2, None)
    assert [each["status"] for each in last["attempts"]] == [302, 200]
    assert last["attempts"][1]["error"] is None


def test_what_the_receiver_says_is_shown_to_nobody(
    apiframe: Apiframe, service: Running, photo: str
) -> None:
    said = status(500, "X-Secret: in-the-head", "Content-Length: 11") + b"in the body"
    with serving({"/hook": said}) as server:
        job_id = told(apiframe, photo, server.url("/hook"))
        complete(service, job_id)
        deliver(service, job_id)
        tested = apiframe.post(
            "/webhooks/test", json={"url": server.url("/hook"), "event": "failed"}
        )
    shown = apiframe.get(f"/jobs/{job_id}/deliveries").text + tested.text
    assert "500" in shown
    assert "in the body" not in shown
    assert "in-the-head" not in shown


def test_what_was_never_sent_is_shown_as_waiting(
    apiframe: Apiframe, service: Running, photo: str, origin: Origin, clock: Clock
) -> None:
    job_id = told(apiframe, photo, f"{origin.url}/hook")
    start(service, job_id, progress=40)
    (progress,) = listed(apiframe, job_id)
    assert (progress["event"], progress["state"]) == ("progress", "pending")
    assert (progress["attempts"], progress["nextAttemptAt"]) == ([], iso_utc(clock()))


def test_a_job_without_webhooks_has_an_empty_list(apiframe: Apiframe, photo: str) -> None:
    assert listed(apiframe, apiframe.submitted(photo)) == []


def test_an_event_is_sent_again(
    apiframe: Apiframe, service: Running, photo: str, origin: Origin
) -> None:
    job_id = told(apiframe, photo, f"{origin.url}/hook")
    fail(service, job_id)
    deliver(service, job_id, "failed")
    origin.received.clear()
    answer = redeliver(apiframe, job_id, "failed")
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["attemptCount"]) == ("pending", 1)
    deliver(service, job_id, "failed")
    assert len(origin.received) == 1
    answer = redeliver(apiframe, job_id, f"msg_{job_id}_failed")
    assert (answer.status_code, answer.json()["attemptCount"]) == (202, 2)
    answer = redeliver(apiframe, job_id, "failed")
    assert (answer.status_code, answer.json()["attemptCount"]) == (202, 2)


def test_an_event_that_there_is_not_is_a_404(apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    for event in ("completed", "nonsense", "x" * 3000, "%00", "%2e%2e", f"msg_{job_id}_completed"):
        answer = redeliver(apiframe, job_id, event)
        assert answer.status_code == 404, event
        assert list(answer.json()) == ["error"]


def test_progress_of_a_job_that_has_ended_is_a_409(
    apiframe: Apiframe, service: Running, photo: str, origin: Origin, clock: Clock
) -> None:
    job_id = told(apiframe, photo, f"{origin.url}/hook")
    start(service, job_id, progress=40)
    clock.advance(seconds=60)
    complete(service, job_id)
    answer = redeliver(apiframe, job_id, "progress-1-40")
    assert answer.status_code == 409
    assert answer.json() == {"error": "The job has ended: its progress is not told any more"}


@pytest.mark.parametrize("path", ["deliveries", "deliveries/completed/redeliver"])
def test_other_accounts_and_unknown_jobs_are_a_404(
    service: Running, apiframe: Apiframe, photo: str, path: str
) -> None:
    ask = apiframe.get if path == "deliveries" else apiframe.post
    theirs = Apiframe(service, service.account()).submitted(photo)
    for job_id in (theirs, UUID(int=1)):
        answer = ask(f"/jobs/{job_id}/{path}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})
    assert ask(f"/jobs/nonsense/{path}").status_code == 400


@pytest.mark.parametrize("event", EVENTS)
def test_a_test_event_says_what_happened(apiframe: Apiframe, origin: Origin, event: str) -> None:
    origin.received.clear()
    said = {"url": f"{origin.url}/hook", "event": event}
    answer = apiframe.post("/webhooks/test", json=said)
    assert answer.status_code == 200
    outcome = answer.json()
    assert isinstance(outcome.pop("durationMs"), int)
    assert outcome == {"delivered": True, "status": 200, "error": None}
    ((sent, _),) = origin.received
    assert sent["X-Webhook-Event"] == event
    origin.answers = [404]
    outcome = apiframe.post("/webhooks/test", json=said).json()
    assert (outcome["delivered"], outcome["status"]) == (False, 404)
    assert outcome["error"] == {"code": "status", "message": "The receiver answered 404, not 2xx"}


def test_of_an_accounts_test_events_one_is_under_way(
    apiframe: Apiframe, service: Running, origin: Origin
) -> None:
    said = {"url": f"{origin.url}/hook", "event": "completed"}
    with service.services.rehearsals.turns.taken(apiframe.customer.id):
        answer = apiframe.post("/webhooks/test", json=said)
    assert answer.status_code == 429
    assert "test event" in answer.json()["error"]
    assert answer.headers["retry-after"] == "10"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": NOWHERE},
        {"event": "completed"},
        {"url": NOWHERE, "event": "cancelled"},
        {"url": NOWHERE, "event": ["completed"]},
        {"url": 5, "event": "completed"},
        {"url": None, "event": "completed"},
        {"url": NOWHERE, "event": "completed", "more": 1},
        {"url": "http://127.0.0.1/" + "x" * 8192, "event": "completed"},
        [],
        "text",
    ],
)
def test_what_is_no_order_of_a_test_event_is_a_400(apiframe: Apiframe, body: Any) -> None:
    answer = apiframe.post("/webhooks/test", json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "details"}


@pytest.mark.parametrize("url", [*PRIVATE, *UNUSABLE])
def test_an_address_that_we_would_not_connect_to_is_a_400_where_it_is_said(
    guarded: Running, url: str
) -> None:
    apiframe = Apiframe(guarded, guarded.account())
    answer = apiframe.post("/webhooks/test", json={"url": url, "event": "completed"})
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == ["url"]
    body = topaz_body(NOWHERE) | {"webhookUrl": url}
    answer = apiframe.post("/images/upscale", json=body)
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == ["webhookUrl"]
    assert apiframe.left().jobs == []


def test_a_public_address_is_taken(guarded: Running) -> None:
    apiframe = Apiframe(guarded, guarded.account())
    body = topaz_body("data:image/png;base64,AAAA") | {"webhookUrl": "https://example.com/hook"}
    assert "details" not in apiframe.post("/images/upscale", json=body).json()
