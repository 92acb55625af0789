"""Deletion: a customer has a job's files and what was said with it removed before their time.

What it cost, and when, stays: the ledger, the job's price, its status and its times. A webhook of
its end that is still to be delivered is delivered before it goes; it names the job, and nothing
that was said.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from jobs.cancellation import Cancellations
from jobs.errors import JobFinished, TooManyAtOnce
from jobs.ids import Clock
from jobs.records import RETENTION, Kept, find_job, find_own, next_put
from jobs.retention import Retention
from jobs.turns import Turns
from storage.kv import Conflict, Due, KeyValue, StoreError, Unavailable, Unknown

log = logging.getLogger(__name__)

MAX_DELETIONS = 16
"""How many may delete files at once in this process. Each holds a thread, for minutes while the
object store hangs; the files of whoever comes then are left to the sweeper."""

_COMMIT_TRIES = 6


@dataclass(frozen=True)
class Deletions:
    """Deletes jobs. The record says so first: what fails after that, the sweeper does again."""

    kv: KeyValue
    cancellations: Cancellations
    retention: Retention
    clock: Clock
    turns: Turns

    def delete(self, world: str, job_id: UUID) -> None:
        """Delete the account's job, which is cancelled if it is not at its end; twice is quiet.

        Raises `JobUnknown` and `JobForeign`. That its files cannot be deleted now is no error.
        """
        for _ in range(_COMMIT_TRIES):
            kept = find_own(self.kv, world, job_id=job_id)
            if kept.job.deleted_at_ms is not None:
                return
            try:
                if kept.job.status.is_terminal:
                    self._intend(kept)
                    with suppress(TooManyAtOnce), self.turns.taken(kept.job.account_id):
                        self._tidy_now(job_id)
                    return
                self.cancellations.cancel(world, job_id)
            except (Conflict, Unknown, JobFinished):
                continue  # what became of it is told by the job as it is now
        raise Unavailable(f"job {job_id} is too contended to delete")

    def _intend(self, kept: Kept) -> None:
        now_ms = self.clock()
        due = Due(RETENTION, now_ms)
        self.kv.commit(next_put(kept.job.deleted(now_ms=now_ms), replaces=kept.version, due=due))

    def _tidy_now(self, job_id: UUID) -> None:
        try:
            kept = find_job(self.kv, job_id)
            if kept is not None:
                self.retention.tidy(kept)
        except StoreError as error:
            log.warning("job %s: deleted, its files are left to the sweeper: %s", job_id, error)
