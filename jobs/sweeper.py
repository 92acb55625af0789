"""The sweeper: finds all that is due and sees to it, so that no hint need arrive."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from billing.autotopup import CHARGES, LOOKS, AutoTopUps
from billing.promotions import PROMOTIONS, expire
from jobs.dispatch import Dispatcher
from jobs.endings import Endings
from jobs.ids import Clock
from jobs.job import Status
from jobs.lease import deadline_ms
from jobs.records import JOBS, RETENTION, STRANDED, Kept, find_job, next_put
from jobs.retention import Retention
from jobs.subject import about_job
from jobs.uploads import UPLOADS_QUEUE, Uploads
from jobs.webhooks import DELIVERIES
from storage.kv import Conflict, Due, Item, Key, KeyValue

log = logging.getLogger(__name__)

MAX_PER_QUEUE = 200
"""What one sweep takes from a queue: it stays short, and the next one goes on."""

MAX_CHARGES = 10
CHARGING_MS = 5_000
"""How many cards one sweep charges, and when it begins with no more of them: each takes seconds,
and when whoever takes the payments hangs, the rest of the sweep must not wait for it."""

DELETING_MS = 15_000
"""When one sweep begins to delete no more files of a queue: of an object store that hangs, each one
takes minutes, and jobs and webhooks wait for the next sweep."""

MAX_ROUNDS = 50

REHINT_MS = 30_000
"""How long after a hint nobody has followed there is another."""


@dataclass(frozen=True)
class Sweeper:
    """One sweep after another, or several at once: each step claims by version.

    A job that waits is hinted at again every `rehint_ms`. In between it is not due: however many
    wait, and for however long, the next sweep goes on where this one ended.
    """

    kv: KeyValue
    dispatcher: Dispatcher
    endings: Endings
    retention: Retention
    uploads: Uploads
    clock: Clock
    rehint_ms: int = REHINT_MS
    auto_topups: AutoTopUps | None = None

    def sweep(self) -> None:
        """Hint at waiting jobs and deliveries, end hopeless jobs, delete what is past its time."""
        self._each(JOBS, self._take_up)
        self._each(STRANDED, self._take_up)
        self._each(DELIVERIES, lambda item: self.dispatcher.delivery(item.key))
        if self.auto_topups is not None:
            self._each(LOOKS, self.auto_topups.look)
            self._each(CHARGES, self.auto_topups.charge, limit=MAX_CHARGES, for_ms=CHARGING_MS)
        self.tidy()

    def tidy_all(self) -> None:
        """Delete what is past its time until nothing is left of it, or for `MAX_ROUNDS`."""
        for _ in range(MAX_ROUNDS):
            if self.tidy() == 0:
                return
        log.warning("more is past its time than %d rounds could delete", MAX_ROUNDS)

    def tidy(self) -> int:
        """Delete some of what is past its time; how much there was of it, up to the limits."""
        promotions = self._each(PROMOTIONS, self._expire)
        files = self._each(RETENTION, self._tidy, for_ms=DELETING_MS)
        uploads = self._each(UPLOADS_QUEUE, self.uploads.forget, for_ms=DELETING_MS)
        return promotions + files + uploads + self.kv.purge(limit=MAX_PER_QUEUE)

    def _expire(self, item: Item) -> None:
        expire(self.kv, item, now_ms=self.clock())

    def _each(
        self,
        queue: str,
        see_to: Callable[[Item], None],
        *,
        limit: int = MAX_PER_QUEUE,
        for_ms: int | None = None,
    ) -> int:
        """See to what is due in a queue, beginning with nothing more after `for_ms`; how much it
        was, what was left included.
        """
        now_ms = self.clock()
        due = self.kv.due(queue, until_ms=now_ms, limit=limit)
        for item in due:
            if for_ms is not None and self.clock() >= now_ms + for_ms:
                break
            with about_job(_job_of(queue, item.key)):
                self._see_to(item, see_to, queue=queue)
        return len(due)

    def _see_to(self, item: Item, see_to: Callable[[Item], None], *, queue: str) -> None:
        try:
            see_to(item)
        except Exception:  # a defect or a broken record must not keep the others waiting
            log.exception("sweep: %s %s stays due", queue, item.key.sort)

    def _take_up(self, item: Item) -> None:
        # Not left to the workers: they may all be busy, hung, or elsewhere.
        kept = find_job(self.kv, UUID(item.key.sort))
        if kept is None or kept.job.status.is_terminal or self.endings.give_up(kept):
            return
        # First the commit: a worker that claims before it has no need of the hint any more.
        if self._is_moved_on(kept):
            self.dispatcher.job(kept.job.id, model=kept.job.works_for)

    def _is_moved_on(self, kept: Kept) -> bool:
        """Have a job that is due looked at again later; False if it is not, or not any more."""
        now_ms = self.clock()
        if kept.due is None or kept.due.at_ms > now_ms:
            return False  # the queue lagged behind
        queue = JOBS if kept.job.status is Status.QUEUED else STRANDED
        due = Due(queue, min(now_ms + self.rehint_ms, deadline_ms(kept.job)))
        try:
            self.kv.commit(next_put(kept.job, replaces=kept.version, due=due))
        except Conflict:  # a worker or another sweep was faster
            return False
        return True

    def _tidy(self, item: Item) -> None:
        kept = find_job(self.kv, UUID(item.key.sort))
        if kept is not None and kept.due is not None and kept.due.queue == RETENTION:
            self.retention.tidy(kept)


def _job_of(queue: str, key: Key) -> str | None:
    """The job that an item of a queue is about, or None."""
    if queue == DELIVERIES:
        return key.partition.partition("#")[2]
    return key.sort if queue in (JOBS, STRANDED, RETENTION) else None
