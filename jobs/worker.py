"""The worker: claims a job, has it enlarged, and settles it exactly once.

A worker may die at any instruction, and after a lost lease two may run at once: outputs have
deterministic names and are kept by whoever is first, and the end is conditional on the attempt.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol
from uuid import UUID

from inference.errors import ImageError, NotANumber, OutOfMemory, PromptUnreadable
from inference.params import UpscaleParams
from inference.quality import Quality
from jobs.endings import PROCESSING_FAILED, Endings
from jobs.errors import LeaseLost, ResultMissing
from jobs.job import Failure, Job, Result
from jobs.lease import Leases, Report
from jobs.links import CONTENT_TYPES, result_name
from jobs.metrics import Metrics
from jobs.records import find_job
from jobs.sandbox import SandboxEngine, scene_of
from jobs.subject import about_job
from storage.kv import Conflict, KeyValue, Unavailable
from storage.objects import Objects, read

log = logging.getLogger(__name__)

_COMMIT_TRIES = 5


class Enlarged(Protocol):
    """What an engine says of the picture that it wrote."""

    @property
    def width_px(self) -> int: ...
    @property
    def height_px(self) -> int: ...
    @property
    def network(self) -> str: ...
    @property
    def is_fallback(self) -> bool: ...
    @property
    def quality(self) -> Quality | None: ...


class Engine(Protocol):
    """Pixels, written to `sink` as a file. Raises `ImageError` for what is wrong with the picture,
    `NotANumber` if a network broke down over it.
    """

    def upscale(
        self,
        source: bytes,
        params: UpscaleParams,
        *,
        sink: BinaryIO,
        progress: Callable[[int, int], None],
    ) -> Enlarged: ...


@dataclass(frozen=True)
class Worker:
    """Works on one job at a time; any number of workers may run anywhere.

    `seconds` is a clock that never goes back, by which the engine's work is measured. Jobs of the
    sandbox have an engine of their own, which waits by `pause`; without any other (None) a worker
    leaves live ones alone.
    """

    kv: KeyValue
    objects: Objects
    engine: Engine | None
    leases: Leases
    endings: Endings
    metrics: Metrics
    seconds: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def work(self, job_id: UUID) -> None:
        """Bring a job to its end, if it waits or its worker has died; else do nothing.

        An interrupt gives the job back and goes on; `Leases.hand_over` does so for other threads.
        """
        with about_job(job_id):
            job = self._claim(job_id)
            if job is not None:
                self._work(job)

    def _work(self, job: Job) -> None:
        watch = _Stopwatch(self.seconds)
        try:
            with self.leases.renewed(job) as report:
                outcome = self._enlarge(job, report=report, watch=watch)
            self._settle(job, outcome, engine_ms=watch.ms)
            return
        except LeaseLost:
            log.info("job %s: attempt %d was overtaken or cancelled", job.id, job.attempt)
        except Exception:
            # The store, the disk, the memory or a defect of ours: none of it the picture's fault.
            log.exception("job %s: attempt %d failed", job.id, job.attempt)
            self.leases.give_back(job)
        except KeyboardInterrupt:  # this machine is being taken from us; another may begin at once
            self.leases.give_back(job, is_interrupted=True)
            raise
        self.metrics.engine_worked(job, engine_ms=watch.ms)

    def _claim(self, job_id: UUID) -> Job | None:
        kept = find_job(self.kv, job_id)
        if kept is None or kept.job.status.is_terminal or self.endings.give_up(kept):
            return None
        return None if self._engine_for(kept.job) is None else self.leases.take(kept)

    def _engine_for(self, job: Job) -> Engine | None:
        return SandboxEngine(scene_of(job), self.pause) if job.is_sandbox else self.engine

    def _enlarge(self, job: Job, *, report: Report, watch: "_Stopwatch") -> Result | Failure:
        engine = self._engine_for(job)
        assert engine is not None, "else it was not claimed"
        source = read(self.objects, job.source.object_name)
        if source is None:
            return Failure(code="SOURCE_MISSING", message="The source file is no longer there")
        with tempfile.TemporaryFile() as file:
            try:
                with watch.running():
                    enlarged = engine.upscale(source, job.params, sink=file, progress=report)
            except (ImageError, PromptUnreadable) as error:
                return Failure(code=error.code, message=str(error))
            except (NotANumber, OutOfMemory) as error:
                # The same picture through the same network: another attempt would end alike.
                if not job.is_sandbox:
                    log.exception("job %s: this picture cannot be enlarged here", job.id)
                return Failure(code=PROCESSING_FAILED, message=str(error))
            self.leases.current(job)  # whoever has lost the job leaves no file behind
            return self._kept(job, enlarged, file)

    def _kept(self, job: Job, enlarged: Enlarged, file: BinaryIO) -> Result:
        format_ = job.params.output_format
        name = result_name(job.id, format_)
        is_kept = self.objects.put_if_absent(name, file, content_type=CONTENT_TYPES[format_])
        return Result(
            object_name=name,
            format=format_,
            width_px=enlarged.width_px,
            height_px=enlarged.height_px,
            size_bytes=file.seek(0, os.SEEK_END) if is_kept else self._size_bytes(name),
            network=enlarged.network,
            is_fallback=enlarged.is_fallback,
            quality=enlarged.quality,
        )

    def _size_bytes(self, object_name: str) -> int:
        """The size of what an earlier attempt has kept; encoders need not agree to the byte."""
        size_bytes = self.objects.size_bytes(object_name)
        if size_bytes is None:
            raise ResultMissing
        return size_bytes

    def _settle(self, job: Job, outcome: Result | Failure, *, engine_ms: int) -> None:
        for _ in range(_COMMIT_TRIES):
            try:
                self.endings.end(self.leases.current(job), outcome, engine_ms=engine_ms)
                return
            except Conflict:
                continue
        raise Unavailable(f"job {job.id} is too contended to settle")


class _Stopwatch:
    """How long a block ran, whether or not it came to its end; 0 before it."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.ms = 0
        self._seconds = seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the block."""
        start_s = self._seconds()
        try:
            yield
        finally:
            self.ms = round((self._seconds() - start_s) * 1000)
