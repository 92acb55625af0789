"""Leases: a running job is one worker's for a while, and stays its own while it is renewed.

The job's `due` is the end of its lease, so a dead worker's job turns up in the queue by itself. The
attempt number is the fence: whoever claims raises it, and nobody writes under an older one.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from jobs.dispatch import Dispatcher
from jobs.errors import LeaseLost
from jobs.ids import Clock
from jobs.job import Job, Status
from jobs.links import Links
from jobs.records import JOBS, Kept, find_job, next_put
from jobs.sandbox import scene_of
from jobs.ticker import Ticker, in_a_thread
from jobs.webhooks import announcement
from storage.kv import Change, Conflict, Due, KeyValue, StoreError, Unavailable

log = logging.getLogger(__name__)

DEADLINE_MS = 60 * 60 * 1000
"""A job that nobody has brought to its end an hour after its submission fails."""

_PROGRESS_EVERY_S = 2.0
_RETRY_MS = 5_000
_LAST_RENEWAL_S = 5.0
_COMMIT_TRIES = 5

Report = Callable[[int, int], None]
"""Takes the work done and the whole of it; raises `LeaseLost` to stop work that is not ours."""


@dataclass(frozen=True)
class Leases:
    """Takes, renews and checks leases of `lease_ms`; `ticker` is who renews them."""

    kv: KeyValue
    dispatcher: Dispatcher
    links: Links
    clock: Clock
    lease_ms: int
    ticker: Ticker = in_a_thread
    _underway: set["_Renewal"] = field(default_factory=set, init=False, repr=False, compare=False)

    def take(self, kept: Kept) -> Job | None:
        """Claim a job for a further attempt; None if somebody else has it or was faster."""
        now_ms = self.clock()
        if is_held(kept, now_ms=now_ms):
            return None
        job = kept.job.claimed(now_ms=now_ms)
        try:
            self.kv.commit(self._put(job, replaces=kept.version, for_ms=self.lease_ms))
        except Conflict:
            return None
        return job

    def current(self, job: Job) -> Kept:
        """The job as it stands now; `LeaseLost` unless it is still this attempt's."""
        kept = find_job(self.kv, job.id)
        if (
            kept is None
            or kept.job.attempt != job.attempt
            or kept.job.status is not Status.PROCESSING
        ):
            raise LeaseLost
        return kept

    @contextmanager
    def renewed(self, job: Job) -> Iterator[Report]:
        """Renew the lease beside the block while it runs; it reports progress to what it gets.

        The work need not pause for the store, and a long silent step does not lose the job.
        """
        renewal = _Renewal(self, job)
        self._underway.add(renewal)
        try:
            yield renewal.report
        finally:
            self._underway.discard(renewal)
            renewal.stop()

    def renew(self, job: Job, done: int, of: int) -> None:
        """Prolong the lease and record how many steps are done; `LeaseLost` if it is not ours any
        more, because another attempt has begun or the job was cancelled.
        """
        for _ in range(_COMMIT_TRIES):
            kept = self.current(job)
            advanced = kept.job.advanced(done, of)
            is_news = advanced.progress > kept.job.progress
            told = announcement(advanced, "progress", links=self.links, now_ms=self.clock())
            outbox = told if is_news else ()
            renewed = self._put(advanced, replaces=kept.version, for_ms=self.lease_ms)
            try:
                self.kv.commit(renewed, *outbox)
            except Conflict:  # a sweep, say, has looked at the job: that takes nothing away
                continue
            for delivery in outbox:
                self.dispatcher.delivery(delivery.key)
            return
        raise Unavailable(f"job {job.id} is too contended to renew")

    def hand_over(self) -> None:
        """Give back all that is renewed now, at once: this process is about to be ended.

        The work itself stops at its next report; what it has brought to its end by then counts,
        unless another attempt was faster.
        """
        for renewal in self._underway.copy():
            renewal.stop(is_lost=True, within_s=_LAST_RENEWAL_S)
            self.give_back(renewal.job, is_interrupted=True)

    def give_back(self, job: Job, *, is_interrupted: bool = False) -> None:
        """Let another attempt follow soon; if that cannot be written, when the lease ends.

        After an interruption it may follow at once, and this one does not count.
        """
        try:
            kept = self.current(job)
            given = kept.job.interrupted() if is_interrupted else kept.job
            for_ms = 0 if is_interrupted else _RETRY_MS
            self.kv.commit(self._put(given, replaces=kept.version, for_ms=for_ms))
        except (StoreError, LeaseLost) as error:
            log.warning("job %s: left to the end of its lease: %s", job.id, error)

    def _put(self, job: Job, *, replaces: int, for_ms: int) -> Change:
        # No lease outlives the deadline: work that hangs renews its lease as well as any other.
        until_ms = min(self.clock() + for_ms, deadline_ms(job))
        return next_put(job, replaces=replaces, due=Due(JOBS, until_ms))


def is_held(kept: Kept, *, now_ms: int) -> bool:
    """Whether a worker has the job, by a lease that has not run out."""
    if kept.job.status is not Status.PROCESSING or kept.due is None:
        return False
    return kept.due.queue == JOBS and kept.due.at_ms > now_ms


def deadline_ms(job: Job) -> int:
    """When a job that is not at its end fails, whoever holds its lease."""
    soon_s = scene_of(job).deadline_s
    return job.created_at_ms + (DEADLINE_MS if soon_s is None else soon_s * 1000)


class _Renewal:
    """What the work and whoever renews its lease share."""

    def __init__(self, leases: Leases, job: Job) -> None:
        self.job = job
        self._leases = leases
        self._steps = self._told = (0, 1)
        self._silent_s = 0.0
        self._is_lost = False
        self._third_s = leases.lease_ms / 3000
        self._every_s = min(_PROGRESS_EVERY_S, self._third_s)
        self._stop = leases.ticker(self._tick, every_s=self._every_s, name=f"lease-{job.id}")

    def stop(self, *, is_lost: bool = False, within_s: float | None = None) -> None:
        """Renew no more, and wait for a renewal that is being written."""
        self._is_lost = self._is_lost or is_lost
        self._stop(within_s=within_s)

    def report(self, done: int, of: int) -> None:
        """Called by the work."""
        if self._is_lost:
            raise LeaseLost
        self._steps = (done, of)

    def _tick(self) -> bool:
        """Renew at every news of progress, at most every two seconds, and thrice a lease. Between
        renewals only see whether the job is still ours: one that was cancelled stops at its next
        step, however long this one takes.

        False once there is nothing to renew any more.
        """
        self._silent_s += self._every_s
        steps = self._steps
        try:
            if steps == self._told and self._silent_s < self._third_s:
                self._leases.current(self.job)
            else:
                self._leases.renew(self.job, *steps)
                self._told, self._silent_s = steps, 0.0
        except LeaseLost:
            self._is_lost = True
            return False
        except StoreError as error:
            log.warning("job %s: the lease could not be renewed: %s", self.job.id, error)
        return True
