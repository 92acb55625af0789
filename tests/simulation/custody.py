"""Custody: while a worker's lease of a job runs, nobody else ends the job or gives it away."""

from collections.abc import Mapping
from typing import Any

from jobs.job import Status
from jobs.records import JOBS
from storage.kv import Change, Item, KeyValue, Put


class Custody:
    """Looks at every commit of every process, by the rules of leases and not by their code."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._holders: dict[str, object] = {}

    def commit(
        self, kv: KeyValue, changes: tuple[Change, ...], *, who: object, now_ms: int
    ) -> None:
        """Commit for `who`, and note what it does to jobs."""
        jobs = [each for each in changes if isinstance(each, Put) and _is_job(each)]
        before = [kv.get(put.key) for put in jobs]
        kv.commit(*changes)
        for put, item in zip(jobs, before, strict=True):
            if item is not None:
                self._note(put, item, who=who, now_ms=now_ms)

    def _note(self, put: Put, item: Item, *, who: object, now_ms: int) -> None:
        job = put.key.sort
        status, is_holder = _status(put.value), self._holders.get(job) is who
        if _is_held(item, now_ms=now_ms) and status is not Status.CANCELLED and not is_holder:
            self.broken.append(f"job {job} became {status} by another than who has its lease")
        if put.value["attempt"] > item.value["attempt"]:
            self._holders[job] = who


def _is_job(put: Put) -> bool:
    return put.key.partition.startswith("jobs#")


def _is_held(item: Item, *, now_ms: int) -> bool:
    if _status(item.value) is not Status.PROCESSING or item.due is None:
        return False
    return item.due.queue == JOBS and item.due.at_ms > now_ms


def _status(value: Mapping[str, Any]) -> Status:
    return Status(value["status"])
