"""Orphans: what a process that was killed has left in a folder of objects, and nobody knows of.

A source is stored before its job is: whoever is killed in between leaves a file that no record
names. A bucket's lifecycle rule sees to that; a folder has none, so it is looked through.
"""

import logging
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jobs.ids import Clock, made_at_ms
from jobs.links import RESULTS, SOURCES, UPLOADS, job_of_source
from jobs.records import find_job
from storage.kv import KeyValue

log = logging.getLogger(__name__)

ORPHAN_AFTER_MS = 2 * 60 * 60 * 1000
"""No submission takes so long: a source that old without a job will never have one."""

MAX_LOOKED_AT = 1000
"""How many sources one look sees to, the oldest first."""


@runtime_checkable
class Listed(Protocol):
    """An object store that can be looked through. Both may raise `ObjectsError`."""

    def names(self, folder: str, *, limit: int) -> list[str]:
        """The first `limit` names of the objects that are in a folder itself, in their order."""

    def delete_unfinished(self, folder: str, *, before_ms: int) -> int:
        """Remove what killed writers have left in a folder until then; how much it was."""

    def delete(self, name: str) -> None:
        """Remove the object; quiet if there is none."""


@dataclass(frozen=True)
class Orphans:
    """Deletes them. Several may look at once, and twice is quiet."""

    kv: KeyValue
    objects: Listed
    clock: Clock

    def delete(self) -> int:
        """Delete the sources that no job names, and what was never written to its end; how many."""
        before_ms = self.clock() - ORPHAN_AFTER_MS
        count = 0
        for folder in (SOURCES, RESULTS, UPLOADS):
            count += self.objects.delete_unfinished(folder, before_ms=before_ms)
        for name in self.objects.names(SOURCES, limit=MAX_LOOKED_AT):
            job_id = job_of_source(name)
            if job_id is None:
                continue
            if made_at_ms(job_id) >= before_ms:
                break  # the names begin with their time: all others are younger
            if find_job(self.kv, job_id) is None:
                self.objects.delete(name)
                count += 1
        if count:
            log.info("deleted %d files that were left by processes that were killed", count)
        return count
