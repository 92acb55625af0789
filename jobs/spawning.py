"""Hints to other machines: calls that may block, throttle or fail, made from threads of our own."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from uuid import UUID

from jobs.dispatch import HintThreads
from storage.kv import Key

log = logging.getLogger(__name__)

T = TypeVar("T")

SPAWN_THREADS = 8
"""Calls at once, of jobs and of deliveries each. One takes tens of milliseconds; against a platform
that is down it may hang for a minute, and then further hints wait, up to `MAX_HINTS`."""


class JobHint(NamedTuple):
    """A job that waits for somebody who has its model."""

    job_id: UUID
    model: str

    def __str__(self) -> str:
        return f"job {self.job_id}"


class SpawnDispatcher:
    """Hints by calling something that starts work elsewhere. Whoever hints never waits for it.

    A hint that fails is logged and left to the sweeper: what it is about was committed before.
    Errors in `temporary`, and any that is of the class `Exception` itself (that is how Modal says
    that a queue is full), are expected now and then; all others are logged with their traceback.
    """

    def __init__(
        self,
        *,
        spawn_job: Callable[[JobHint], object],
        spawn_delivery: Callable[[Key], object],
        temporary: tuple[type[Exception], ...],
    ) -> None:
        self._temporary = temporary
        self._jobs: HintThreads[JobHint] = HintThreads(
            "spawn-job", lambda hint: self._call(spawn_job, hint), threads=SPAWN_THREADS
        )
        self._deliveries: HintThreads[Key] = HintThreads(
            "spawn-delivery", lambda key: self._call(spawn_delivery, key), threads=SPAWN_THREADS
        )

    def job(self, job_id: UUID, *, model: str) -> None:
        """Have a machine that has the model look at the job."""
        self._jobs.hint(JobHint(job_id, model))

    def delivery(self, key: Key) -> None:
        """Have the delivery looked at."""
        self._deliveries.hint(key)

    def settle(self, *, within_s: float) -> bool:
        """Wait until every hint was passed on or has failed; False if that takes longer."""
        until = time.monotonic() + within_s
        return self._jobs.settle(within_s=within_s) and self._deliveries.settle(
            within_s=max(until - time.monotonic(), 0)
        )

    def stop(self, *, within_s: float) -> None:
        """Pass nothing on any more."""
        until = time.monotonic() + within_s
        for threads in (self._jobs, self._deliveries):
            threads.stop(within_s=max(until - time.monotonic(), 0))

    def _call(self, spawn: Callable[[T], object], hint: T) -> None:
        try:
            spawn(hint)
        except Exception as error:
            is_temporary = isinstance(error, self._temporary) or type(error) is Exception
            log.log(
                logging.WARNING if is_temporary else logging.ERROR,
                "%s: the hint failed and is left to the sweeper: %s: %s",
                hint,
                type(error).__name__,
                error,
                exc_info=None if is_temporary else error,
            )
