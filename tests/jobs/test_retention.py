"""Retention: sources go at the end of their jobs, results on day 90, and twice is quiet."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from billing import ledger
from billing.keys import Caller
from inference.errors import CorruptImage
from jobs.errors import RetentionTooLong
from jobs.job import Job
from jobs.lease import Report, deadline_ms
from jobs.records import RETENTION, find_job
from jobs.retention import (
    DAY_MS,
    HOUR_MS,
    RECORD_KEPT_MS,
    RETRY_MS,
    SECOND_LOOK_MS,
    is_expired,
    result_expires_at_ms,
)
from jobs.webhooks import delivery_key
from storage.kv import MAX_CHANGES, Key, Put
from storage.objects import DirectUpload, Objects, ObjectsError, Stored
from tests.jobs.machine import Crash, Machine, files_in, told_at
from tests.running import LEASE_MS, Clock, Origin
from tests.watched import WatchedStore

KEPT_MS = 90 * DAY_MS


@dataclass
class Unsteady:
    """An object store that is down for as long as a test wants."""

    objects: Objects
    is_down: bool = False
    stuck: frozenset[str] = frozenset()

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
        if name in self.stuck:
            raise ObjectsError("this one cannot be deleted")
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


def ended_ms(job: Job) -> int:
    assert job.ended_at_ms is not None
    return job.ended_at_ms


def worked_on(machine: Machine, caller: Caller, **changes: Any) -> Job:
    job = machine.submit(caller, **changes)
    machine.work(job.id)
    return machine.job(job.id)


def fetch(machine: Machine, job: Job) -> None:
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    machine.retention.note_fetched(kept)


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
    assert machine.looked_at_ms(job.id) == ended_ms(job) + RECORD_KEPT_MS
    assert machine.job(job.id) == job


def test_a_sweep_that_comes_late_tidies_all_at_once(
    machine: Machine, job: Job, clock: Clock, tmp_path: Path
) -> None:
    clock.now_ms += 91 * DAY_MS
    machine.sweep()
    assert files_in(tmp_path) == set()
    assert machine.looked_at_ms(job.id) == ended_ms(job) + RECORD_KEPT_MS


def test_tidying_twice_is_quiet(machine: Machine, job: Job, clock: Clock) -> None:
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    machine.retention.tidy(kept)
    due_ms = machine.looked_at_ms(job.id)
    machine.retention.tidy(kept)
    assert machine.looked_at_ms(job.id) == due_ms
    clock.now_ms += KEPT_MS
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
    clock.now_ms += RETRY_MS
    shaken.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    clock.now_ms += KEPT_MS
    unsteady.is_down = True
    shaken.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    unsteady.is_down = False
    clock.now_ms += RETRY_MS
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
    assert machine.looked_at_ms(job.id) == ended_ms(machine.job(job.id)) + RECORD_KEPT_MS
    clock.now_ms += LEASE_MS
    assert not is_expired(machine.job(job.id), now_ms=clock() + 100 * DAY_MS)


def test_the_90_days_begin_at_the_end(machine: Machine, caller: Caller, clock: Clock) -> None:
    job = machine.submit(caller)
    clock.advance(seconds=600)
    machine.work(job.id)
    ended = machine.job(job.id)
    assert result_expires_at_ms(ended) == job.created_at_ms + 600_000 + 90 * DAY_MS


def cancelled(machine: Machine, job: Job) -> None:
    machine.services.cancellations.cancel(job.account_id, job.id)


def disliked(machine: Machine, job: Job) -> None:
    def dislike(_: Report) -> None:
        raise CorruptImage

    machine.engine.does = dislike
    machine.work(job.id)


def given_up(machine: Machine, job: Job) -> None:
    machine.clock.now_ms = deadline_ms(job)
    machine.sweep()


def completed(machine: Machine, job: Job) -> None:
    machine.work(job.id)


@pytest.mark.parametrize("ends", [completed, disliked, cancelled, given_up])
def test_the_source_goes_however_the_job_has_ended(
    machine: Machine, caller: Caller, ends: Callable[[Machine, Job], None]
) -> None:
    job = machine.submit(caller)
    ends(machine, job)
    assert machine.job(job.id).status.is_terminal
    machine.sweep()
    assert machine.objects.size_bytes(job.source.object_name) is None


def test_a_request_may_have_its_result_kept_for_fewer_days(
    machine: Machine, caller: Caller, clock: Clock, tmp_path: Path
) -> None:
    job = worked_on(machine, caller, retention_days=7)
    machine.sweep()
    clock.now_ms += 7 * DAY_MS - 1
    assert not is_expired(job, now_ms=clock())
    clock.now_ms += 1
    assert is_expired(job, now_ms=clock())
    machine.sweep()
    assert files_in(tmp_path) == set()


def test_the_setting_holds_where_the_request_says_nothing(machine: Machine, caller: Caller) -> None:
    job = worked_on(replace(machine, retention_days=30), caller)
    assert result_expires_at_ms(job) == ended_ms(job) + 30 * DAY_MS


@pytest.mark.parametrize("days", [-1, 31, 90, 1000])
def test_no_request_has_its_result_kept_longer_than_the_setting_says(
    machine: Machine, caller: Caller, origin: Origin, days: int
) -> None:
    with pytest.raises(RetentionTooLong, match="from 0 to 30 days"):
        replace(machine, retention_days=30).submit(
            caller, source_url=f"{origin.url}/photo.png", retention_days=days
        )
    assert machine.jobs(caller.account_id) == []
    assert origin.requests == []


def test_another_setting_changes_nothing_for_the_jobs_that_there_are(
    machine: Machine, caller: Caller
) -> None:
    job = machine.submit(caller)
    later = replace(machine, retention_days=1)
    later.work(job.id)
    assert result_expires_at_ms(machine.job(job.id)) == ended_ms(machine.job(job.id)) + KEPT_MS


def test_a_record_of_an_older_release_has_its_90_days(job: Job) -> None:
    value = job.model_dump(mode="json")
    del value["retention_days"]
    assert Job.model_validate(value).retention_days == 90


def test_a_result_that_is_kept_no_day_goes_an_hour_after_it_was_fetched(
    machine: Machine, caller: Caller, clock: Clock, tmp_path: Path
) -> None:
    job = worked_on(machine, caller, retention_days=0)
    machine.sweep()
    clock.now_ms += 3 * HOUR_MS
    fetch(machine, job)
    clock.now_ms += HOUR_MS - 1
    machine.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    clock.now_ms += 1
    assert is_expired(machine.job(job.id), now_ms=clock())
    machine.sweep()
    assert files_in(tmp_path) == set()


def test_the_hour_begins_with_the_first_fetch(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    job = worked_on(machine, caller, retention_days=0)
    fetch(machine, job)
    first_ms = result_expires_at_ms(machine.job(job.id))
    clock.now_ms += HOUR_MS - 1
    fetch(machine, job)
    assert result_expires_at_ms(machine.job(job.id)) == first_ms == clock() + 1


def test_a_result_that_is_kept_no_day_goes_an_hour_after_its_webhook_was_delivered(
    machine: Machine, caller: Caller, clock: Clock, origin: Origin, tmp_path: Path
) -> None:
    hook = told_at(f"{origin.url}/hook")
    job = worked_on(machine, caller, retention_days=0, webhook=hook)
    machine.deliver()
    assert machine.job(job.id).webhook_status == "delivered"
    assert machine.looked_at_ms(job.id) == clock() + HOUR_MS
    clock.now_ms += HOUR_MS
    machine.sweep()
    assert files_in(tmp_path) == set()


def test_a_webhook_that_was_refused_begins_no_hour(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    origin.answers = [410]
    hook = told_at(f"{origin.url}/hook")
    job = worked_on(machine, caller, retention_days=0, webhook=hook)
    machine.deliver()
    assert machine.job(job.id).webhook_status == "failed"
    assert result_expires_at_ms(machine.job(job.id)) == ended_ms(job) + DAY_MS


def test_a_result_that_is_kept_no_day_and_that_nobody_comes_for_goes_after_one(
    machine: Machine, caller: Caller, clock: Clock, tmp_path: Path
) -> None:
    job = worked_on(machine, caller, retention_days=0)
    machine.sweep()
    clock.now_ms += DAY_MS - 1
    machine.sweep()
    assert files_in(tmp_path) == {result_of(job)}
    clock.now_ms += 1
    fetch(machine, job)  # too late: it changes nothing
    machine.sweep()
    assert files_in(tmp_path) == set()


def test_fetching_what_is_kept_for_days_is_not_written_down(machine: Machine, job: Job) -> None:
    watched = WatchedStore(machine.kv)
    fetch(replace(machine, kv=watched), job)
    assert watched.calls == 2  # the job was read, by its pointer


def test_two_who_fetch_at_once_begin_one_hour(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    job = worked_on(machine, caller, retention_days=0)

    def fetched_meanwhile(call: int) -> None:
        if call == 2:  # the job was read; the commit is next
            fetch(machine, job)
            clock.now_ms += 5

    fetch(replace(machine, kv=WatchedStore(machine.kv, before=fetched_meanwhile)), job)
    assert machine.job(job.id).handed_over_at_ms == clock() - 5


def test_the_record_goes_after_400_days_and_the_entries_stay(
    machine: Machine, caller: Caller, clock: Clock, origin: Origin
) -> None:
    job = worked_on(machine, caller, webhook=told_at(f"{origin.url}/hook"))
    machine.deliver()
    clock.now_ms = ended_ms(job) + RECORD_KEPT_MS - 1
    machine.sweep()
    assert machine.jobs(caller.account_id) == [machine.job(job.id)]
    clock.now_ms += 1
    machine.sweep()
    assert machine.jobs(caller.account_id) == []
    assert machine.kv.get(Key(f"job#{job.id}", "account")) is None
    assert machine.outbox(job.id) == {}
    names = dict(ledger.entries(machine.kv, caller.account_id))
    assert names.keys() >= {f"hold:{job.id}", f"settle:{job.id}"}
    assert machine.contradictions() == []


def test_deliveries_that_are_still_there_go_with_the_record_however_many(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    job = worked_on(machine, caller)
    clock.now_ms = ended_ms(job) + RECORD_KEPT_MS
    for number in range(2 * MAX_CHANGES + 1):
        machine.kv.commit(Put(delivery_key(job.id, f"{number:03}"), {}))
    machine.sweep()
    assert machine.outbox(job.id) == {}
    assert find_job(machine.kv, job.id) is None


def test_forgetting_twice_is_quiet(
    machine: Machine, job: Job, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    clock.now_ms += RECORD_KEPT_MS
    for _ in range(2):
        machine.retention.tidy(kept)
    machine.sweep()
    assert find_job(machine.kv, job.id) is None
    assert caplog.messages == []


def test_the_files_go_before_the_record(
    machine: Machine, job: Job, clock: Clock, tmp_path: Path
) -> None:
    unsteady = Unsteady(machine.objects, is_down=True)
    clock.now_ms += RECORD_KEPT_MS
    replace(machine, objects=unsteady).sweep()
    assert find_job(machine.kv, job.id) is not None
    clock.now_ms += RETRY_MS
    machine.sweep()
    assert find_job(machine.kv, job.id) is None
    assert files_in(tmp_path) == set()


def test_a_crash_at_any_call_of_forgetting_is_made_good_by_the_next_sweep(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    jobs = [worked_on(machine, caller) for _ in range(2)]
    clock.now_ms += RECORD_KEPT_MS
    for at in range(40):

        def die(call: int, at: int = at) -> None:
            if call == at:
                raise Crash

        with suppress(Crash):
            replace(machine, kv=WatchedStore(machine.kv, after=die)).sweep()
        assert machine.contradictions() == []
    assert [find_job(machine.kv, job.id) for job in jobs] == [None, None]


def test_what_cannot_be_deleted_makes_way_for_the_others(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    stuck = [worked_on(machine, caller) for _ in range(3)]
    broken = Unsteady(machine.objects, stuck=frozenset(job.source.object_name for job in stuck))
    shaken = replace(machine, objects=broken)
    shaken.sweep()
    clock.now_ms += 1
    last = worked_on(machine, caller)
    due = machine.kv.due(RETENTION, until_ms=clock(), limit=1)
    assert [item.key.sort for item in due] == [str(last.id)]
