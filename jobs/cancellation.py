"""Cancellation: a customer ends a job that is not at its end, and has its credits back."""

from dataclasses import dataclass
from uuid import UUID

from jobs.endings import Endings
from jobs.errors import JobFinished
from jobs.job import Job, Status
from jobs.records import find_own
from storage.kv import Conflict, KeyValue, Unavailable, Unknown

_COMMIT_TRIES = 5


@dataclass(frozen=True)
class Cancellations:
    """Ends jobs before their time, queued or running.

    A worker that is at it notices within seconds, at its next step; what it does until then is for
    nothing, and costs nothing.
    """

    kv: KeyValue
    endings: Endings

    def cancel(self, world: str, job_id: UUID) -> Job:
        """The world's job, cancelled now or before.

        Raises `JobUnknown`, `JobForeign`, and `JobFinished` if it has completed or failed.
        """
        for _ in range(_COMMIT_TRIES):
            kept = find_own(self.kv, world, job_id=job_id)
            if kept.job.status is Status.CANCELLED:
                return kept.job
            if kept.job.status.is_terminal:
                raise JobFinished(f"The job has {kept.job.status} already")
            try:
                return self.endings.cancel(kept)
            except (Conflict, Unknown):
                continue  # what became of it is told by the job as it is now
        raise Unavailable(f"job {job_id} is too contended to cancel")
