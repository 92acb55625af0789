"""Metrics: what the service counts, and where the counts are kept.

Containers come and go, so totals live in the store: integers in the counters of `SHARDS` items,
each write to one of them at random, all of them added up by who reads.

    metrics, <shard>    every counter's share, named `<counter>/<label>/…`

To count something more, name it in `Counted` and call `Metrics.count`; to show it, give it a
family in `handlers.metrics`. What is a state and no total (a gauge) is not kept here: it is read
where it lies when somebody asks, as `Metrics.unfinished` does.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from jobs.ids import Clock
from jobs.job import Job, Status
from jobs.lease import DEADLINE_MS
from jobs.records import JOBS, STRANDED
from storage.kv import MAX_PAGE, Add, Conflict, Key, KeyValue, Put, Unavailable

log = logging.getLogger(__name__)

SHARDS = 16
MAX_LOOKED_AT = MAX_PAGE
"""How many unfinished jobs of a queue are looked at, those that are due first."""

WAIT_BOUNDS_MS = (500, 2_000, 10_000, 60_000, 300_000, 1_800_000, 3_600_000)
"""Up to which waits are counted together; those that are longer have a count of their own."""

LONGER = "longer"
UNFINISHED = (Status.QUEUED, Status.PROCESSING)

_PARTITION = "metrics"
_COMMIT_TRIES = 3


class Counted(StrEnum):
    """What is counted, and by which labels."""

    JOBS_ENDED = "jobs_ended"
    """Jobs, by model and status. Those of the sandbox have `SANDBOX` for a model."""

    QUEUE_WAITS = "queue_waits"
    """Ended jobs, by the first of `WAIT_BOUNDS_MS` that their wait is not above, or `LONGER`."""

    QUEUE_WAIT_MS = "queue_wait_ms"
    """Their waits together."""

    ENGINE_MS = "engine_ms"
    """What the engine worked, in vain or not, by model."""

    WEBHOOK_ATTEMPTS = "webhook_attempts"
    """Attempts to deliver a webhook, by `Attempt`."""


class Attempt(StrEnum):
    """How an attempt to deliver a webhook went."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    GONE = "gone"


class Total(NamedTuple):
    """One counter: what it counts, and the values of the labels. No value has a slash."""

    counted: Counted
    labels: tuple[str, ...] = ()


class Unfinished(NamedTuple):
    """The unfinished live jobs among the `MAX_LOOKED_AT` of each queue that are due first.

    `oldest_ms` is the age of the oldest one that no worker has taken yet; 0 if there is none.
    """

    by_status: Mapping[Status, int]
    oldest_ms: int


def any_shard() -> int:
    """An item at random."""
    return secrets.randbelow(SHARDS)


@dataclass(frozen=True)
class Metrics:
    """Counts, after the fact and at most once: a count that cannot be written is logged and lost.

    Each call that counts is one commit of its own, of one item, so that what is counted neither
    waits for the counting nor fails with it. `shard` chooses the item, from 0 to `SHARDS` - 1.
    """

    kv: KeyValue
    clock: Clock
    shard: Callable[[], int] = any_shard

    def job_ended(self, job: Job, *, engine_ms: int) -> None:
        """A job was brought to its end; its last attempt had the engine work that long.

        A job that no worker ever took has waited to its end. In the sandbox waits are no matter.
        """
        if job.is_sandbox:
            ended = Total(Counted.JOBS_ENDED, (job.works_for, job.status.value))
            self.count({ended: 1})
            return
        ended_ms = job.ended_at_ms or self.clock()
        wait_ms = max((job.started_at_ms or ended_ms) - job.created_at_ms, 0)
        self.count(
            {
                Total(Counted.JOBS_ENDED, (job.params.model, job.status.value)): 1,
                Total(Counted.QUEUE_WAITS, (_bound(wait_ms),)): 1,
                Total(Counted.QUEUE_WAIT_MS): wait_ms,
                Total(Counted.ENGINE_MS, (job.params.model,)): engine_ms,
            }
        )

    def engine_worked(self, job: Job, *, engine_ms: int) -> None:
        """An attempt that did not end its job had the engine work that long."""
        if not job.is_sandbox:
            self.count({Total(Counted.ENGINE_MS, (job.params.model,)): engine_ms})

    def webhook_attempted(self, attempt: Attempt) -> None:
        """An attempt to deliver a webhook was made."""
        self.count({Total(Counted.WEBHOOK_ATTEMPTS, (attempt.value,)): 1})

    def count(self, amounts: Mapping[Total, int]) -> None:
        """Add to totals, all in one commit; never raises an `Exception`."""
        named = {"/".join(total): amount for total, amount in _flat(amounts) if amount}
        if not named:
            return
        try:
            self._commit(named)
        except Exception as error:  # the work that is counted is done, whatever becomes of this
            log.warning("metrics: %s not counted: %s: %s", named, type(error).__name__, error)

    def totals(self) -> Mapping[Total, int]:
        """Everything that was counted. Raises what the store raises."""
        sums: Counter[str] = Counter()
        for item in self.kv.query(_PARTITION, limit=SHARDS):
            sums.update(item.counters)
        known = set(Counted)  # beside this release another may count what it does not know
        parts = {name: name.split("/") for name in sums}
        return {
            Total(Counted(first), tuple(labels)): sums[name]
            for name, (first, *labels) in parts.items()
            if first in known
        }

    def unfinished(self) -> Unfinished:
        """The jobs that wait or are worked on. Raises what the store raises."""
        now_ms = self.clock()
        # Nothing is due later than a whole deadline from now, whoever holds it.
        until_ms = now_ms + DEADLINE_MS
        items = [
            item
            for queue in (JOBS, STRANDED)
            for item in self.kv.due(queue, until_ms=until_ms, limit=MAX_LOOKED_AT)
            if not item.value.get("is_sandbox", False)
        ]
        statuses = Counter(item.value.get("status") for item in items)
        waiting_since_ms = [
            item.value.get("created_at_ms", now_ms)
            for item in items
            if item.value.get("status") == Status.QUEUED.value
        ]
        return Unfinished(
            by_status={status: statuses[status.value] for status in UNFINISHED},
            oldest_ms=max(now_ms - min(waiting_since_ms, default=now_ms), 0),
        )

    def _commit(self, named: Mapping[str, int]) -> None:
        key = Key(_PARTITION, f"{self.shard():02}")
        for _ in range(_COMMIT_TRIES):
            try:
                self.kv.commit(Add(key, named))
                return
            except Conflict:  # there is no such item yet
                try:
                    self.kv.commit(Put(key, {}, counters=named))
                    return
                except Conflict:  # now there is
                    continue
        raise Unavailable("too contended")


def _flat(amounts: Mapping[Total, int]) -> list[tuple[tuple[str, ...], int]]:
    return [((total.counted.value, *total.labels), n) for total, n in amounts.items()]


def _bound(wait_ms: int) -> str:
    return next((str(bound) for bound in WAIT_BOUNDS_MS if wait_ms <= bound), LONGER)
