"""The courier: to real receivers on loopback, until one accepts or the schedule is over."""

import hmac
import json
import socket
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256

import pytest
from standardwebhooks import Webhook as StandardWebhook

from billing.accounts import find_account
from billing.keys import Caller
from inference.errors import CorruptImage
from jobs.breaker import receiver_of
from jobs.ids import iso_utc, system_clock
from jobs.job import Job, Status
from jobs.lease import Report
from jobs.outbound import Outbound
from jobs.records import find_job
from jobs.services import MAX_ATTEMPTS_PER_HOST
from jobs.webhooks import RETRY_DELAYS_S, DeliveryState, delivery_key
from storage.kv import Key, Unknown
from storage.objects import read
from tests.jobs.loopback import is_untouched, listening, ok, serving, status
from tests.jobs.machine import PUBLIC_URL, Crash, Machine, told_at
from tests.running import LEASE_MS, Clock, Origin
from tests.watched import WatchedStore

CLAIM_MS = 60_000


@pytest.fixture
def job(machine: Machine, caller: Caller, origin: Origin) -> Job:
    """A completed job whose end the origin is to be told."""
    return completed(machine, caller, f"{origin.url}/hook")


def completed(machine: Machine, caller: Caller, url: str) -> Job:
    job = machine.submit(caller, webhook=told_at(url))
    machine.work(job.id)
    machine.hints.deliveries.clear()
    return machine.job(job.id)


def party(caller: Caller, url: str) -> str:
    """Whose turns are taken by what goes there."""
    return f"{caller.account_id} {receiver_of(url)}"


def deliver(machine: Machine, job: Job, name: str = "completed") -> None:
    machine.courier.deliver(delivery_key(job.id, name))


def due_ms(machine: Machine, job: Job, name: str = "completed") -> int | None:
    item = machine.kv.get(delivery_key(job.id, name))
    assert item is not None
    return None if item.due is None else item.due.at_ms


def fate(machine: Machine, job: Job, name: str = "completed") -> tuple[str, int, str | None]:
    """The delivery's state and attempts, and what the job says of it."""
    delivery = machine.outbox(job.id)[name]
    return delivery.state, delivery.attempts, machine.job(job.id).webhook_status


def test_the_end_arrives_signed_for_both_kinds_of_receivers(
    machine: Machine, caller: Caller, origin: Origin, clock: Clock
) -> None:
    clock.now_ms = system_clock()  # the standard's library compares with the machine's clock
    job = completed(machine, caller, f"{origin.url}/hook")
    deliver(machine, job)
    ((sent, body),) = origin.received
    lower = {name.lower(): value for name, value in sent.items()}
    assert json.loads(body) == {
        "event": "completed",
        "jobId": str(job.id),
        "status": "COMPLETED",
        "progress": 100,
        "result": {"images": [f"{PUBLIC_URL}/files/images/{job.id}-1.png"]},
        "model": "topaz-image-upscale",
        "creditCost": 8,
        "completedAt": iso_utc(clock()),
        "sequence": 2,
    }
    account, _ = find_account(machine.kv, caller.account_id)
    StandardWebhook(account.webhook_secret).verify(body, lower)
    assert lower["x-webhook-event"] == "completed"
    assert lower["content-type"] == "application/json"
    assert fate(machine, job) == ("delivered", 1, "delivered")


def test_a_failure_arrives_too(machine: Machine, caller: Caller, origin: Origin) -> None:
    def dislike(_: Report) -> None:
        raise CorruptImage

    machine.engine.does = dislike
    job = completed(machine, caller, f"{origin.url}/hook")
    deliver(machine, job, "failed")
    ((_, body),) = origin.received
    assert json.loads(body)["error"] == str(CorruptImage())
    assert fate(machine, job, "failed") == ("delivered", 1, "delivered")


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_2xx_is_an_acceptance(machine: Machine, job: Job, origin: Origin, code: int) -> None:
    origin.answers = [code]
    deliver(machine, job)
    assert fate(machine, job) == ("delivered", 1, "delivered")
    assert due_ms(machine, job) is None


@pytest.mark.parametrize("code", [300, 302, 304, 400, 401, 404, 409, 429, 500, 502, 503])
def test_anything_else_is_tried_again(
    machine: Machine, job: Job, origin: Origin, clock: Clock, code: int
) -> None:
    origin.answers = [code]
    deliver(machine, job)
    assert fate(machine, job) == ("pending", 1, "pending")
    assert due_ms(machine, job) == clock() + 5_000


def test_a_redirect_is_a_failure_and_is_not_followed(machine: Machine, caller: Caller) -> None:
    answers = {"/hook": status(307, "Location: /other", "Content-Length: 0"), "/other": ok(b"")}
    with serving(answers) as server:
        job = completed(machine, caller, server.url("/hook"))
        deliver(machine, job)
        assert len(server.requests) == 1
    assert fate(machine, job) == ("pending", 1, "pending")


def test_gone_ends_the_delivery(machine: Machine, job: Job, origin: Origin) -> None:
    origin.answers = [410]
    deliver(machine, job)
    assert fate(machine, job) == ("failed", 1, "failed")
    assert due_ms(machine, job) is None


def test_retry_after_lengthens_the_wait(machine: Machine, caller: Caller, clock: Clock) -> None:
    busy = status(503, "Retry-After: 900", "Content-Length: 0")
    with serving({"/hook": busy}) as server:
        job = completed(machine, caller, server.url("/hook"))
        deliver(machine, job)
    assert due_ms(machine, job) == clock() + 900_000


@pytest.mark.parametrize("failures", range(len(RETRY_DELAYS_S) + 1))
def test_a_receiver_that_recovers_is_told_however_often_it_failed(
    machine: Machine, job: Job, origin: Origin, clock: Clock, failures: int
) -> None:
    origin.answers = [500] * failures
    for delay_s in RETRY_DELAYS_S[:failures]:
        machine.deliver()
        assert due_ms(machine, job) == clock() + delay_s * 1000
        clock.advance(seconds=delay_s - 1)
        machine.deliver()
        clock.advance(seconds=1)
    machine.deliver()
    assert fate(machine, job) == ("delivered", failures + 1, "delivered")
    assert len(origin.received) == failures + 1


def test_every_attempt_has_the_same_body_and_id_and_its_own_time(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    origin.answers = [500] * (len(RETRY_DELAYS_S) + 1)
    for delay_s in (*RETRY_DELAYS_S, 0):
        machine.deliver()
        clock.advance(seconds=delay_s)
    lowered = [{k.lower(): v for k, v in sent.items()} for sent, _ in origin.received]
    assert len({body for _, body in origin.received}) == 1
    assert len({sent["webhook-id"] for sent in lowered}) == 1
    assert len({sent["webhook-timestamp"] for sent in lowered}) == len(RETRY_DELAYS_S) + 1
    assert len({sent["webhook-signature"] for sent in lowered}) == len(RETRY_DELAYS_S) + 1
    assert fate(machine, job) == ("failed", len(RETRY_DELAYS_S) + 1, "failed")
    assert due_ms(machine, job) is None


def test_a_job_that_learns_the_outcome_is_still_tidied(machine: Machine, job: Job) -> None:
    deliver(machine, job)
    assert read(machine.objects, job.source.object_name) is not None
    machine.sweep()
    assert read(machine.objects, job.source.object_name) is None


def test_a_delivery_that_is_over_is_not_made_again(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    deliver(machine, job)
    clock.advance(seconds=100_000)
    deliver(machine, job)
    machine.deliver()
    assert len(origin.received) == 1


def test_a_delivery_is_not_made_before_its_time(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    origin.answers = [500]
    deliver(machine, job)
    clock.now_ms += 4_999
    deliver(machine, job)
    assert len(origin.received) == 1
    clock.now_ms += 1
    deliver(machine, job)
    assert len(origin.received) == 2


def test_a_delivery_that_there_is_not_is_not_made(machine: Machine, origin: Origin) -> None:
    machine.courier.deliver(Key("deliveries#none", "completed"))
    assert origin.received == []


def test_while_one_courier_is_on_its_way_another_stays_at_home(
    machine: Machine, caller: Caller
) -> None:
    jobs: list[Job] = []

    def receive(connection: socket.socket) -> None:
        deliver(machine, jobs[0])
        connection.sendall(ok(b""))

    with serving({"/hook": receive}) as server:
        jobs.append(completed(machine, caller, server.url("/hook")))
        deliver(machine, jobs[0])
        assert len(server.requests) == 1
    assert fate(machine, jobs[0]) == ("delivered", 1, "delivered")


def test_of_two_couriers_who_read_the_same_delivery_one_makes_it(
    machine: Machine, job: Job, origin: Origin
) -> None:
    def overtake(call: int) -> None:
        if call == 3:  # delivery, outbox and breaker were read, the claim is next
            deliver(machine, job)

    deliver(replace(machine, kv=WatchedStore(machine.kv, before=overtake)), job)
    assert len(origin.received) == 1
    assert fate(machine, job) == ("delivered", 1, "delivered")


def test_a_dead_couriers_delivery_is_made_by_another_after_a_minute(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    def die(call: int) -> None:
        if call == 4:  # it is claimed
            raise Crash

    with pytest.raises(Crash):
        deliver(replace(machine, kv=WatchedStore(machine.kv, before=die)), job)
    clock.now_ms += CLAIM_MS - 1
    machine.deliver()
    assert origin.received == []
    clock.now_ms += 1
    machine.deliver()
    assert fate(machine, job) == ("delivered", 2, "delivered")
    log = machine.outbox(job.id)["completed"].log
    assert [each.error and each.error.code for each in log] == ["lost", None]


@pytest.mark.parametrize("calls", range(4, 10))
def test_a_courier_that_dies_at_any_call_after_its_claim_leaves_the_delivery_to_another(
    machine: Machine, job: Job, clock: Clock, calls: int
) -> None:
    def die(call: int) -> None:
        if call == calls:
            raise Crash

    with pytest.raises(Crash):
        deliver(replace(machine, kv=WatchedStore(machine.kv, before=die)), job)
    clock.now_ms += CLAIM_MS
    machine.deliver()
    state, attempts, told = fate(machine, job)
    assert (state, told) == ("delivered", "delivered")
    assert attempts == (2 if calls < 9 else 1)  # the ninth is the count, after the outcome


def test_each_attempt_is_in_the_log_with_its_outcome(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    origin.answers = [500, 302]
    for delay_s in (5, 300, 0):
        machine.deliver()
        clock.advance(seconds=delay_s)
    log = machine.outbox(job.id)["completed"].log
    assert [(each.status, each.error and each.error.code) for each in log] == [
        (500, "status"),
        (302, "redirect"),
        (200, None),
    ]
    assert [each.at_ms - log[0].at_ms for each in log] == [0, 5_000, 305_000]


def test_retries_of_many_are_spread(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    origin.answers = [500]
    deliver(replace(machine, share=lambda: 0.5), job)
    assert due_ms(machine, job) == clock() + 5_250


def test_a_courier_that_was_overtaken_does_not_tell_the_outcome(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    jobs: list[Job] = []
    answers = [ok(b""), status(500, "Content-Length: 0")]

    def receive(connection: socket.socket) -> None:
        if len(server.requests) == 1:  # so slow that another courier comes and goes
            clock.now_ms += CLAIM_MS
            deliver(machine, jobs[0])
        connection.sendall(answers.pop(0))

    with serving({"/hook": receive}) as server:
        jobs.append(completed(machine, caller, server.url("/hook")))
        deliver(machine, jobs[0])
    assert fate(machine, jobs[0]) == ("delivered", 2, "delivered")


def test_a_courier_that_was_held_up_until_its_lease_ends_sends_nothing(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    def hold_up(call: int) -> None:
        if call == 4:  # it is claimed
            clock.now_ms += CLAIM_MS - 14_000

    deliver(replace(machine, kv=WatchedStore(machine.kv, before=hold_up)), job)
    assert origin.received == []
    clock.now_ms += 14_000
    machine.deliver()
    assert fate(machine, job) == ("delivered", 2, "delivered")


def test_a_lost_answer_of_the_store_repeats_the_delivery_at_most(
    machine: Machine, job: Job, origin: Origin, clock: Clock
) -> None:
    def lose(call: int) -> None:
        if call == 3:  # the claim
            raise Unknown

    with pytest.raises(Unknown):
        deliver(replace(machine, kv=WatchedStore(machine.kv, after=lose)), job)
    clock.now_ms += CLAIM_MS
    machine.deliver()
    assert len(origin.received) == 1
    assert fate(machine, job) == ("delivered", 2, "delivered")


def test_a_job_that_is_tidied_meanwhile_still_learns_the_outcome(
    machine: Machine, job: Job, origin: Origin
) -> None:
    def tidy(call: int) -> None:
        if call == 7:  # delivery, breaker, claim, account, delivery, job: the outcome is next
            kept = find_job(machine.kv, job.id)
            assert kept is not None
            machine.retention.tidy(kept)

    deliver(replace(machine, kv=WatchedStore(machine.kv, before=tidy)), job)
    assert fate(machine, job) == ("delivered", 1, "delivered")
    assert len(origin.received) == 1


@pytest.fixture
def guarded(machine: Machine) -> Machine:
    """The machine with the guard as it is in production: no exceptions."""
    return replace(machine, outbound=Outbound())


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/hook",
        "http://localhost/hook",
        "http://user:secret@example.com/hook",
        "ftp://example.com/hook",
    ],
)
def test_a_private_address_is_refused_and_the_delivery_fails_by_the_schedule(
    guarded: Machine, caller: Caller, clock: Clock, url: str
) -> None:
    job = completed(guarded, caller, url)
    for attempt, delay_s in enumerate(RETRY_DELAYS_S, start=1):
        deliver(guarded, job)
        assert fate(guarded, job) == ("pending", attempt, "pending")
        clock.advance(seconds=delay_s)
    deliver(guarded, job)
    assert fate(guarded, job) == ("failed", len(RETRY_DELAYS_S) + 1, "failed")


def test_nothing_is_sent_to_a_private_address(guarded: Machine, caller: Caller) -> None:
    with listening() as (listener, port):
        job = completed(guarded, caller, f"http://127.0.0.1:{port}/hook")
        deliver(guarded, job)
        assert is_untouched(listener)
    assert fate(guarded, job) == ("pending", 1, "pending")


def test_a_receiver_that_is_not_there_is_tried_again(machine: Machine, caller: Caller) -> None:
    with listening() as (_, port):
        pass
    job = completed(machine, caller, f"http://127.0.0.1:{port}/hook")
    deliver(machine, job)
    assert fate(machine, job) == ("pending", 1, "pending")


@pytest.fixture
def running(machine: Machine, caller: Caller, origin: Origin) -> Job:
    """A job that a worker has brought to 40 per cent."""
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    claimed = machine.leases.take(kept)
    assert claimed is not None
    machine.leases.renew(claimed, 40, 100)
    return machine.job(job.id)


def test_progress_is_told_while_the_job_runs(
    machine: Machine, running: Job, origin: Origin
) -> None:
    machine.deliver()
    ((sent, body),) = origin.received
    assert sent["X-Webhook-Event"] == "progress"
    assert json.loads(body) == {
        "event": "progress",
        "jobId": str(running.id),
        "status": "PROCESSING",
        "progress": 40,
        "sequence": 2,
        "model": "topaz-image-upscale",
    }
    assert fate(machine, running, "progress-1-40") == ("delivered", 1, None)


def test_progress_is_not_told_after_the_end(
    machine: Machine, running: Job, origin: Origin, clock: Clock
) -> None:
    clock.now_ms += LEASE_MS
    machine.work(running.id)
    assert machine.job(running.id).status is Status.COMPLETED
    deliver(machine, running, "progress-1-40")
    assert machine.outbox(running.id)["progress-1-40"].state is DeliveryState.FAILED
    assert [json.loads(body)["event"] for _, body in origin.received] == ["completed"]


def test_the_end_waits_for_progress_that_is_on_its_way(
    machine: Machine, running: Job, origin: Origin, clock: Clock
) -> None:
    def end(call: int) -> None:
        if call == 4:  # the job was seen to go on, and progress is about to be sent
            clock.now_ms += LEASE_MS
            machine.work(running.id)
            deliver(machine, running)
            assert origin.received == []

    watched = WatchedStore(machine.kv, after=end)
    deliver(replace(machine, kv=watched), running, "progress-1-40")
    told = [json.loads(body)["event"] for _, body in origin.received]
    assert told == ["progress", "completed"]


def test_the_end_waits_no_longer_than_a_dead_couriers_lease(
    machine: Machine, running: Job, origin: Origin, clock: Clock
) -> None:
    def die(call: int) -> None:
        if call == 5:
            raise Crash

    watched = replace(machine, kv=WatchedStore(machine.kv, before=die))
    with pytest.raises(Crash):
        deliver(watched, running, "progress-1-40")
    clock.now_ms += LEASE_MS
    machine.work(running.id)
    deliver(machine, running)
    assert origin.received == []
    clock.now_ms += CLAIM_MS
    deliver(machine, running)
    assert [json.loads(body)["event"] for _, body in origin.received] == ["completed"]


def test_progress_is_tried_once(machine: Machine, running: Job, origin: Origin) -> None:
    origin.answers = [500]
    machine.deliver()
    assert fate(machine, running, "progress-1-40") == ("failed", 1, None)
    assert due_ms(machine, running, "progress-1-40") is None


def test_a_customer_who_verifies_with_the_digest_of_the_key_is_satisfied(
    machine: Machine, job: Job, caller: Caller, origin: Origin
) -> None:
    deliver(replace(machine, hmac_key="hex"), job)
    ((sent, body),) = origin.received
    expected = hmac.new(caller.key_sha256.encode(), body, sha256).hexdigest()
    assert sent["X-Webhook-Signature"] == f"sha256={expected}"


def test_a_receiver_whose_turns_are_taken_is_left_for_later(
    machine: Machine, job: Job, origin: Origin, caller: Caller
) -> None:
    other = completed(machine, caller, "http://elsewhere.test/hook")
    with ExitStack() as turns:
        for _ in range(MAX_ATTEMPTS_PER_HOST):
            turns.enter_context(machine.courier.turns.taken(party(caller, origin.url)))
        deliver(machine, job)
        deliver(machine, other)
        assert fate(machine, job) == ("pending", 0, "pending")
        assert fate(machine, other) == ("pending", 1, "pending")
    machine.clock.advance(seconds=10)
    deliver(machine, job)
    assert fate(machine, job) == ("delivered", 1, "delivered")
