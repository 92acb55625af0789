"""The queue as its customers see it: how many jobs wait ahead of one."""

import logging
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from jobs.ids import Clock
from jobs.job import SANDBOX, Job, Status
from jobs.lease import DEADLINE_MS
from jobs.records import JOBS
from storage.kv import KeyValue, StoreError

log = logging.getLogger(__name__)

MAX_LOOKED_AT = 500
"""In a queue that is longer, nobody's place is known: to find it would cost too many reads."""

KEPT_S = 2.0
"""How long a look at the queue is believed."""

Lines = Mapping[str | None, Sequence[str]]
"""The ids of the jobs that wait, oldest first, by the device that works on them."""


class QueuePositions:
    """Tells places in the queue, for a whole process by one look every `KEPT_S` at most.

    Jobs that `works_on` says are worked on by the same device wait in one line, those of the
    sandbox in one of their own.
    """

    def __init__(
        self,
        kv: KeyValue,
        *,
        works_on: Callable[[str], str | None],
        clock: Clock,
        seconds: Callable[[], float],
    ) -> None:
        self._kv = kv
        self._works_on = works_on
        self._clock = clock
        self._seconds = seconds
        self._lines: Lines | None = None
        self._looked_at_s: float | None = None
        self._looking = threading.Lock()

    def of(self, job: Job) -> int | None:
        """The place of a job that waits, 1 for the next; None if too many do to tell, or the queue
        cannot be read."""
        with self._looking:
            lines = self._lines_now()
        if lines is None:
            return None
        line = lines.get(self._line(job.params.model, is_sandbox=job.is_sandbox), ())
        return bisect_left(line, str(job.id)) + 1  # the queue may lag and not have the job itself

    def _lines_now(self) -> Lines | None:
        now_s = self._seconds()
        if self._looked_at_s is None or now_s - self._looked_at_s >= KEPT_S:
            try:
                self._lines = self._look()
            except StoreError as error:  # one waits for a store that hangs, and the others do not
                log.warning("places in the queue are not known: %s", error)
                self._lines = None
            self._looked_at_s = self._seconds()
        return self._lines

    def _look(self) -> Lines | None:
        # Jobs put off their `due` again and again, but never beyond their deadline.
        until_ms = self._clock() + DEADLINE_MS
        items = self._kv.due(JOBS, until_ms=until_ms, limit=MAX_LOOKED_AT)
        if len(items) == MAX_LOOKED_AT:
            return None
        lines: defaultdict[str | None, list[str]] = defaultdict(list)
        for item in items:
            if item.value["status"] == Status.QUEUED:
                model, is_sandbox = item.value["params"]["model"], item.value.get("is_sandbox")
                lines[self._line(model, is_sandbox=bool(is_sandbox))].append(item.key.sort)
        for line in lines.values():
            line.sort()  # ids begin with their time
        return lines

    def _line(self, model: str, *, is_sandbox: bool) -> str | None:
        return SANDBOX if is_sandbox else self._works_on(model)
