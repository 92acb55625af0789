"""Retention: sources go at the end of their jobs, results on day 90, and twice is quiet."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pytest

from billing.keys import Caller
from inference.errors import CorruptImage
from jobs.job import Job
from jobs.lease import Report
from jobs.records import find_job
from jobs.retention import RESULT_KEPT_MS, SECOND_LOOK_MS, is_expired, result_expires_at_ms
from storage.objects import DirectUpload, Objects, ObjectsError, Stored
from tests.jobs.machine import Machine, files_in
from tests.running import LEASE_MS, Clock

DAY_MS = 24 * 60 * 60 * 1000


@dataclass
class Unsteady:
    """An object store that is down for as long as a test wants."""

    objects: Objects
    is_down: bool = False

    def put(self, name: str, data: bytes | BinaryIO, *, content_type: str) -> None:
        self._up().put(name, data, content_type=content_type)

    def put_if_absent(self, name: str, data: bytes | BinaryIO, *, content_type: str) -> bool:
        return self._up().put_if_absent(name, data, content_type=content_type)

    def get(self, name: str) -> Stored | None:
        return self._up().get(name)

    def size_bytes(self, name: str) -> int | None:
        return self._up().size_bytes(name)

    def upload_url(
        self, name: str, *, content_type: str, size_bytes: int, expires_in_s: int
    ) -> DirectUpload | None:
        raise NotImplementedError

    def url(self, name: str, *, expires_in_s: int) -> str | None:
        return self._up().url(name, expires_in_s=expires_in_s)

    def delete(self, name: str) -> None:
        self._up().delete(name)

    def _up(self) -> Objects:
        if self.is_down:
            raise ObjectsError("the object store is down")
        return self.objects


@pytest.fixture
def job(machine: Machine, caller: Caller) -> Job:
    job = machine.submit(caller)
    machine.work(job.id)
    return machine.job(job.id)


def result_of(job: Job) -> str:
    assert job.result is not None
    return job.result.object_name


def test_the_source_goes_when_the_job_has_ended(machine: Machine, job: Job, tmp_path: Path) -> None:
    assert files_in(tmp_path) == {job.source.object_name, result_of(job)}
    machine.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    assert machine.looked_at_ms(job.id) == result_expires_at_ms(job)


def test_the_source_of_an_unfinished_job_stays(
    machine: Machine, caller: Caller, clock: Clock, tmp_path: Path
) -> None:
    waiting = machine.submit(caller)
    clock.advance(seconds=1800)
    machine.sweep()
    assert files_in(tmp_path) == {waiting.source.object_name}


def test_a_result_goes_at_exactly_90_days(
    machine: Machine, job: Job, clock: Clock, tmp_path: Path
) -> None:
    machine.sweep()
    clock.now_ms += 90 * DAY_MS - 1
    machine.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    assert not is_expired(machine.job(job.id), now_ms=clock())
    clock.now_ms += 1
    assert is_expired(machine.job(job.id), now_ms=clock())
    machine.sweep()
    assert files_in(tmp_path) == set()
    assert machine.looked_at_ms(job.id) is None
    assert machine.job(job.id) == job


def test_a_sweep_that_comes_late_tidies_all_at_once(
    machine: Machine, job: Job, clock: Clock, tmp_path: Path
) -> None:
    clock.now_ms += 91 * DAY_MS
    machine.sweep()
    assert files_in(tmp_path) == set()
    assert machine.looked_at_ms(job.id) is None


def test_tidying_twice_is_quiet(machine: Machine, job: Job, clock: Clock) -> None:
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    machine.retention.tidy(kept)
    due_ms = machine.looked_at_ms(job.id)
    machine.retention.tidy(kept)
    assert machine.looked_at_ms(job.id) == due_ms
    clock.now_ms += RESULT_KEPT_MS
    for _ in range(2):
        again = find_job(machine.kv, job.id)
        assert again is not None
        machine.retention.tidy(again)
    assert machine.job(job.id) == job


def test_files_that_cannot_be_deleted_are_tried_again(
    machine: Machine, job: Job, clock: Clock, tmp_path: Path
) -> None:
    unsteady = Unsteady(machine.objects, is_down=True)
    shaken = replace(machine, objects=unsteady)
    shaken.sweep()
    assert job.source.object_name in files_in(tmp_path)
    unsteady.is_down = False
    shaken.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    clock.now_ms += RESULT_KEPT_MS
    unsteady.is_down = True
    shaken.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    unsteady.is_down = False
    shaken.sweep()
    assert files_in(tmp_path) == set()


def test_a_failed_job_leaves_nothing_not_even_what_a_dead_attempt_kept(
    machine: Machine, caller: Caller, clock: Clock, tmp_path: Path
) -> None:
    def dislike(_: Report) -> None:
        raise CorruptImage

    machine.engine.does = dislike
    job = machine.submit(caller)
    machine.objects.put(f"images/{job.id}-1.png", b"from before", content_type="image/png")
    machine.work(job.id)
    machine.sweep()
    assert files_in(tmp_path) == set()
    # A worker that hangs may keep a file yet: there is a second look, and then no more.
    machine.objects.put(f"images/{job.id}-1.png", b"from after", content_type="image/png")
    clock.advance(seconds=SECOND_LOOK_MS / 1000)
    machine.sweep()
    assert files_in(tmp_path) == set()
    assert machine.looked_at_ms(job.id) is None
    clock.now_ms += LEASE_MS
    assert not is_expired(machine.job(job.id), now_ms=clock() + 100 * DAY_MS)


def test_the_90_days_begin_at_the_end(machine: Machine, caller: Caller, clock: Clock) -> None:
    job = machine.submit(caller)
    clock.advance(seconds=600)
    machine.work(job.id)
    ended = machine.job(job.id)
    assert result_expires_at_ms(ended) == job.created_at_ms + 600_000 + 90 * DAY_MS
