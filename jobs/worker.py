"""The worker: claims a job, has it enlarged, and settles it exactly once.

A worker may die at any instruction, and after a lost lease two may run at once: outputs have
deterministic names and are kept by whoever is first, and the end is conditional on the attempt.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from billing import ledger
from inference.errors import ImageError
from inference.params import UpscaleParams
from jobs.dispatch import Dispatcher
from jobs.errors import LeaseLost, ResultMissing
from jobs.ids import Clock
from jobs.job import Failure, Job, Result
from jobs.lease import Leases, Report, deadline_ms
from jobs.links import CONTENT_TYPES, Links, result_name
from jobs.records import RETENTION, Kept, find_job, next_put
from jobs.webhooks import announcement
from storage.kv import Conflict, Due, KeyValue, Unavailable
from storage.objects import Objects, read

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
_COMMIT_TRIES = 5


class Enlarged(Protocol):
    """What an engine returns: the encoded picture, and what it is."""

    @property
    def data(self) -> bytes: ...
    @property
    def width_px(self) -> int: ...
    @property
    def height_px(self) -> int: ...
    @property
    def network(self) -> str: ...


class Engine(Protocol):
    """Pixels. Raises `ImageError` for what is wrong with the picture."""

    def upscale(
        self, source: bytes, params: UpscaleParams, *, progress: Callable[[int, int], None]
    ) -> Enlarged: ...


@dataclass(frozen=True)
class Worker:
    """Works on one job at a time; any number of workers may run anywhere."""

    kv: KeyValue
    objects: Objects
    engine: Engine
    leases: Leases
    dispatcher: Dispatcher
    links: Links
    clock: Clock

    def work(self, job_id: UUID) -> None:
        """Bring a job to its end, if it waits or its worker has died; else do nothing."""
        job = self._claim(job_id)
        if job is None:
            return
        try:
            with self.leases.renewed(job) as report:
                outcome = self._enlarge(job, report=report)
            self._settle(job, outcome)
        except LeaseLost:
            log.warning("job %s: attempt %d was overtaken", job.id, job.attempt)
        except Exception:
            # The store, the disk, the memory or a defect of ours: none of it the picture's fault.
            log.exception("job %s: attempt %d failed", job.id, job.attempt)
            self.leases.give_back(job)

    def _claim(self, job_id: UUID) -> Job | None:
        kept = find_job(self.kv, job_id)
        if kept is None or kept.job.status.is_terminal:
            return None
        now_ms = self.clock()
        is_late = now_ms >= deadline_ms(kept.job)
        is_leased = kept.job.attempt > 0 and kept.due is not None and kept.due.at_ms > now_ms
        if not is_leased and (is_late or kept.job.attempt >= MAX_ATTEMPTS):
            self._give_up(kept)
            return None
        return self.leases.take(kept)

    def _enlarge(self, job: Job, *, report: Report) -> Result | Failure:
        source = read(self.objects, job.source.object_name)
        if source is None:
            return Failure(code="SOURCE_MISSING", message="The source file is no longer there")
        try:
            enlarged = self.engine.upscale(source, job.params, progress=report)
        except ImageError as error:
            return Failure(code=error.code, message=str(error))
        format_ = job.params.output_format
        name = result_name(job.id, format_)
        content_type = CONTENT_TYPES[format_]
        is_kept = self.objects.put_if_absent(name, enlarged.data, content_type=content_type)
        return Result(
            object_name=name,
            format=format_,
            width_px=enlarged.width_px,
            height_px=enlarged.height_px,
            size_bytes=len(enlarged.data) if is_kept else self._size_bytes(name),
            network=enlarged.network,
        )

    def _size_bytes(self, object_name: str) -> int:
        """The size of what an earlier attempt has kept; encoders need not agree to the byte."""
        stored = self.objects.get(object_name)
        if stored is None:
            raise ResultMissing
        stored.chunks.close()
        return stored.size_bytes

    def _settle(self, job: Job, outcome: Result | Failure) -> None:
        for _ in range(_COMMIT_TRIES):
            try:
                self._end(self.leases.current(job), outcome)
                return
            except Conflict:
                continue
        raise Unavailable(f"job {job.id} is too contended to settle")

    def _give_up(self, kept: Kept) -> None:
        failure = Failure(code="PROCESSING_FAILED", message="The image could not be processed")
        try:
            self._end(kept, failure)
        except Conflict:
            return  # another worker has taken it up

    def _end(self, kept: Kept, outcome: Result | Failure) -> None:
        """Commit the job's end, its settlement and its webhook together; hint at the webhook."""
        now_ms = self.clock()
        account_id, job_id, credits = kept.job.account_id, str(kept.job.id), kept.job.price_credits
        if isinstance(outcome, Result):
            job = kept.job.completed(outcome, now_ms=now_ms)
            settlement = ledger.capture(account_id, job_id, credits=credits, now_ms=now_ms)
            outbox = announcement(job, "completed", links=self.links, now_ms=now_ms)
        else:
            job = kept.job.failed(outcome, now_ms=now_ms)
            settlement = ledger.release(account_id, job_id, credits=credits, now_ms=now_ms)
            outbox = announcement(job, "failed", links=self.links, now_ms=now_ms)
        ended = next_put(job, replaces=kept.version, due=Due(RETENTION, now_ms))
        self.kv.commit(ended, *settlement, *outbox)
        for delivery in outbox:
            self.dispatcher.delivery(delivery.key)
