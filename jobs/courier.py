"""The courier: takes deliveries from the outbox to their receivers, again until one accepts."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from billing.accounts import find_account
from jobs.errors import TooManyAtOnce
from jobs.ids import Clock
from jobs.metrics import Attempt, Metrics
from jobs.outbound import Answer, Outbound, OutboundError
from jobs.records import find_job, next_put
from jobs.subject import about_job
from jobs.turns import Turns
from jobs.webhooks import (
    Delivery,
    DeliveryState,
    HmacKey,
    delivery_put,
    headers,
    next_attempt_at_ms,
)
from storage.kv import Conflict, Key, KeyValue, Put

log = logging.getLogger(__name__)

ATTEMPT_DEADLINE_S = 15.0
_LEASE_MS = 60_000
_NO_TURN_MS = 2_000
_GONE = 410
_COMMIT_TRIES = 5


@dataclass(frozen=True)
class Courier:
    """Makes attempts. Several couriers may run at once: an attempt is claimed by version."""

    kv: KeyValue
    outbound: Outbound
    clock: Clock
    metrics: Metrics
    hmac_key: HmacKey
    turns: Turns

    def deliver(self, key: Key) -> None:
        """Make the next attempt of a delivery, if one is due and nobody else makes it.

        A receiver whose turns are all taken is left for later: one that hangs takes no more
        threads than its turns.
        """
        item = self.kv.get(key)
        if item is None or item.due is None or item.due.at_ms > self.clock():
            return
        delivery = Delivery.model_validate(item.value)
        try:
            with about_job(delivery.job_id), self.turns.taken(urlsplit(delivery.url).netloc):
                claimed = self._claim(delivery, item.version)
                if claimed is not None:
                    self._make(key, claimed)
        except TooManyAtOnce:
            # To the end of the line: left at its head it would keep other receivers waiting.
            later_ms = self.clock() + _NO_TURN_MS
            with suppress(Conflict):
                self.kv.commit(delivery_put(delivery, replaces=item.version, due_at_ms=later_ms))

    def _claim(self, delivery: Delivery, version: int) -> Delivery | None:
        claimed = delivery.model_copy(update={"attempts": delivery.attempts + 1})
        lease_ends_ms = self.clock() + _LEASE_MS
        try:
            self.kv.commit(delivery_put(claimed, replaces=version, due_at_ms=lease_ends_ms))
        except Conflict:
            return None
        return claimed

    def _make(self, key: Key, delivery: Delivery) -> None:
        if delivery.event == "progress" and self._is_job_over(delivery):
            # The end was or will be told: news of progress must not come after it.
            self._settle(key, delivery.model_copy(update={"state": DeliveryState.FAILED}), None)
            return
        answer = self._attempt(delivery)
        retry_at_ms: int | None = None
        state = DeliveryState.FAILED
        attempt = _judged(answer)
        if attempt is Attempt.DELIVERED:
            state = DeliveryState.DELIVERED
        elif attempt is not Attempt.GONE:
            retry_at_ms = next_attempt_at_ms(
                delivery,
                now_ms=self.clock(),
                retry_after_s=None if answer is None else answer.retry_after_s,
            )
            state = DeliveryState.FAILED if retry_at_ms is None else DeliveryState.PENDING
        self._settle(key, delivery.model_copy(update={"state": state}), retry_at_ms)
        self.metrics.webhook_attempted(attempt)

    def _attempt(self, delivery: Delivery) -> Answer | None:
        account, _ = find_account(self.kv, delivery.account_id)
        signed = headers(
            delivery,
            webhook_secret=account.webhook_secret,
            hmac_key=self.hmac_key,
            now_ms=self.clock(),
        )
        try:
            return self.outbound.post(
                delivery.url,
                body=delivery.body.encode(),
                headers=signed,
                deadline_s=ATTEMPT_DEADLINE_S,
            )
        except OutboundError as error:
            log.info("webhook %s: attempt %d: %s", delivery.webhook_id, delivery.attempts, error)
            return None

    def _settle(self, key: Key, delivery: Delivery, retry_at_ms: int | None) -> None:
        for _ in range(_COMMIT_TRIES):
            item = self.kv.get(key)
            if item is None or Delivery.model_validate(item.value).attempts != delivery.attempts:
                return  # a later attempt has overtaken this one
            try:
                self.kv.commit(
                    delivery_put(delivery, replaces=item.version, due_at_ms=retry_at_ms),
                    *self._told(delivery),
                )
                return
            except Conflict:
                continue
        log.warning("webhook %s: too contended to settle", delivery.webhook_id)

    def _told(self, delivery: Delivery) -> tuple[Put, ...]:
        """The change that shows a terminal event's fate on its job."""
        if delivery.event == "progress" or delivery.state is DeliveryState.PENDING:
            return ()
        kept = find_job(self.kv, delivery.job_id)
        if kept is None:
            return ()
        job = kept.job.model_copy(update={"webhook_status": delivery.state.value})
        return (next_put(job, replaces=kept.version, due=kept.due),)

    def _is_job_over(self, delivery: Delivery) -> bool:
        kept = find_job(self.kv, delivery.job_id)
        return kept is None or kept.job.status.is_terminal


def _judged(answer: Answer | None) -> Attempt:
    if answer is None:
        return Attempt.UNREACHABLE
    if 200 <= answer.status < 300:
        return Attempt.DELIVERED
    return Attempt.GONE if answer.status == _GONE else Attempt.REFUSED
