"""Rehearsals: an example of an event, sent once and at once, to try a receiver out."""

import json
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from billing.accounts import find_account, live_webhook_secrets
from billing.keys import Caller
from jobs.attempts import Sender
from jobs.errors import TooManyAtOnce
from jobs.ids import Clock, iso_utc
from jobs.job import WebhookEvent
from jobs.links import Links, result_name
from jobs.turns import Turns
from jobs.webhooks import Delivery, Tried
from storage.kv import KeyValue

MAX_REHEARSALS = 8
"""How many may be under way at once in this process, one of an account: each holds a thread."""

EXAMPLE_JOB_ID = UUID(int=0)
"""No job has it."""

_NAME_BYTES = 8


@dataclass(frozen=True)
class Rehearsals:
    """Sends examples. Nothing is kept of them, they are not repeated, and no breaker counts them:
    whoever is mending a receiver wants to know at once.
    """

    kv: KeyValue
    sender: Sender
    links: Links
    clock: Clock
    turns: Turns

    def rehearse(self, caller: Caller, url: str, event: WebhookEvent) -> Tried:
        """Send an example of the event there, signed as the caller's own are; how it went.

        Raises `TooManyAtOnce` while another of the account's is under way, or too many are.
        """
        now_ms = self.clock()
        account, _ = find_account(self.kv, caller.account_id)
        delivery = Delivery(
            job_id=EXAMPLE_JOB_ID,
            account_id=caller.account_id,
            key_sha256=caller.key_sha256,
            event=event,
            name=f"test-{secrets.token_hex(_NAME_BYTES)}",
            url=url,
            body=json.dumps(example(event, links=self.links, now_ms=now_ms)),
            created_at_ms=now_ms,
        )
        try:
            with self.turns.taken(caller.account_id):
                live = live_webhook_secrets(account, now_ms=now_ms)
                return self.sender.send(delivery, webhook_secrets=live).tried
        except TooManyAtOnce:
            raise TooManyAtOnce("A test event is on its way already: wait for its answer") from None


def example(event: WebhookEvent, *, links: Links, now_ms: int) -> dict[str, Any]:
    """What a webhook of that event says, beside `"test": true`."""
    said: dict[str, Any] = {
        "event": event,
        "jobId": str(EXAMPLE_JOB_ID),
        "model": "topaz-image-upscale",
        "sequence": 2,
        "test": True,
    }
    if event == "progress":
        return said | {"status": "PROCESSING", "progress": 50}
    if event == "failed":
        return said | {"status": "FAILED", "error": "This is a test", "creditCost": 0}
    return said | {
        "status": "COMPLETED",
        "progress": 100,
        "result": {"images": [links.of(result_name(EXAMPLE_JOB_ID, "jpg"))]},
        "creditCost": 8,
        "completedAt": iso_utc(now_ms),
    }
