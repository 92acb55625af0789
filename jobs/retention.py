"""Retention: a job's source goes once the job has ended, its result after 90 days."""

from dataclasses import dataclass

from jobs.ids import Clock
from jobs.job import Job
from jobs.links import result_name
from jobs.records import RETENTION, Kept, next_put
from storage.kv import Conflict, Due, KeyValue
from storage.objects import Objects

RESULT_KEPT_MS = 90 * 24 * 60 * 60 * 1000
SECOND_LOOK_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Retention:
    """Deletes files when their time has come. Doing it twice is quiet."""

    kv: KeyValue
    objects: Objects
    clock: Clock

    def tidy(self, kept: Kept) -> None:
        """Delete what an ended job keeps too long, then note when to look again, if ever."""
        job = kept.job
        self.objects.delete(job.source.object_name)
        due: Due | None = None
        now_ms = self.clock()
        if job.result is not None and not is_expired(job, now_ms=now_ms):
            due = Due(RETENTION, result_expires_at_ms(job))
        else:  # without a result there may be the file of an attempt that died, or still dies
            self.objects.delete(result_name(job.id, job.params.output_format))
            second_look_ms = (job.ended_at_ms or now_ms) + SECOND_LOOK_MS
            if job.result is None and now_ms < second_look_ms:
                due = Due(RETENTION, second_look_ms)
        try:
            self.kv.commit(next_put(job, replaces=kept.version, due=due))
        except Conflict:
            return  # another sweeper was here; if not, the job is still due


def result_expires_at_ms(job: Job) -> int:
    """When a finished job's result stops being served."""
    return (job.ended_at_ms or job.created_at_ms) + RESULT_KEPT_MS


def is_expired(job: Job, *, now_ms: int) -> bool:
    """Whether the job had a result whose time is over, deleted yet or not."""
    return job.result is not None and now_ms >= result_expires_at_ms(job)
