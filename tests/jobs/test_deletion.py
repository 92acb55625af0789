"""Deletion: a customer's word empties a job at once, and no failure on the way leaves it half."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from billing import ledger
from billing.keys import Caller
from inference.params import CreativeParams, UpscaleParams
from jobs.deletion import MAX_DELETIONS
from jobs.errors import IllegalTransition, JobForeign, JobUnknown
from jobs.job import Job, Status
from jobs.records import find_job
from jobs.retention import DAY_MS, RECORD_KEPT_MS, RETRY_MS, SECOND_LOOK_MS, is_expired
from storage.kv import StoreError, Unavailable, Unknown
from tests.jobs.machine import PARAMS, Crash, Machine, files_in, told_at
from tests.jobs.test_retention import Unsteady
from tests.running import Clock, Origin
from tests.watched import WatchedStore

PROMPT = "a lighthouse in the fog"


def delete(machine: Machine, job: Job) -> None:
    machine.services.deletions.delete(job.account_id, job.id)


@pytest.fixture
def done(machine: Machine, caller: Caller) -> Job:
    job = machine.submit(caller)
    machine.work(job.id)
    return machine.job(job.id)


def test_a_deleted_job_has_no_files_and_nothing_of_what_was_said(
    machine: Machine, caller: Caller, origin: Origin, tmp_path: Path
) -> None:
    said = {"image": "https://customer.test/secret.png", "seed": 7}
    job = machine.submit(caller, said=said, webhook=told_at(f"{origin.url}/hook"))
    machine.work(job.id)
    delete(machine, job)
    left = machine.job(job.id)
    assert files_in(tmp_path) == set()
    assert (left.said, left.webhook, left.source.sha256) == ({}, None, "")
    item = machine.kv.get(next(iter(machine.kv.query(f"jobs#{caller.account_id}"))).key)
    assert item is not None
    assert "secret" not in str(item.value)
    assert origin.url not in str(item.value)


def test_a_deleted_jobs_prompts_are_gone_and_its_other_params_stay(done: Job) -> None:
    creative = CreativeParams(
        prompt=PROMPT, negative_prompt="rain", creativity=0.3, resemblance=1, dynamic=6, steps=18,
        sharpen=0, seed=1,
    )  # fmt: skip
    params: UpscaleParams = PARAMS.model_copy(update={"creative": creative})
    left = done.model_copy(update={"params": params}).deleted(now_ms=1).params
    assert left.creative is not None
    assert (left.creative.prompt, left.creative.negative_prompt) == ("", "")
    assert (left.factor, left.creative.steps) == (params.factor, 18)


def test_price_status_times_and_ledger_stay(machine: Machine, caller: Caller, done: Job) -> None:
    entries = dict(ledger.entries(machine.kv, caller.account_id))
    delete(machine, done)
    left = machine.job(done.id)
    assert (left.price_credits, left.status) == (done.price_credits, Status.COMPLETED)
    assert (left.created_at_ms, left.ended_at_ms) == (done.created_at_ms, done.ended_at_ms)
    assert dict(ledger.entries(machine.kv, caller.account_id)) == entries
    assert machine.contradictions() == []


def test_a_deleted_job_is_expired_whatever_its_days_say(
    machine: Machine, done: Job, clock: Clock
) -> None:
    assert not is_expired(done, now_ms=clock())
    delete(machine, done)
    assert is_expired(machine.job(done.id), now_ms=clock())


def test_an_unfinished_job_is_cancelled_first_and_its_credits_come_back(
    machine: Machine, caller: Caller, tmp_path: Path
) -> None:
    job = machine.submit(caller)
    delete(machine, job)
    left = machine.job(job.id)
    assert (left.status, left.deleted_at_ms) == (Status.CANCELLED, machine.clock())
    assert machine.balance(caller.account_id).available == 100
    assert files_in(tmp_path) == set()
    assert machine.contradictions() == []


def test_a_running_job_is_cancelled_and_what_its_worker_still_keeps_goes_later(
    machine: Machine, caller: Caller, clock: Clock, tmp_path: Path
) -> None:
    job = machine.submit(caller)
    machine.engine.does = lambda _: delete(machine, job)
    machine.work(job.id)
    assert machine.job(job.id).status is Status.CANCELLED
    machine.objects.put(f"images/{job.id}-1.png", b"from a hung worker", content_type="image/png")
    clock.now_ms += SECOND_LOOK_MS
    machine.sweep()
    assert files_in(tmp_path) == set()
    assert machine.contradictions() == []


def test_only_a_job_at_its_end_can_be_marked_as_deleted(machine: Machine, caller: Caller) -> None:
    with pytest.raises(IllegalTransition):
        machine.submit(caller).deleted(now_ms=1)


def test_deleting_twice_is_quiet_and_writes_nothing(machine: Machine, done: Job) -> None:
    delete(machine, done)
    before = machine.job(done.id)
    machine.clock.now_ms += 1
    delete(machine, done)
    assert machine.job(done.id) == before


def test_what_is_nobodys_or_somebody_elses_is_not_deleted(machine: Machine, done: Job) -> None:
    with pytest.raises(JobUnknown):
        machine.services.deletions.delete(done.account_id, uuid4())
    with pytest.raises(JobForeign):
        machine.services.deletions.delete(machine.customer().account_id, done.id)
    assert machine.job(done.id) == done


def test_a_webhook_that_is_still_pending_is_delivered_all_the_same(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    machine.work(job.id)
    body = machine.outbox(job.id)["completed"].body
    delete(machine, job)
    machine.deliver()
    assert [data for _, data in origin.received] == [body.encode()]
    assert machine.job(job.id).webhook_status == "delivered"
    assert machine.job(job.id).said == {}


def test_a_webhook_that_is_over_goes_with_its_address(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    machine.work(job.id)
    machine.deliver()
    delete(machine, job)
    assert machine.outbox(job.id) == {}
    assert machine.job(job.id).webhook_status == "delivered"


def test_a_webhook_that_was_pending_goes_once_it_is_over(
    machine: Machine, caller: Caller, origin: Origin, clock: Clock
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    machine.work(job.id)
    delete(machine, job)
    clock.advance(seconds=2 * DAY_MS / 1000)
    machine.sweep()  # nobody delivers: it waits for that, beyond the second look
    assert list(machine.outbox(job.id)) == ["completed"]
    machine.deliver()
    clock.advance(seconds=DAY_MS / 1000)
    machine.sweep()
    assert machine.outbox(job.id) == {}


def test_whoever_deletes_an_unfinished_job_is_told_of_its_end(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    delete(machine, job)
    machine.deliver()
    assert len(origin.received) == 1
    assert b"CANCELLED" in origin.received[0][1]


def test_an_object_store_that_is_down_is_tried_again_until_it_is_done(
    machine: Machine, done: Job, clock: Clock, tmp_path: Path
) -> None:
    unsteady = Unsteady(machine.objects, is_down=True)
    shaken = replace(machine, objects=unsteady)
    delete(shaken, done)
    assert is_expired(machine.job(done.id), now_ms=clock())
    assert files_in(tmp_path) != set()
    for _ in range(3):
        clock.now_ms += RETRY_MS
        shaken.sweep()
    assert files_in(tmp_path) != set()
    unsteady.is_down = False
    clock.now_ms += RETRY_MS
    shaken.sweep()
    assert files_in(tmp_path) == set()


def test_a_store_that_fails_after_the_intention_leaves_the_rest_to_the_sweeper(
    machine: Machine, done: Job, tmp_path: Path
) -> None:
    def fail(call: int) -> None:
        if call > 1:  # the job was read, the intention written
            raise Unavailable

    delete(replace(machine, kv=WatchedStore(machine.kv, before=fail)), done)
    assert machine.job(done.id).deleted_at_ms is not None
    machine.sweep()
    assert files_in(tmp_path) == set()


def test_while_too_many_delete_the_files_are_left_to_the_sweeper(
    machine: Machine, done: Job, tmp_path: Path
) -> None:
    with ExitStack() as turns:
        for _ in range(MAX_DELETIONS):
            turns.enter_context(machine.services.deletions.turns.taken("others"))
        delete(machine, done)
    assert machine.job(done.id).deleted_at_ms is not None
    assert files_in(tmp_path) != set()
    machine.sweep()
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("failure", [Unavailable, Unknown, Crash])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("is_done", [True, False])
def test_a_failure_at_any_call_shows_no_file_that_is_gone_and_a_repeat_makes_it_good(
    machine: Machine,
    caller: Caller,
    tmp_path: Path,
    failure: Callable[[], BaseException],
    when: str,
    is_done: bool,
) -> None:
    for at in range(12):
        job = machine.submit(caller)
        if is_done:
            machine.work(job.id)

        def fail(call: int, at: int = at) -> None:
            if call == at:
                raise failure()

        hooks = {when: fail}
        with suppress(StoreError, Crash):
            delete(replace(machine, kv=WatchedStore(machine.kv, **hooks)), job)
        seen = machine.job(job.id)
        if seen.result is not None and not is_expired(seen, now_ms=machine.clock()):
            assert machine.objects.size_bytes(seen.result.object_name) is not None
        delete(machine, job)
        machine.sweep()
        assert files_in(tmp_path) == set()
        assert machine.contradictions() == []


def test_who_completes_a_job_while_it_is_being_deleted_has_it_deleted_still(
    machine: Machine, caller: Caller, tmp_path: Path
) -> None:
    job = machine.submit(caller)

    def complete(call: int) -> None:
        if call == 2:  # it was read, twice; the commit that cancels it is next
            machine.work(job.id)

    delete(replace(machine, kv=WatchedStore(machine.kv, before=complete)), job)
    left = machine.job(job.id)
    assert left.status is Status.COMPLETED
    assert left.deleted_at_ms is not None
    assert files_in(tmp_path) == set()


def test_the_record_of_a_deleted_job_goes_when_any_would(
    machine: Machine, done: Job, clock: Clock
) -> None:
    delete(machine, done)
    clock.now_ms += SECOND_LOOK_MS
    machine.sweep()
    assert done.ended_at_ms is not None
    clock.now_ms = done.ended_at_ms + RECORD_KEPT_MS
    machine.sweep()
    assert find_job(machine.kv, done.id) is None
    assert machine.contradictions() == []
