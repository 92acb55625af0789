"""Retention: how long a job's files are kept, and its record; they are deleted when that is over.

A source goes once its job has ended. A result goes `retention_days` after the end, which were
fixed at the submission; where they are none, an hour after its customer has it: was told of it by
the webhook, or fetched it. The record goes last, and the ledger's entries never.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass

from jobs.errors import RetentionTooLong
from jobs.ids import Clock
from jobs.job import Job
from jobs.links import result_name
from jobs.records import RETENTION, Kept, find_job, last_deletes, next_put
from jobs.webhooks import outbox_of
from storage.kv import MAX_CHANGES, MAX_PAGE, Conflict, Delete, Due, KeyValue, Unavailable
from storage.objects import Objects, ObjectsError

log = logging.getLogger(__name__)

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS

MAX_RETENTION_DAYS = 90
RECORD_KEPT_MS = 400 * DAY_MS
"""How long there is a record of a job that has ended."""

HANDED_OVER_KEPT_MS = HOUR_MS
NOT_HANDED_OVER_KEPT_MS = DAY_MS
"""How long a result is kept that is to be kept no day, once its customer has it, and until then."""

SECOND_LOOK_MS = DAY_MS
RETRY_MS = 60_000
"""How long files rest that could not be deleted: others are not kept waiting by them."""

_MAX_PAGES = 4
_COMMIT_TRIES = 5


@dataclass(frozen=True)
class Retention:
    """Deletes files and records when their time has come. Doing it twice is quiet."""

    kv: KeyValue
    objects: Objects
    clock: Clock

    def tidy(self, kept: Kept) -> None:
        """Delete what an ended job keeps too long, then note when to look again.

        What the object store fails to delete is tried again later, again and again.
        """
        with suppress(Conflict):  # another sweeper was here; if not, the job is still due
            try:
                due = self._tidied(kept.job)
            except ObjectsError as error:
                log.warning("job %s: its files are left for now: %s", kept.job.id, error)
                due = Due(RETENTION, self.clock() + RETRY_MS)
            if due is None:
                self._forget(kept)
            else:
                self.kv.commit(next_put(kept.job, replaces=kept.version, due=due))

    def note_fetched(self, kept: Kept) -> None:
        """Have the time begin after which a result goes that is to be kept no day."""
        for _ in range(_COMMIT_TRIES):
            noted = handed_over(kept, now_ms=self.clock())
            if noted is kept:
                return
            try:
                self.kv.commit(next_put(noted.job, replaces=kept.version, due=noted.due))
                return
            except Conflict:
                again = find_job(self.kv, kept.job.id)
                if again is None:
                    return
                kept = again
        raise Unavailable(f"job {kept.job.id} is too contended to be fetched")

    def _tidied(self, job: Job) -> Due | None:
        """Delete the files whose time is over; when to look again, or None if that is all."""
        self.objects.delete(job.source.object_name)
        now_ms = self.clock()
        if job.result is not None and not is_expired(job, now_ms=now_ms):
            return Due(RETENTION, result_expires_at_ms(job))
        self.objects.delete(result_name(job.id, job.params.output_format))
        is_told = job.deleted_at_ms is None or self._forget_told(job)
        ended_ms = job.ended_at_ms or now_ms
        if job.result is None or job.deleted_at_ms is not None:
            # There may be the file of an attempt that died, or still dies.
            second_look_ms = max(ended_ms, job.deleted_at_ms or 0) + SECOND_LOOK_MS
            if now_ms < second_look_ms:
                return Due(RETENTION, second_look_ms)
        if not is_told:
            return Due(RETENTION, now_ms + DAY_MS)
        ends_ms = ended_ms + RECORD_KEPT_MS
        return Due(RETENTION, ends_ms) if now_ms < ends_ms else None

    def _forget_told(self, job: Job) -> bool:
        """Delete the deliveries that are over, with the address that they went to; whether there
        are no others."""
        rows = self.kv.query(outbox_of(job.id), limit=MAX_PAGE)
        over = [row for row in rows if row.due is None]
        for first in range(0, len(over), MAX_CHANGES):
            batch = over[first : first + MAX_CHANGES]
            self.kv.commit(*(Delete(row.key, replaces=row.version) for row in batch))
        return len(over) == len(rows)

    def _forget(self, kept: Kept) -> None:
        """Delete the record, and first what is named after it; `Conflict` leaves it for later."""
        for _ in range(_MAX_PAGES):
            rows = self.kv.query(outbox_of(kept.job.id), limit=MAX_CHANGES)
            if not rows:
                self.kv.commit(*last_deletes(self.kv, kept))
                return
            self.kv.commit(*(Delete(row.key, replaces=row.version) for row in rows))


def days_kept(wanted: int | None, *, most: int) -> int:
    """How many days a result is kept; `RetentionTooLong` if more are wanted than there can be."""
    if wanted is not None and not 0 <= wanted <= most:
        raise RetentionTooLong(f"A result can be kept from 0 to {most} days")
    return most if wanted is None else wanted


def result_expires_at_ms(job: Job) -> int:
    """When a finished job's result stops being served, as things stand."""
    ended_ms = job.ended_at_ms or job.created_at_ms
    if job.retention_days:
        return ended_ms + job.retention_days * DAY_MS
    if job.handed_over_at_ms is not None:
        return job.handed_over_at_ms + HANDED_OVER_KEPT_MS
    return ended_ms + NOT_HANDED_OVER_KEPT_MS


def is_expired(job: Job, *, now_ms: int) -> bool:
    """Whether the job was deleted, or had a result whose time is over, deleted yet or not."""
    if job.deleted_at_ms is not None:
        return True
    return job.result is not None and now_ms >= result_expires_at_ms(job)


def handed_over(kept: Kept, *, now_ms: int) -> Kept:
    """The job once its customer has the result; the same if that changes nothing.

    It is looked at again no later than its result is to go.
    """
    job = kept.job
    is_first = job.result is not None and job.handed_over_at_ms is None
    if job.retention_days or not is_first or is_expired(job, now_ms=now_ms):
        return kept
    job = job.model_copy(update={"handed_over_at_ms": now_ms})
    look_ms = result_expires_at_ms(job)
    if kept.due is not None:
        look_ms = min(look_ms, kept.due.at_ms)
    return kept._replace(job=job, due=Due(RETENTION, look_ms))
