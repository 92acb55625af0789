"""Idempotency-Keys: one key and one body make one job, whoever asks, however often, at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from billing.administration import create_key
from billing.keys import Caller, authenticate
from inference.images import ImageInfo
from jobs.admission import Terms
from jobs.errors import IdempotencyMismatch, ModelUnavailable
from jobs.job import Status
from jobs.submission import REQUEST_KEPT_MS, Accepted, RequestName
from storage.kv import Unavailable, Unknown
from tests.jobs.machine import PARAMS, PICTURE, Machine, files_in
from tests.running import Clock, Origin
from tests.watched import WatchedStore

REQUEST = RequestName("POST /v2/images/upscale#once", fingerprint="one body")
OTHER_BODY = REQUEST._replace(fingerprint="another body")
OTHER_NAME = REQUEST._replace(name="POST /v2/images/upscale#twice")


def submit(machine: Machine, caller: Caller, request: RequestName = REQUEST) -> Accepted:
    return machine.services.submissions.submit(machine.order(caller, request=request))


def test_a_repeat_is_answered_with_the_first_job_and_not_charged(
    machine: Machine, caller: Caller
) -> None:
    first, again = submit(machine, caller), submit(machine, caller)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert first.job == again.job
    assert machine.balance(caller.account_id).available == 92
    assert machine.hints.jobs == [first.job.id]


def test_a_repeat_tells_how_the_job_stands_now(machine: Machine, caller: Caller) -> None:
    machine.work(submit(machine, caller).job.id)
    assert submit(machine, caller).job.status is Status.COMPLETED


def test_a_repeat_does_not_fetch_the_source_again(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    origin.files["/cat.png"] = PICTURE
    for _ in range(2):
        machine.submit(caller, source_url=f"{origin.url}/cat.png", request=REQUEST)
    assert origin.requests == ["/cat.png"]


def test_a_repeat_by_another_key_of_the_account_finds_the_job(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    rotated = create_key(machine.kv, caller.account_id, name="new", now_ms=clock())
    first = submit(machine, caller)
    again = authenticate(machine.kv, rotated.body, now_ms=clock())
    assert submit(machine, again).job == first.job


def test_another_body_is_refused_and_changes_nothing(machine: Machine, caller: Caller) -> None:
    submit(machine, caller)
    with pytest.raises(IdempotencyMismatch):
        submit(machine, caller, OTHER_BODY)
    assert machine.balance(caller.account_id).available == 92
    assert len(machine.jobs(caller.account_id)) == 1


def test_another_name_is_another_job(machine: Machine, caller: Caller) -> None:
    assert submit(machine, caller).job.id != submit(machine, caller, OTHER_NAME).job.id


def test_accounts_do_not_share_names(machine: Machine, caller: Caller) -> None:
    assert not submit(machine, caller).is_replay
    assert not submit(machine, machine.customer()).is_replay


def test_a_refused_order_does_not_use_up_its_name(machine: Machine, caller: Caller) -> None:
    absent = PARAMS.model_copy(update={"model": "none"})
    with pytest.raises(ModelUnavailable):
        machine.submit(caller, request=REQUEST, terms=lambda _: Terms(absent, 8))
    assert not submit(machine, caller).is_replay


def test_a_name_is_remembered_for_48_hours(machine: Machine, caller: Caller, clock: Clock) -> None:
    first = submit(machine, caller)
    clock.now_ms += REQUEST_KEPT_MS - 1
    assert submit(machine, caller).job.id == first.job.id
    clock.now_ms += 1
    later = submit(machine, caller)
    assert (later.is_replay, later.job.id != first.job.id) == (False, True)
    assert REQUEST_KEPT_MS == 48 * 60 * 60 * 1000


def test_a_name_that_is_over_may_come_with_another_body(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    submit(machine, caller)
    clock.now_ms += REQUEST_KEPT_MS
    assert not submit(machine, caller, OTHER_BODY).is_replay


def test_twenty_requests_at_once_make_one_job_and_nineteen_repeats(
    machine: Machine, caller: Caller, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(20) as pool:
        accepted = list(pool.map(lambda _: submit(machine, caller), range(20)))
    assert len({answer.job.id for answer in accepted}) == 1
    assert [answer.is_replay for answer in accepted].count(True) == 19
    assert machine.balance(caller.account_id).available == 92
    assert len(machine.jobs(caller.account_id)) == len(files_in(tmp_path)) == 1
    assert len(machine.hints.jobs) == 1
    assert machine.contradictions() == []


@pytest.mark.parametrize("rivals_request", [REQUEST, OTHER_BODY])
def test_the_loser_of_a_race_for_a_name_sees_the_winners_job(
    machine: Machine, caller: Caller, tmp_path: Path, rivals_request: RequestName
) -> None:
    winners: list[Accepted] = []

    def rival(call: int) -> None:
        if call == 2:  # the name was free, the account read; the commit is next
            winners.append(submit(machine, caller, rivals_request))

    loser = replace(machine, kv=WatchedStore(machine.kv, before=rival))
    if rivals_request == REQUEST:
        assert submit(loser, caller)[:2] == (winners[0].job, True)
    else:
        with pytest.raises(IdempotencyMismatch):
            submit(loser, caller)
    assert machine.balance(caller.account_id).available == 92
    assert len(files_in(tmp_path)) == 1


def test_a_lost_answer_is_no_repeat(machine: Machine, caller: Caller) -> None:
    def lose(call: int) -> None:
        if call == 2:
            raise Unknown

    unlucky = replace(machine, kv=WatchedStore(machine.kv, after=lose))
    first = submit(unlucky, caller)
    assert not first.is_replay
    assert submit(machine, caller)[:2] == (first.job, True)


def test_a_store_that_fails_before_the_commit_uses_no_name_up(
    machine: Machine, caller: Caller, tmp_path: Path
) -> None:
    def fail(call: int) -> None:
        if call == 2:  # the commit
            raise Unavailable

    unlucky = replace(machine, kv=WatchedStore(machine.kv, before=fail))
    with pytest.raises(Unavailable):
        submit(unlucky, caller)
    assert files_in(tmp_path) == set()
    assert not submit(machine, caller).is_replay


def test_a_repeat_while_the_first_is_being_fetched_finds_its_job(
    machine: Machine, caller: Caller, tmp_path: Path
) -> None:
    firsts: list[Accepted] = []

    def first(_: ImageInfo) -> Terms:
        firsts.append(submit(machine, caller))
        return Terms(PARAMS, 8)

    order = machine.order(caller, request=REQUEST, terms=first)
    second = machine.services.submissions.submit(order)
    assert (second.is_replay, second.job) == (True, firsts[0].job)
    assert machine.balance(caller.account_id).held == 8
    assert len(files_in(tmp_path)) == 1


def test_a_repeat_of_what_was_deleted_since_makes_no_second_job(
    machine: Machine, caller: Caller
) -> None:
    first = submit(machine, caller)
    machine.services.deletions.delete(caller.account_id, first.job.id)
    again = submit(machine, caller)
    assert (again.is_replay, again.job.status) == (True, Status.CANCELLED)
    assert machine.balance(caller.account_id).available == 100
    assert machine.contradictions() == []
