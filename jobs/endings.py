"""Endings: a job's last commit, with its settlement and its webhook; and hopeless jobs."""

from contextlib import suppress
from dataclasses import dataclass

from billing import ledger, usage
from jobs.dispatch import Dispatcher
from jobs.ids import Clock
from jobs.job import Failure, Job, Result, Status, WebhookEvent
from jobs.lease import deadline_ms, is_held
from jobs.links import Links
from jobs.metrics import Metrics
from jobs.records import RETENTION, Kept, next_put
from jobs.webhooks import announcement
from storage.kv import Change, Conflict, Due, KeyValue

MAX_ATTEMPTS = 3

PROCESSING_FAILED = "PROCESSING_FAILED"

_LATE = Failure(code="DEADLINE_EXCEEDED", message="The image could not be processed in time")
_EXHAUSTED = Failure(code=PROCESSING_FAILED, message="The image could not be processed")


@dataclass(frozen=True)
class Endings:
    """Ends jobs, each once: the commit is conditional on the job's version."""

    kv: KeyValue
    dispatcher: Dispatcher
    links: Links
    clock: Clock
    metrics: Metrics

    def end(self, kept: Kept, outcome: Result | Failure, *, engine_ms: int = 0) -> None:
        """Commit the end, the settlement and the webhook together, then hint at the webhook.

        `engine_ms` is what the engine worked on this attempt; it is counted with the end.

        Raises `Conflict` if the job has changed since it was read.
        """
        now_ms = self.clock()
        if isinstance(outcome, Result):
            job = kept.job.completed(outcome, now_ms=now_ms)
        else:
            job = kept.job.failed(outcome, now_ms=now_ms)
        self._commit(kept, job, now_ms=now_ms)
        self.metrics.job_ended(job, engine_ms=engine_ms)

    def cancel(self, kept: Kept) -> Job:
        """Commit the end that the customer asks for; whoever works on the job finds it gone.

        Raises `Conflict` if the job has changed since it was read, `IllegalTransition` if it is at
        its end.
        """
        now_ms = self.clock()
        job = kept.job.cancelled(now_ms=now_ms)
        self._commit(kept, job, now_ms=now_ms)
        self.metrics.job_ended(job, engine_ms=0)
        return job

    def give_up(self, kept: Kept) -> bool:
        """Fail a job that nobody holds and whose time or attempts are over; whether it was one."""
        now_ms = self.clock()
        is_late = now_ms >= deadline_ms(kept.job)
        is_exhausted = kept.job.failed_attempts >= MAX_ATTEMPTS
        if is_held(kept, now_ms=now_ms) or not (is_late or is_exhausted):
            return False
        with suppress(Conflict):  # somebody else was faster
            self.end(kept, _LATE if is_late else _EXHAUSTED)
        return True

    def _commit(self, kept: Kept, job: Job, *, now_ms: int) -> None:
        event: WebhookEvent = "completed" if job.status is Status.COMPLETED else "failed"
        outbox = announcement(job, event, links=self.links, now_ms=now_ms)
        ended = next_put(job, replaces=kept.version, due=Due(RETENTION, now_ms))
        self.kv.commit(ended, *_settlement(job, now_ms=now_ms), *outbox)
        for delivery in outbox:
            self.dispatcher.delivery(delivery.key)


def _settlement(job: Job, *, now_ms: int) -> tuple[Change, ...]:
    """What the end means for the credits: spent, or given back and no longer counted."""
    account_id, job_id, split = job.account_id, str(job.id), job.split
    if job.status is Status.COMPLETED:
        return ledger.capture(account_id, job_id, split=split, now_ms=now_ms)
    released = ledger.release(account_id, job_id, split=split, now_ms=now_ms)
    if job.tally is None:
        return released
    return released + usage.given_back(job.tally, credits=split.credits)
