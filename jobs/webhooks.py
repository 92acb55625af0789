"""What a webhook says, how it is signed, and when it is tried again.

Payloads are Apiframe's. Every delivery carries Apiframe's headers and those of Standard Webhooks
1.0.0 (https://www.standardwebhooks.com) at once.
"""

import base64
import hashlib
import hmac
import json
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from jobs.ids import iso_utc
from jobs.job import Job, WebhookEvent
from jobs.links import Links
from storage.kv import Due, Key, Put
from storage.record import Record

DELIVERIES = "deliveries"
RETRY_DELAYS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds from one attempt to the next, after the first, which is made at once."""

_KEPT_MS = 30 * 24 * 60 * 60 * 1000

HmacKey = Literal["raw", "hex"]
"""How receivers read the SHA-256 of their API key: its 32 bytes, or its 64 hex characters."""


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(Record):
    """One event on its way to one address: the same bytes and the same id on every attempt."""

    job_id: UUID
    account_id: str
    key_sha256: str
    event: WebhookEvent
    name: str
    url: str
    body: str
    created_at_ms: int
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0

    @property
    def webhook_id(self) -> str:
        """The event's id, by which a receiver tells a repeat."""
        return f"msg_{self.job_id}_{self.name}"


def announcement(job: Job, event: WebhookEvent, *, links: Links, now_ms: int) -> tuple[Put, ...]:
    """The change that puts an event in the outbox; none if the customer did not ask for it."""
    if job.webhook is None or not job.wants(event):
        return ()
    # Progress repeats, so the moment names it; the end comes once and is named after itself.
    name = f"progress-{job.attempt}-{job.progress}" if event == "progress" else event
    delivery = Delivery(
        job_id=job.id,
        account_id=job.account_id,
        key_sha256=job.key_sha256,
        event=event,
        name=name,
        url=job.webhook.url,
        body=json.dumps(payload(job, event, links=links)),
        created_at_ms=now_ms,
    )
    return (delivery_put(delivery, replaces=None, due_at_ms=now_ms),)


def payload(job: Job, event: WebhookEvent, *, links: Links) -> dict[str, Any]:
    """The body of an event, field by field Apiframe's."""
    said: dict[str, Any] = {
        "event": event,
        "jobId": str(job.id),
        "model": job.params.model,
        "sequence": job.sequence,
    }
    if event == "progress":
        return said | {"status": "PROCESSING", "progress": job.progress}
    if job.failure is not None:
        return said | {
            "status": job.status.upper(),
            "error": job.failure.message,
            "creditCost": job.cost_credits,  # none: it has been given back, in this very commit
        }
    if job.result is None or job.ended_at_ms is None:
        raise ValueError(f"job {job.id} has neither result nor failure")
    return said | {
        "status": "COMPLETED",
        "progress": 100,
        "result": {"images": [links.of(job.result.object_name)]},
        "creditCost": job.cost_credits,
        "completedAt": iso_utc(job.ended_at_ms),
    }


def headers(
    delivery: Delivery, *, webhook_secret: str, hmac_key: HmacKey, now_ms: int
) -> dict[str, str]:
    """The headers of one attempt, signed in both ways.

    `webhook_secret` is the account's (`whsec_…`); Apiframe's signature uses the API key's digest.
    """
    timestamp = str(now_ms // 1000)
    digest = bytes.fromhex(delivery.key_sha256)
    apiframe_key = digest if hmac_key == "raw" else delivery.key_sha256.encode()
    signed = f"{delivery.webhook_id}.{timestamp}.{delivery.body}".encode()
    standard_key = base64.b64decode(webhook_secret.removeprefix("whsec_"))
    standard = base64.b64encode(_hmac(standard_key, signed)).decode()
    return {
        "Content-Type": "application/json",
        "X-Webhook-Event": delivery.event,
        "X-Webhook-Signature": f"sha256={_hmac(apiframe_key, delivery.body.encode()).hex()}",
        "webhook-id": delivery.webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{standard}",
    }


def next_attempt_at_ms(delivery: Delivery, *, now_ms: int, retry_after_s: int | None) -> int | None:
    """When to try again after `delivery.attempts` attempts, or None to give up.

    A receiver's Retry-After can only lengthen the wait, to a day at most. Progress is not worth a
    second try: newer news follows.
    """
    if delivery.event == "progress" or delivery.attempts > len(RETRY_DELAYS_S):
        return None
    wait_s = RETRY_DELAYS_S[delivery.attempts - 1]
    asked_s = min(retry_after_s or 0, RETRY_DELAYS_S[-1])
    return now_ms + max(wait_s, asked_s) * 1000


def delivery_key(job_id: UUID, name: str) -> Key:
    """Where a delivery is kept."""
    return Key(f"deliveries#{job_id}", name)


def delivery_put(delivery: Delivery, *, replaces: int | None, due_at_ms: int | None) -> Put:
    """The change that writes a delivery, to be looked at again at `due_at_ms`."""
    return Put(
        delivery_key(delivery.job_id, delivery.name),
        delivery.model_dump(mode="json"),
        replaces=replaces,
        due=None if due_at_ms is None else Due(DELIVERIES, due_at_ms),
        expires_at_ms=delivery.created_at_ms + _KEPT_MS,
    )


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
