"""Orphans: what a killed process left is found and deleted, and nothing that anybody has."""

import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from billing.keys import Caller
from jobs.ids import new_job_id
from jobs.links import source_name
from jobs.orphans import MAX_LOOKED_AT, ORPHAN_AFTER_MS, Listed, Orphans
from storage.addresses import S3Address
from storage.s3 import S3Objects
from tests.jobs.machine import PICTURE, Crash, Machine, files_in
from tests.running import Clock
from tests.watched import WatchedStore


@pytest.fixture
def orphans(machine: Machine) -> Orphans:
    found = machine.services.orphans
    assert found is not None
    return found


def source_of(machine: Machine, job_id: UUID) -> str:
    """A source that was stored for that job."""
    name = source_name(job_id, "png")
    machine.objects.put(name, PICTURE, content_type="image/png")
    return name


def test_the_source_of_a_submission_that_was_killed_before_its_commit_goes(
    machine: Machine, caller: Caller, clock: Clock, orphans: Orphans, tmp_path: Path
) -> None:
    def die(call: int) -> None:
        if call == 1:  # the commit
            raise Crash

    with pytest.raises(Crash):
        replace(machine, kv=WatchedStore(machine.kv, before=die)).submit(caller)
    assert len(files_in(tmp_path)) == 1
    machine.sweep()
    assert orphans.delete() == 0  # it may be that the job is still to come
    assert len(files_in(tmp_path)) == 1
    clock.now_ms += ORPHAN_AFTER_MS + 1
    assert orphans.delete() == 1
    assert orphans.delete() == 0
    assert files_in(tmp_path) == set()


def test_what_a_job_has_stays_however_old_it_is(
    machine: Machine, caller: Caller, clock: Clock, orphans: Orphans, tmp_path: Path
) -> None:
    waiting, done = machine.submit(caller), machine.submit(caller)
    machine.work(done.id)
    machine.services.uploads.receive(caller.account_id, PICTURE)
    before = files_in(tmp_path)
    clock.now_ms += 2 * ORPHAN_AFTER_MS
    assert orphans.delete() == 0
    assert files_in(tmp_path) == before
    assert waiting.source.object_name in before


def test_what_no_job_of_ours_could_have_stays(
    machine: Machine, orphans: Orphans, tmp_path: Path
) -> None:
    machine.objects.put("sources/readme.png", PICTURE, content_type="image/png")
    assert orphans.delete() == 0
    assert files_in(tmp_path) == {"sources/readme.png"}


def test_what_was_never_written_to_its_end_goes_once_nobody_can_be_at_it(
    machine: Machine, caller: Caller, clock: Clock, orphans: Orphans, tmp_path: Path
) -> None:
    machine.submit(caller)
    folder = tmp_path / "objects" / "sources"
    left, underway = folder / ".left", folder / ".underway"
    for path, age_ms in ((left, ORPHAN_AFTER_MS + 1000), (underway, 0)):
        path.write_bytes(b"half a pict")
        os.utime(path, times=((clock() - age_ms) / 1000,) * 2)
    assert orphans.delete() == 1
    assert (left.exists(), underway.exists()) == (False, True)


def test_a_look_is_bounded_and_the_next_one_goes_on(
    clock: Clock, orphans: Orphans, tmp_path: Path
) -> None:
    folder = tmp_path / "objects" / "sources"
    folder.mkdir(parents=True)
    for _ in range(MAX_LOOKED_AT + 1):
        (tmp_path / "objects" / source_name(new_job_id(clock()), "png")).touch()
    clock.now_ms += ORPHAN_AFTER_MS + 1
    assert [orphans.delete() for _ in range(3)] == [MAX_LOOKED_AT, 1, 0]


def test_a_bucket_has_its_own_rule_for_that() -> None:
    assert not isinstance(S3Objects(S3Address("bucket", "files", region="eu-central-1")), Listed)
