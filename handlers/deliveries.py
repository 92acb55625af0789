"""Webhooks as their customer debugs them: what became of each, one once more, and a test event."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from handlers.auth import CallerOf, ServicesOf
from handlers.job_ids import JobId
from handlers.receivers import check_receiver
from jobs.address_guard import MAX_URL_CHARS
from jobs.ids import iso_utc
from jobs.job import WebhookEvent
from jobs.redelivery import Sent
from jobs.webhooks import Reason, Tried


class Trouble(BaseModel):
    """Why an attempt was in vain: a stable word, and a sentence."""

    code: str
    message: str


class AttemptInfo(BaseModel):
    """One attempt; without a status, none was answered. Nothing else of the answer is kept."""

    at: str
    status: int | None
    durationMs: int | None
    error: Trouble | None


class DeliveryInfo(BaseModel):
    """An event on its way. `attemptCount` counts all attempts, `attempts` are the last of them;
    `postponed` is how often the next one was put off because the receiver had failed too often.
    """

    id: str
    event: str
    url: str
    state: str
    attemptCount: int
    attempts: list[AttemptInfo]
    postponed: int
    nextAttemptAt: str | None
    createdAt: str


class DeliveryList(BaseModel):
    """A job's events, oldest first."""

    deliveries: list[DeliveryInfo]


class TestRequest(BaseModel):
    """Which event is sent, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: Annotated[str, Field(max_length=MAX_URL_CHARS)]
    event: WebhookEvent


class TestOutcome(BaseModel):
    """How it went."""

    delivered: bool
    status: int | None
    durationMs: int | None
    error: Trouble | None


def add_delivery_list(router: APIRouter, **options: Any) -> None:
    """Add the route that shows."""
    router.get("/jobs/{job_id}/deliveries", **options)(deliveries)


def add_deliveries(router: APIRouter, **options: Any) -> None:
    """Add the routes that send."""
    path = "/jobs/{job_id}/deliveries/{event}/redeliver"
    router.post(path, status_code=202, **options)(redeliver)
    router.post("/webhooks/test", **options)(test_event)


def deliveries(job_id: JobId, caller: CallerOf, services: ServicesOf) -> DeliveryList:
    """What became of a job's webhooks in the last 30 days, attempt by attempt."""
    sent = services.redeliveries.of_job(caller.world, job_id)
    return DeliveryList(deliveries=[_delivery(each) for each in sent])


def redeliver(job_id: JobId, event: str, caller: CallerOf, services: ServicesOf) -> DeliveryInfo:
    """Send an event again, now, with its id and its body. One under way stays as it is.

    `event` is `completed`, `failed`, or the `id` of a webhook.
    """
    return _delivery(services.redeliveries.redeliver(caller.world, job_id, event))


def test_event(body: TestRequest, caller: CallerOf, services: ServicesOf) -> TestOutcome:
    """Send an example of an event to an address, once, signed as yours are."""
    check_receiver(body.url, services, member="url")
    tried = services.rehearsals.rehearse(caller, body.url, body.event)
    return TestOutcome(
        delivered=tried.error is None,
        status=tried.status,
        durationMs=tried.duration_ms,
        error=_trouble(tried.error),
    )


def _delivery(sent: Sent) -> DeliveryInfo:
    delivery, next_at_ms = sent
    return DeliveryInfo(
        id=delivery.webhook_id,
        event=delivery.event,
        url=delivery.url,
        state=delivery.state.value,
        attemptCount=delivery.attempts,
        attempts=[_attempt(each) for each in delivery.log],
        postponed=delivery.postponed,
        nextAttemptAt=None if next_at_ms is None else iso_utc(next_at_ms),
        createdAt=iso_utc(delivery.created_at_ms),
    )


def _attempt(tried: Tried) -> AttemptInfo:
    return AttemptInfo(
        at=iso_utc(tried.at_ms),
        status=tried.status,
        durationMs=tried.duration_ms,
        error=_trouble(tried.error),
    )


def _trouble(reason: Reason | None) -> Trouble | None:
    return None if reason is None else Trouble(code=reason.code, message=reason.message)
