"""What a webhook says, how it is signed, and when it is tried again.

Payloads are Apiframe's. Every delivery carries Apiframe's headers and those of Standard Webhooks
1.0.0 (https://www.standardwebhooks.com) at once.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Literal, Self
from uuid import UUID

from jobs.ids import iso_utc
from jobs.job import Job, WebhookEvent
from jobs.links import Links
from jobs.sandbox import USUAL, scene_of
from storage.kv import Due, Key, Put
from storage.record import Part, Record

DELIVERIES = "deliveries"
RETRY_DELAYS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds from one attempt to the next, after the first, which is made at once."""

JITTER = 0.1
"""By which share of itself a wait is lengthened at the most, so that retries spread."""

MAX_LOGGED = 25
"""How many attempts a delivery's log has, the last ones; all of them are counted."""

SCHEDULE_MS = 4 * 24 * 60 * 60 * 1000
"""A delivery that is put off again this long after its schedule began has failed."""

_KEPT_MS = 30 * 24 * 60 * 60 * 1000

Share = Callable[[], float]
"""Draws a number from 0 up to, but not, 1."""

HmacKey = Literal["raw", "hex"]
"""How receivers read the SHA-256 of their API key: its 32 bytes, or its 64 hex characters."""


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Reason(Part):
    """Why an attempt was in vain: a stable word, and a sentence of ours, never the receiver's."""

    code: str
    message: str


class Tried(Part):
    """One attempt as it went. `status` is the answer's; the time is None if nobody lived to tell
    it; `error` is None if the receiver accepted.
    """

    at_ms: int
    status: int | None = None
    duration_ms: int | None = None
    error: Reason | None = None


LOST = Reason(code="lost", message="What became of this attempt is not known; it was cut short")


class Delivery(Record):
    """One event on its way to one address: the same bytes and the same id on every attempt.

    The schedule counts the attempts after the first `attempts_before` of them; it began at
    `schedule_at_ms`, or when the delivery was made. `begun_at_ms` is set while an attempt is under
    way. `is_asked_for` says that the customer wants the next one at once. `postponed` counts how
    often a resting receiver has put the next attempt off. In the sandbox a delivery may be made
    again though it was accepted, up to `repeats` times.
    """

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
    attempts_before: int = 0
    schedule_at_ms: int | None = None
    begun_at_ms: int | None = None
    is_asked_for: bool = False
    postponed: int = 0
    log: tuple[Tried, ...] = ()
    repeats: int = 0

    @property
    def is_repeated(self) -> bool:
        """Whether another attempt is to follow although the receiver has accepted this one."""
        return self.attempts - self.attempts_before <= self.repeats

    @property
    def webhook_id(self) -> str:
        """The event's id, by which a receiver tells a repeat."""
        return f"msg_{self.job_id}_{self.name}"

    @property
    def began_at_ms(self) -> int:
        """When the schedule began that it is tried by."""
        return self.created_at_ms if self.schedule_at_ms is None else self.schedule_at_ms

    def begun(self, *, now_ms: int) -> Self:
        """A further attempt begins."""
        return self.released()._with(
            attempts=self.attempts + 1, begun_at_ms=now_ms, is_asked_for=False
        )

    def tried(self, tried: Tried, *, state: DeliveryState) -> Self:
        """The attempt has gone so, and that is where the delivery stands now."""
        return self._with(state=state, begun_at_ms=None, postponed=0, log=self._logged(tried))

    def put_off(self) -> Self:
        """The receiver rests: the next attempt is made later, and none is used up."""
        return self.released()._with(postponed=self.postponed + 1)

    def anew(self, *, now_ms: int) -> Self:
        """The customer wants it tried now, and by the whole schedule if that fails."""
        return self.released()._with(
            state=DeliveryState.PENDING,
            attempts_before=self.attempts,
            schedule_at_ms=now_ms,
            is_asked_for=True,
            postponed=0,
        )

    def released(self) -> Self:
        """Nobody is at it: of an attempt that had begun there is no more to be known."""
        if self.begun_at_ms is None:
            return self
        lost = Tried(at_ms=self.begun_at_ms, error=LOST)
        return self._with(begun_at_ms=None, log=self._logged(lost))

    def _logged(self, tried: Tried) -> tuple[Tried, ...]:
        return (*self.log, tried)[-MAX_LOGGED:]

    def _with(self, **changes: Any) -> Self:
        return self.model_copy(update=changes)


def any_share() -> float:
    """A number from 0 up to 1 at random."""
    return secrets.randbits(32) / 2**32


def announcement(job: Job, event: WebhookEvent, *, links: Links, now_ms: int) -> tuple[Put, ...]:
    """The change that puts an event in the outbox; none if the customer did not ask for it."""
    if job.webhook is None or not job.wants(event):
        return ()
    # Progress repeats, so the moment names it; the end comes once and is named after itself.
    name = f"progress-{job.attempt}-{job.progress}" if event == "progress" else event
    scene = USUAL if event == "progress" else scene_of(job)
    delivery = Delivery(
        job_id=job.id,
        account_id=job.account_id,
        key_sha256=job.key_sha256,
        event=event,
        name=name,
        url=job.webhook.url,
        body=json.dumps(payload(job, event, links=links)),
        created_at_ms=now_ms,
        repeats=scene.repeats,
    )
    due_at_ms = now_ms + scene.told_after_s * 1000
    return (delivery_put(delivery, replaces=None, due_at_ms=due_at_ms),)


def payload(job: Job, event: WebhookEvent, *, links: Links) -> dict[str, Any]:
    """The body of an event, field by field Apiframe's; in the sandbox it says where it is from."""
    said: dict[str, Any] = {
        "event": event,
        "jobId": str(job.id),
        "model": job.params.model,
        "sequence": job.sequence,
    }
    if job.is_sandbox:
        said["sandbox"] = True
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
    delivery: Delivery, *, webhook_secrets: Sequence[str], hmac_key: HmacKey, now_ms: int
) -> dict[str, str]:
    """The headers of one attempt, signed in both ways.

    `webhook_secrets` are the account's (`whsec_…`), two while one replaces the other: a receiver
    may verify with either. Apiframe's signature uses the API key's digest.
    """
    timestamp = str(now_ms // 1000)
    digest = bytes.fromhex(delivery.key_sha256)
    apiframe_key = digest if hmac_key == "raw" else delivery.key_sha256.encode()
    signed = f"{delivery.webhook_id}.{timestamp}.{delivery.body}".encode()
    return {
        "Content-Type": "application/json",
        "X-Webhook-Event": delivery.event,
        "X-Webhook-Signature": f"sha256={_hmac(apiframe_key, delivery.body.encode()).hex()}",
        "webhook-id": delivery.webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_standard(secret, signed) for secret in webhook_secrets),
    }


def next_attempt_at_ms(
    delivery: Delivery, *, now_ms: int, retry_after_s: int | None, share: Share
) -> int | None:
    """When to try again after `delivery.attempts` attempts, or None to give up.

    A receiver's Retry-After can only lengthen the wait, to a day at most, and up to `JITTER` of it
    is added by chance. Progress is not worth a second try: newer news follows.
    """
    made = delivery.attempts - delivery.attempts_before
    if delivery.event == "progress" or made > len(RETRY_DELAYS_S):
        return None
    wait_s = RETRY_DELAYS_S[made - 1]
    asked_s = min(retry_after_s or 0, RETRY_DELAYS_S[-1])
    return now_ms + round(max(wait_s, asked_s) * 1000 * (1 + JITTER * share()))


def outbox_of(job_id: UUID) -> str:
    """The partition of a job's deliveries."""
    return f"deliveries#{job_id}"


def delivery_key(job_id: UUID, name: str) -> Key:
    """Where a delivery is kept."""
    return Key(outbox_of(job_id), name)


def delivery_put(delivery: Delivery, *, replaces: int | None, due_at_ms: int | None) -> Put:
    """The change that writes a delivery, to be looked at again at `due_at_ms`."""
    return Put(
        delivery_key(delivery.job_id, delivery.name),
        delivery.model_dump(mode="json"),
        replaces=replaces,
        due=None if due_at_ms is None else Due(DELIVERIES, due_at_ms),
        # One that is tried anew on its last day has its schedule still.
        expires_at_ms=max(delivery.created_at_ms + _KEPT_MS, delivery.began_at_ms + SCHEDULE_MS),
    )


def _standard(webhook_secret: str, signed: bytes) -> str:
    key = base64.b64decode(webhook_secret.removeprefix("whsec_"))
    return f"v1,{base64.b64encode(_hmac(key, signed)).decode()}"


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
