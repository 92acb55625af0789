"""Bringing a job to each of its states, by the real worker with a tiny engine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID

from inference.errors import CorruptImage, ImageError
from inference.params import UpscaleParams
from inference.quality import Quality
from jobs.lease import Leases
from jobs.records import find_job
from jobs.worker import Worker
from tests.running import Running, picture

LEASE_MS = 30_000
RESULT = picture(4, 4)
QUALITY = Quality(psnr_db=44.4444, ssim=0.98765, delta_e=0.1234, seam_score=None)
SHOWN_QUALITY = {"psnrDb": 44.44, "ssim": 0.9877, "deltaE": 0.123, "seamScore": None}
"""The same on the wire."""


@dataclass(frozen=True)
class Enlarged:
    """What an engine returns."""

    width_px: int = 4
    height_px: int = 4
    network: str = "tiny"
    is_fallback: bool = False
    quality: Quality | None = None


@dataclass(frozen=True)
class Tiny:
    """An engine to which every picture enlarges to the same, or has the same error."""

    error: ImageError | None = None
    quality: Quality | None = None

    def upscale(
        self,
        source: bytes,
        params: UpscaleParams,
        *,
        sink: BinaryIO,
        progress: Callable[[int, int], None],
    ) -> Enlarged:
        assert source
        assert params.factor
        progress(1, 1)
        if self.error is not None:
            raise self.error
        sink.write(RESULT)
        return Enlarged(quality=self.quality)


def complete(service: Running, job_id: UUID, *, quality: Quality | None = None) -> None:
    """Have the job worked on, with a result."""
    _worker(service, Tiny(quality=quality)).work(job_id)


def fail(service: Running, job_id: UUID) -> None:
    """Have the job worked on, in vain."""
    _worker(service, Tiny(CorruptImage())).work(job_id)


def start(service: Running, job_id: UUID, *, progress: int = 0) -> None:
    """Have a worker take the job and come that far."""
    leases = _leases(service)
    kept = find_job(service.services.kv, job_id)
    assert kept is not None
    taken = leases.take(kept)
    assert taken is not None
    leases.renew(taken, progress, 100)


def cancel(service: Running, job_id: UUID) -> None:
    """Have the job's customer cancel it."""
    kept = find_job(service.services.kv, job_id)
    assert kept is not None
    service.services.cancellations.cancel(kept.job.account_id, job_id)


def _worker(service: Running, engine: Tiny) -> Worker:
    return service.services.worker(engine)


def _leases(service: Running) -> Leases:
    return service.services.leases
