"""The courier: takes deliveries from the outbox to their receivers, again until one accepts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from billing.accounts import find_account, live_webhook_secrets
from jobs.attempts import ATTEMPT_DEADLINE_S, Outcome, Sender
from jobs.breaker import Breakers, Pass, receiver_of
from jobs.errors import TooManyAtOnce
from jobs.ids import Clock
from jobs.job import Status
from jobs.metrics import Attempt, Metrics
from jobs.records import find_job, next_put
from jobs.retention import handed_over
from jobs.sandbox import REPEAT_AFTER_S
from jobs.subject import about_job
from jobs.turns import Turns
from jobs.webhooks import (
    SCHEDULE_MS,
    Delivery,
    DeliveryState,
    Reason,
    Share,
    Tried,
    delivery_key,
    delivery_put,
    next_attempt_at_ms,
    outbox_of,
)
from storage.kv import MAX_PAGE, Conflict, Key, KeyValue, Put

log = logging.getLogger(__name__)

LEASE_MS = 60_000
"""How long nobody else makes an attempt, should who makes it never tell."""

NO_TURN_MS, MAX_NO_TURN_MS = 2_000, 60_000
_COMMIT_TRIES = 5

JOB_ENDED = Reason(code="job_ended", message="The job ended before this was sent")
RESTING = Reason(
    code="resting", message="The receiver was left alone after failures; nothing was sent"
)


class _Read(NamedTuple):
    """A delivery as read."""

    key: Key
    version: int
    delivery: Delivery

    @property
    def receiver(self) -> str:
        return receiver_of(self.delivery.url)


@dataclass(frozen=True)
class Courier:
    """Makes attempts. Several couriers may run at once: an attempt is claimed by version.

    A receiver takes no more threads than its turns, and an account no more than its own; one that
    is away for long takes one thread, now and then.
    """

    kv: KeyValue
    sender: Sender
    clock: Clock
    metrics: Metrics
    breakers: Breakers
    turns: Turns
    account_turns: Turns
    share: Share

    def deliver(self, key: Key) -> None:
        """Make the next attempt of a delivery, if one is due and nobody else makes it.

        It is put off, to the end of the line, while all turns are taken or the receiver rests: left
        at its head it would keep others waiting.
        """
        item = self.kv.get(key)
        if item is None or item.due is None or item.due.at_ms > self.clock():
            return
        delivery = Delivery.model_validate(item.value)
        with about_job(delivery.job_id):
            if self._has_to_wait(delivery):
                return
            self._deliver(_Read(key, item.version, delivery))
            if delivery.event == "progress":
                self._deliver_end(delivery.job_id)

    def _deliver(self, read: _Read) -> None:
        delivery = read.delivery
        passed = self.breakers.ask(
            delivery.account_id, read.receiver, is_asked_for=delivery.is_asked_for
        )
        if passed.not_before_ms is not None:
            self._postpone(read, until_ms=passed.not_before_ms)
            return
        try:
            with self._turn(read):
                claimed = self._claim(read, passed)
                if claimed is not None:
                    self._make(read, claimed, passed)
        except TooManyAtOnce:
            self._move(read, delivery.released(), due_at_ms=self.clock() + self._no_turn_ms(read))

    @contextmanager
    def _turn(self, read: _Read) -> Iterator[None]:
        account_id = read.delivery.account_id
        with (
            self.account_turns.taken(account_id),
            self.turns.taken(f"{account_id} {read.receiver}"),
        ):
            yield

    def _claim(self, read: _Read, passed: Pass) -> Delivery | None:
        now_ms = self.clock()
        begun = read.delivery.begun(now_ms=now_ms)
        put = delivery_put(begun, replaces=read.version, due_at_ms=now_ms + LEASE_MS)
        try:
            self.kv.commit(put, *passed.changes)
        except Conflict as conflict:
            if conflict.change.key != read.key:  # another probes this receiver
                self._postpone(read, until_ms=now_ms + NO_TURN_MS)
            return None
        return begun

    def _make(self, read: _Read, delivery: Delivery, passed: Pass) -> None:
        if delivery.event == "progress" and self._is_job_over(delivery):
            # The end was or will be told: news of progress must not come after it.
            self._fail(read.key, delivery, JOB_ENDED)
            return
        account, _ = find_account(self.kv, delivery.account_id)
        live = live_webhook_secrets(account, now_ms=self.clock())
        if self._is_late(delivery):
            return  # another makes this attempt by the time that the receiver would hear of it
        outcome = self.sender.send(delivery, webhook_secrets=live)
        self._settle(read.key, delivery, outcome)
        self._note(read, delivery, outcome, was_away=passed.was_away)
        self.metrics.webhook_attempted(outcome.attempt)

    def _settle(self, key: Key, delivery: Delivery, outcome: Outcome) -> None:
        retry_at_ms: int | None = None
        state = DeliveryState.FAILED
        if outcome.attempt is Attempt.DELIVERED:
            state = DeliveryState.DELIVERED
            if delivery.is_repeated:
                state, retry_at_ms = DeliveryState.PENDING, self.clock() + REPEAT_AFTER_S * 1000
        elif outcome.attempt is not Attempt.GONE:
            retry_at_ms = next_attempt_at_ms(
                delivery,
                now_ms=self.clock(),
                retry_after_s=outcome.retry_after_s,
                share=self.share,
            )
            state = DeliveryState.FAILED if retry_at_ms is None else DeliveryState.PENDING
        self._write(key, delivery, delivery.tried(outcome.tried, state=state), retry_at_ms)

    def _note(self, read: _Read, delivery: Delivery, outcome: Outcome, *, was_away: bool) -> None:
        if outcome.is_away:
            self.breakers.note_absence(
                delivery.account_id,
                read.receiver,
                begun_at_ms=outcome.tried.at_ms,
                retry_after_s=outcome.retry_after_s,
            )
        elif was_away and outcome.tried.status is not None:
            self.breakers.note_answer(delivery.account_id, read.receiver)

    def _postpone(self, read: _Read, *, until_ms: int) -> None:
        """Try again then; but news that will be stale is given up, and so is what has been tried
        and put off for as long as its whole schedule."""
        delivery = read.delivery
        is_over = self.clock() - delivery.began_at_ms >= SCHEDULE_MS
        if delivery.event == "progress" or is_over:
            self._fail(read.key, delivery, RESTING)
        else:
            self._move(read, delivery.put_off(), due_at_ms=until_ms)

    def _no_turn_ms(self, read: _Read) -> int:
        """The longer it has waited the less often it asks: those that wait may be many."""
        delivery = read.delivery
        since_ms = delivery.log[-1].at_ms if delivery.log else delivery.created_at_ms
        waited_ms = self.clock() - max(since_ms, delivery.began_at_ms)
        return min(max(NO_TURN_MS, waited_ms // 8), MAX_NO_TURN_MS)

    def _move(self, read: _Read, delivery: Delivery, *, due_at_ms: int) -> None:
        with suppress(Conflict):  # somebody else has it
            self.kv.commit(delivery_put(delivery, replaces=read.version, due_at_ms=due_at_ms))

    def _fail(self, key: Key, delivery: Delivery, reason: Reason) -> None:
        """End a delivery without an attempt."""
        tried = Tried(at_ms=self.clock(), duration_ms=0, error=reason)
        self._write(key, delivery, delivery.tried(tried, state=DeliveryState.FAILED), None)

    def _write(self, key: Key, before: Delivery, after: Delivery, due_at_ms: int | None) -> None:
        """Write what became of the delivery, if it is still as it was `before`."""
        for _ in range(_COMMIT_TRIES):
            item = self.kv.get(key)
            if item is None or not _is_same_attempt(Delivery.model_validate(item.value), before):
                return  # a later attempt has overtaken this one
            try:
                self.kv.commit(
                    delivery_put(after, replaces=item.version, due_at_ms=due_at_ms),
                    *self._told(after),
                )
                return
            except Conflict:
                continue
        log.warning("webhook %s: too contended to settle", before.webhook_id)

    def _told(self, delivery: Delivery) -> tuple[Put, ...]:
        """The change that shows a terminal event's fate on its job. What has once arrived stays
        delivered, even if it was sent again and did not arrive then."""
        if delivery.event == "progress" or delivery.state is DeliveryState.PENDING:
            return ()
        kept = find_job(self.kv, delivery.job_id)
        if kept is None or kept.job.webhook_status in ("delivered", delivery.state.value):
            return ()
        job = kept.job.model_copy(update={"webhook_status": delivery.state.value})
        told = kept._replace(job=job)
        if delivery.state is DeliveryState.DELIVERED:
            told = handed_over(told, now_ms=self.clock())
        return (next_put(told.job, replaces=told.version, due=told.due),)

    def _is_late(self, delivery: Delivery) -> bool:
        """Whether the lease might end before an attempt that is sent now."""
        begun_at_ms = delivery.begun_at_ms or 0
        return self.clock() > begun_at_ms + LEASE_MS - ATTEMPT_DEADLINE_S * 1000

    def _has_to_wait(self, delivery: Delivery) -> bool:
        """Whether it tells of an end while news of progress is on its way, which must not come
        after it. Whoever brings the news delivers the end next; if nobody does, a later sweep.
        """
        if delivery.event == "progress" or delivery.attempts:
            return False
        now_ms = self.clock()
        return any(
            row.value["event"] == "progress"
            and row.value.get("begun_at_ms") is not None
            and row.due is not None
            and row.due.at_ms > now_ms
            for row in self.kv.query(outbox_of(delivery.job_id), limit=MAX_PAGE)
        )

    def _deliver_end(self, job_id: UUID) -> None:
        """Deliver the job's end, if it is at one: it may have waited."""
        kept = find_job(self.kv, job_id)
        if kept is not None and kept.job.status.is_terminal:
            event = "completed" if kept.job.status is Status.COMPLETED else "failed"
            self.deliver(delivery_key(job_id, event))

    def _is_job_over(self, delivery: Delivery) -> bool:
        kept = find_job(self.kv, delivery.job_id)
        return kept is None or kept.job.status.is_terminal


def _is_same_attempt(one: Delivery, other: Delivery) -> bool:
    return (one.attempts, one.begun_at_ms) == (other.attempts, other.begun_at_ms)
