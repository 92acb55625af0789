"""Submission: one commit for job and hold; whatever goes wrong, charged exactly once or not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import pytest

from billing import ledger
from billing.administration import set_key_state
from billing.errors import (
    BillingError,
    InsufficientCredits,
    KeyInactive,
    KeyUnknown,
    OutputTooLarge,
    TooManyInFlight,
)
from billing.keys import Caller, KeyState
from inference.errors import ImageError, TooManyPixels
from inference.images import ImageInfo
from inference.params import FaceParams
from jobs.admission import Terms
from jobs.errors import FacesUnavailable, JobsError, ModelUnavailable, SourceUnusable
from jobs.job import Status
from jobs.outbound import BadStatus, OutboundError
from storage.kv import StoreError, Unavailable, Unknown
from storage.objects import DirectUpload, Objects, ObjectsError, Stored, read
from tests.jobs.machine import (
    PARAMS,
    PICTURE,
    PICTURE_URI,
    PRICE_CREDITS,
    Crash,
    Machine,
    files_in,
    told_at,
)
from tests.running import DISPATCH_GRACE_MS, Clock, Origin
from tests.watched import WatchedStore

STORE_CALLS = 2
FIRST_STORE_CALLS = 7
"""How many calls of the store a submission makes: it reads the account, then commits."""


def is_accepted(machine: Machine, caller: Caller) -> bool:
    try:
        machine.submit(caller)
    except (BillingError, StoreError):
        return False
    return True


def test_an_accepted_order_is_a_queued_job_on_hold(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    webhook = told_at("https://example.com/hook")
    job = machine.submit(caller, webhook=webhook, said={"upscale_factor": 2})
    assert machine.job(job.id) == job
    assert (job.status, job.attempt, job.progress) == (Status.QUEUED, 0, 0)
    assert (job.account_id, job.key_sha256) == (caller.account_id, caller.key_sha256)
    assert (job.params, job.said, job.webhook) == (PARAMS, {"upscale_factor": 2}, webhook)
    assert (job.price_credits, job.created_at_ms) == (PRICE_CREDITS, clock())
    assert (job.source.width_px, job.source.height_px, job.source.format) == (16, 12, "png")
    balance = machine.balance(caller.account_id)
    assert (balance.available, balance.held, balance.in_flight) == (92, 8, 1)
    assert machine.contradictions() == []


def test_the_bytes_that_were_priced_are_kept(machine: Machine, caller: Caller) -> None:
    source = machine.submit(caller).source
    assert read(machine.objects, source.object_name) == PICTURE
    assert (source.size_bytes, source.sha256) == (len(PICTURE), sha256(PICTURE).hexdigest())


def test_the_order_is_priced_for_the_picture_that_was_found(
    machine: Machine, caller: Caller
) -> None:
    seen: list[ImageInfo] = []

    def terms(info: ImageInfo) -> Terms:
        seen.append(info)
        return Terms(PARAMS, info.width_px)

    assert machine.submit(caller, terms=terms).price_credits == 16
    assert seen == [ImageInfo(format="png", width_px=16, height_px=12)]


def test_the_source_is_fetched_once(machine: Machine, caller: Caller, origin: Origin) -> None:
    origin.files["/cat.png"] = PICTURE
    job = machine.submit(caller, source_url=f"{origin.url}/cat.png")
    origin.files["/cat.png"] = b"something else"
    machine.work(job.id)
    assert machine.job(job.id).status is Status.COMPLETED
    assert origin.requests == ["/cat.png"]


def test_somebody_is_told_at_once_and_the_sweeper_looks_later(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    job = machine.submit(caller)
    assert machine.hints.jobs == [job.id]
    assert machine.looked_at_ms(job.id) == clock() + DISPATCH_GRACE_MS


FACES = FaceParams(strength=0.8, creativity=0)


def too_large(_: ImageInfo) -> Terms:
    raise OutputTooLarge


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"source_url": "data:image/png;base64,AAAA"}, ImageError),
        ({"source_url": "https://enlarger.test/files/images/none-1.png"}, SourceUnusable),
        ({"source_url": "http://10.0.0.1/cat.png"}, OutboundError),
        ({"terms": too_large}, OutputTooLarge),
        ({"terms": lambda _: Terms(PARAMS, 101)}, InsufficientCredits),
        (
            {"terms": lambda _: Terms(PARAMS.model_copy(update={"model": "none"}), 8)},
            ModelUnavailable,
        ),
        (
            {"terms": lambda _: Terms(PARAMS.model_copy(update={"faces": FACES}), 8)},
            FacesUnavailable,
        ),
    ],
)
def test_a_refused_order_leaves_nothing_behind(
    machine: Machine,
    caller: Caller,
    tmp_path: Path,
    changes: dict[str, object],
    refusal: type[Exception],
) -> None:
    with pytest.raises(refusal):
        machine.submit(caller, **changes)
    assert machine.jobs(caller.account_id) == []
    assert machine.balance(caller.account_id).available == 100
    assert [name for name, _ in ledger.entries(machine.kv, caller.account_id)] == ["grant:opening"]
    assert (files_in(tmp_path), machine.hints.jobs) == (set(), [])


def test_an_address_without_a_picture_is_told_by_its_status(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    with pytest.raises(BadStatus, match="404"):
        machine.submit(caller, source_url=f"{origin.url}/none.png")


def test_a_picture_of_too_many_pixels_is_refused(machine: Machine, caller: Caller) -> None:
    small = replace(machine.services.submissions, max_source_pixels=16 * 12 - 1)
    with pytest.raises(TooManyPixels):
        small.submit(machine.order(caller))


def test_what_is_missing_is_said_in_credits(machine: Machine) -> None:
    poor = machine.customer(credits=7)
    with pytest.raises(InsufficientCredits) as refusal:
        machine.submit(poor)
    assert (refusal.value.required, refusal.value.available) == (8, 7)


def changing_key(machine: Machine, caller: Caller, *states: KeyState) -> Callable[..., Terms]:
    """Terms that change the caller's key while the order is being priced."""

    def terms(_: ImageInfo) -> Terms:
        for state in states:
            set_key_state(machine.kv, caller.account_id, key_id=caller.key.id, state=state)
        return Terms(PARAMS, PRICE_CREDITS)

    return terms


@pytest.mark.parametrize(
    ("state", "refusal"), [(KeyState.REVOKED, KeyUnknown), (KeyState.INACTIVE, KeyInactive)]
)
def test_a_key_withdrawn_after_the_request_was_let_in_buys_nothing(
    machine: Machine, caller: Caller, tmp_path: Path, state: KeyState, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        machine.submit(caller, terms=changing_key(machine, caller, state))
    assert machine.balance(caller.account_id).available == 100
    assert (machine.jobs(caller.account_id), files_in(tmp_path)) == ([], set())


def test_a_key_paused_and_resumed_meanwhile_still_buys(machine: Machine, caller: Caller) -> None:
    terms = changing_key(machine, caller, KeyState.INACTIVE, KeyState.ACTIVE)
    assert machine.submit(caller, terms=terms).status is Status.QUEUED
    assert machine.balance(caller.account_id).available == 92


def test_credits_spent_by_another_request_meanwhile_are_missed_in_the_commit(
    machine: Machine, tmp_path: Path
) -> None:
    caller = machine.customer(credits=15)

    def rival(call: int) -> None:
        if call == STORE_CALLS - 1:
            machine.submit(caller)

    watched = WatchedStore(machine.kv, before=rival)
    with pytest.raises(InsufficientCredits) as refusal:
        replace(machine, kv=watched).submit(caller)
    assert (refusal.value.required, refusal.value.available) == (8, 7)
    assert len(machine.jobs(caller.account_id)) == len(files_in(tmp_path)) == 1


def test_fifty_orders_at_once_against_credits_for_twenty_make_exactly_twenty(
    machine: Machine, tmp_path: Path
) -> None:
    caller = machine.customer(credits=20 * PRICE_CREDITS + PRICE_CREDITS - 1)
    with ThreadPoolExecutor(16) as pool:
        accepted = list(pool.map(lambda _: is_accepted(machine, caller), range(50)))
    assert accepted.count(True) == 20
    assert len(machine.jobs(caller.account_id)) == len(files_in(tmp_path)) == 20
    assert machine.balance(caller.account_id).available == PRICE_CREDITS - 1
    assert machine.contradictions() == []


def test_thirty_orders_at_once_make_no_more_jobs_than_may_be_in_flight(machine: Machine) -> None:
    caller = machine.customer(credits=1000, max_in_flight=10)
    with ThreadPoolExecutor(30) as pool:
        accepted = list(pool.map(lambda _: is_accepted(machine, caller), range(30)))
    assert accepted.count(True) == 10
    with pytest.raises(TooManyInFlight) as refusal:
        machine.submit(caller)
    assert refusal.value.limit == 10
    machine.work(machine.jobs(caller.account_id)[0].id)
    assert is_accepted(machine, caller)
    assert machine.contradictions() == []


def test_a_submission_calls_the_store_twice(machine: Machine, caller: Caller) -> None:
    machine.submit(caller)  # which makes what the key's jobs of the day are counted in
    watched = WatchedStore(machine.kv)
    replace(machine, kv=watched).submit(caller)
    assert watched.calls == STORE_CALLS


def test_a_keys_first_submission_of_a_day_finds_out_that_it_is_the_first(
    machine: Machine, caller: Caller
) -> None:
    watched = WatchedStore(machine.kv)
    replace(machine, kv=watched).submit(caller)
    assert watched.calls == FIRST_STORE_CALLS


@pytest.mark.parametrize(
    ("moment", "fault"),
    [
        ("before", Unavailable),
        ("before", Unknown),
        ("before", Crash),
        ("after", Unknown),
        ("after", Crash),
    ],
)
@pytest.mark.parametrize("at", range(FIRST_STORE_CALLS))
def test_a_store_that_fails_at_any_call_charges_exactly_once_or_not_at_all(
    machine: Machine, tmp_path: Path, at: int, moment: str, fault: type[BaseException]
) -> None:
    caller = machine.customer()

    def fail(call: int) -> None:
        if call == at:
            raise fault

    watched = WatchedStore(machine.kv, **{moment: fail})
    try:
        job_id = replace(machine, kv=watched).submit(caller).id
    except (StoreError, Crash):
        job_id = None
    jobs = machine.jobs(caller.account_id)
    assert job_id is None or [job.id for job in jobs] == [job_id]
    assert machine.balance(caller.account_id).available == 100 - PRICE_CREDITS * len(jobs)
    assert {job.source.object_name for job in jobs} <= files_in(tmp_path)
    assert machine.contradictions() == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lost_answer_is_looked_up_and_the_order_accepted_once(
    machine: Machine, caller: Caller, moment: str
) -> None:
    before = machine.submit(caller)

    def lose(call: int) -> None:
        if call == STORE_CALLS - 1:
            raise Unknown

    watched = WatchedStore(machine.kv, **{moment: lose})
    job = replace(machine, kv=watched).submit(caller)
    assert {each.id for each in machine.jobs(caller.account_id)} == {job.id, before.id}
    assert machine.balance(caller.account_id).available == 84
    assert machine.hints.jobs == [before.id, job.id]


def test_an_answer_that_cannot_be_looked_up_is_unknown_and_the_job_keeps_its_source(
    machine: Machine, caller: Caller
) -> None:
    machine.submit(caller)
    machine.clock.advance(seconds=1)  # so that it is known which job is the newer

    def fall_silent(call: int) -> None:
        if call >= STORE_CALLS - 1:
            raise Unknown if call == STORE_CALLS - 1 else Unavailable

    with pytest.raises(Unknown):
        replace(machine, kv=WatchedStore(machine.kv, after=fall_silent)).submit(caller)
    job, _ = machine.jobs(caller.account_id)
    machine.work(job.id)
    assert machine.job(job.id).status is Status.COMPLETED
    assert machine.contradictions() == []


def test_a_commit_that_never_comes_through_is_given_up(
    machine: Machine, caller: Caller, tmp_path: Path
) -> None:
    def lose(call: int) -> None:
        if call % 2:  # the commits; each is followed by a look for the job
            raise Unknown

    watched = WatchedStore(machine.kv, before=lose)
    with pytest.raises(Unavailable):
        replace(machine, kv=watched).submit(caller)
    assert watched.calls < 30
    assert machine.balance(caller.account_id).available == 100
    assert files_in(tmp_path) == set()


class NoRoom:
    """An object store that keeps nothing, or that deletes nothing."""

    def __init__(self, objects: Objects, *, may_put: bool) -> None:
        self._objects = objects
        self._may_put = may_put

    def put(self, name: str, data: bytes | BinaryIO, *, content_type: str) -> None:
        if not self._may_put:
            raise ObjectsError("no room")
        self._objects.put(name, data, content_type=content_type)

    def put_if_absent(self, name: str, data: bytes | BinaryIO, *, content_type: str) -> bool:
        raise NotImplementedError

    def get(self, name: str) -> Stored | None:
        return self._objects.get(name)

    def size_bytes(self, name: str) -> int | None:
        return self._objects.size_bytes(name)

    def upload_url(
        self, name: str, *, content_type: str, size_bytes: int, expires_in_s: int
    ) -> DirectUpload | None:
        raise NotImplementedError

    def url(self, name: str, *, expires_in_s: int) -> str | None:
        return self._objects.url(name, expires_in_s=expires_in_s)

    def delete(self, name: str) -> None:
        raise ObjectsError(f"{name} cannot be deleted")


def test_without_room_for_the_source_nothing_is_charged(machine: Machine, caller: Caller) -> None:
    with pytest.raises(ObjectsError):
        replace(machine, objects=NoRoom(machine.objects, may_put=False)).submit(caller)
    assert machine.balance(caller.account_id).available == 100
    assert machine.jobs(caller.account_id) == []


def test_a_file_that_cannot_be_deleted_does_not_hide_why_the_order_was_refused(
    machine: Machine, caller: Caller
) -> None:
    stuck = replace(machine, objects=NoRoom(machine.objects, may_put=True))
    with pytest.raises(KeyUnknown):
        stuck.submit(caller, terms=changing_key(machine, caller, KeyState.REVOKED))


def test_refusals_are_of_the_trees_that_handlers_know(machine: Machine, caller: Caller) -> None:
    with pytest.raises((BillingError, JobsError, ImageError, OutboundError)):
        machine.submit(caller, source_url=PICTURE_URI[:-8])
