"""The breaker: a receiver that is away rests, is probed by one, and harms nobody else."""

import socket
from contextlib import ExitStack
from dataclasses import replace
from threading import Event

import pytest

from billing.keys import Caller
from jobs.breaker import (
    FAILURES,
    FIRST_REST_MS,
    MAX_REST_MS,
    PROBE_MS,
    Breaker,
    Breakers,
    receiver_of,
)
from jobs.dispatch import HintThreads
from jobs.job import Job
from jobs.records import find_job
from jobs.services import MAX_ATTEMPTS_PER_ACCOUNT, MAX_ATTEMPTS_PER_HOST
from jobs.turns import Turns
from jobs.webhooks import SCHEDULE_MS, DeliveryState, delivery_key
from local_app import DELIVERY_THREADS
from storage.kv import Key
from tests.jobs.loopback import ok, serving
from tests.jobs.machine import PATIENCE_S, Crash, Machine, told_at
from tests.jobs.test_courier import completed, deliver, due_ms, fate
from tests.running import Clock, Origin
from tests.watched import WatchedStore

DAY_MS = 24 * 60 * 60 * 1000


@pytest.fixture
def breakers(machine: Machine) -> Breakers:
    return machine.courier.breakers


def absent(breakers: Breakers, *, times: int = 1, retry_after_s: int | None = None) -> None:
    for _ in range(times):
        breakers.note_absence(
            "acc", "host:80", begun_at_ms=breakers.clock(), retry_after_s=retry_after_s
        )


def may_go_at(breakers: Breakers, *, asked: bool = False) -> int | None:
    return breakers.ask("acc", "host:80", is_asked_for=asked).not_before_ms


def test_of_a_receiver_that_has_not_failed_nothing_is_kept(breakers: Breakers) -> None:
    assert breakers.ask("acc", "host:80", is_asked_for=False) == (None, (), False)
    breakers.note_answer("acc", "host:80")
    assert breakers.kv.query("breaker#acc") == []


def test_it_opens_after_so_many_failures_in_a_row(breakers: Breakers, clock: Clock) -> None:
    absent(breakers, times=FAILURES - 1)
    assert may_go_at(breakers) is None
    absent(breakers)
    assert may_go_at(breakers) == clock() + FIRST_REST_MS


def test_an_answer_in_between_begins_the_count_anew(breakers: Breakers) -> None:
    absent(breakers, times=FAILURES - 1)
    breakers.note_answer("acc", "host:80")
    absent(breakers, times=FAILURES - 1)
    assert may_go_at(breakers) is None


def test_what_is_put_off_is_spread_over_a_rest_more(breakers: Breakers, clock: Clock) -> None:
    absent(breakers, times=FAILURES)
    spread = replace(breakers, share=lambda: 0.5)
    assert may_go_at(spread) == clock() + 1.5 * FIRST_REST_MS


def probe(breakers: Breakers) -> None:
    passed = breakers.ask("acc", "host:80", is_asked_for=False)
    assert passed.not_before_ms is None
    breakers.kv.commit(*passed.changes)


def test_after_the_rest_one_probes_and_the_others_wait(breakers: Breakers, clock: Clock) -> None:
    absent(breakers, times=FAILURES)
    clock.now_ms += FIRST_REST_MS
    probe(breakers)
    assert may_go_at(breakers) == clock() + PROBE_MS
    clock.now_ms += PROBE_MS
    assert may_go_at(breakers) is None


def test_each_probe_that_fails_doubles_the_rest_up_to_an_hour(
    breakers: Breakers, clock: Clock
) -> None:
    absent(breakers, times=FAILURES)
    rests_ms = []
    for _ in range(12):
        until_ms = may_go_at(breakers)
        assert until_ms is not None
        rests_ms.append(until_ms - clock())
        clock.now_ms = until_ms
        probe(breakers)
        absent(breakers)
    assert rests_ms[:4] == [15_000, 30_000, 60_000, 120_000]
    assert rests_ms[-4:] == [MAX_REST_MS] * 4


def test_a_probe_that_is_answered_closes_it(breakers: Breakers, clock: Clock) -> None:
    absent(breakers, times=FAILURES)
    clock.now_ms += FIRST_REST_MS
    probe(breakers)
    breakers.note_answer("acc", "host:80")
    assert may_go_at(breakers) is None
    absent(breakers)
    assert may_go_at(breakers) is None


def test_attempts_that_began_before_the_rest_do_not_lengthen_it(
    breakers: Breakers, clock: Clock
) -> None:
    begun_ms = clock()
    clock.now_ms += 15_000
    absent(breakers, times=FAILURES)
    for _ in range(3):
        breakers.note_absence("acc", "host:80", begun_at_ms=begun_ms, retry_after_s=None)
    assert may_go_at(breakers) == clock() + FIRST_REST_MS


@pytest.mark.parametrize(
    ("asked_s", "rest_ms"), [(1, FIRST_REST_MS), (900, 900_000), (10**9, MAX_REST_MS)]
)
def test_a_receiver_can_ask_for_a_longer_rest_of_an_hour_at_most(
    breakers: Breakers, clock: Clock, asked_s: int, rest_ms: int
) -> None:
    absent(breakers, times=FAILURES, retry_after_s=asked_s)
    assert may_go_at(breakers) == clock() + rest_ms


def test_what_a_customer_asks_for_is_the_probe_but_not_a_second_one(
    breakers: Breakers, clock: Clock
) -> None:
    absent(breakers, times=FAILURES)
    assert may_go_at(breakers, asked=True) is None
    clock.now_ms += FIRST_REST_MS
    probe(breakers)
    assert may_go_at(breakers, asked=True) == clock() + PROBE_MS


def test_a_receiver_that_nothing_is_sent_to_is_forgotten_in_a_day(
    breakers: Breakers, clock: Clock
) -> None:
    absent(breakers, times=FAILURES)
    clock.now_ms += DAY_MS
    assert breakers.kv.query("breaker#acc") == []
    assert may_go_at(breakers) is None


def test_accounts_ports_and_hosts_are_apart(breakers: Breakers) -> None:
    absent(breakers, times=FAILURES)
    for account, receiver in (("other", "host:80"), ("acc", "host:81"), ("acc", "other:80")):
        assert breakers.ask(account, receiver, is_asked_for=False).not_before_ms is None


def test_failures_told_at_once_are_all_counted(breakers: Breakers) -> None:
    def overtake(call: int) -> None:
        if call == 1:  # it was read, and is about to be written
            absent(breakers)

    absent(breakers)
    absent(replace(breakers, kv=WatchedStore(breakers.kv, before=overtake)))
    item = breakers.kv.get(Key("breaker#acc", "host:80"))
    assert item is not None
    assert Breaker.model_validate(item.value).failures == 3


def test_who_is_always_overtaken_leaves_it_uncounted(
    breakers: Breakers, caplog: pytest.LogCaptureFixture
) -> None:
    def overtake(call: int) -> None:
        if call % 2 == 1:
            absent(breakers)

    absent(breakers)
    watched = replace(breakers, kv=WatchedStore(breakers.kv, before=overtake))
    watched.note_answer("acc", "host:80")
    absent(replace(watched, kv=WatchedStore(breakers.kv, before=overtake)))
    assert [message for message in caplog.messages if "too contended" in message]


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("https://Example.com/hook?x=1", "example.com:443"),
        ("http://example.com/other", "example.com:80"),
        ("http://example.com:8080/", "example.com:8080"),
        ("http://[2001:470::1]/", "2001:470::1:80"),
        ("http://user:secret@example.com/", "nowhere"),
        ("ftp://example.com/", "nowhere"),
    ],
)
def test_a_receiver_is_a_host_and_a_port(url: str, receiver: str) -> None:
    assert receiver_of(url) == receiver


# With the courier.


@pytest.fixture
def jobs(machine: Machine, caller: Caller, origin: Origin) -> list[Job]:
    """Completed jobs, one more than it takes to open the breaker."""
    return [completed(machine, caller, f"{origin.url}/hook") for _ in range(FAILURES + 1)]


@pytest.fixture
def opened(machine: Machine, jobs: list[Job], origin: Origin) -> Job:
    """The job whose webhook is yet to be tried, once the others' have failed."""
    origin.answers = [503] * FAILURES
    for job in jobs[:FAILURES]:
        deliver(machine, job)
    origin.received.clear()
    return jobs[FAILURES]


def test_a_receiver_that_rests_is_not_touched_and_no_attempt_is_used_up(
    machine: Machine, opened: Job, origin: Origin, clock: Clock
) -> None:
    deliver(machine, opened)
    assert origin.received == []
    assert fate(machine, opened) == ("pending", 0, "pending")
    assert machine.outbox(opened.id)["completed"].postponed == 1
    assert due_ms(machine, opened) == clock() + FIRST_REST_MS


def test_after_the_rest_one_delivery_goes_first_and_its_success_lets_the_others_follow(
    machine: Machine, opened: Job, origin: Origin, clock: Clock
) -> None:
    deliver(machine, opened)
    clock.now_ms += FIRST_REST_MS
    deliver(machine, opened)
    assert fate(machine, opened) == ("delivered", 1, "delivered")
    assert machine.outbox(opened.id)["completed"].postponed == 0
    machine.deliver()
    assert len(origin.received) == FAILURES + 1


def test_a_probe_that_fails_uses_up_its_own_attempt_and_rests_the_receiver_longer(
    machine: Machine, opened: Job, jobs: list[Job], origin: Origin, clock: Clock
) -> None:
    origin.answers = [503]
    clock.now_ms += FIRST_REST_MS
    deliver(machine, opened)
    assert fate(machine, opened) == ("pending", 1, "pending")
    deliver(machine, jobs[0])
    assert fate(machine, jobs[0]) == ("pending", 1, "pending")
    assert due_ms(machine, jobs[0]) == clock() + 2 * FIRST_REST_MS
    assert len(origin.received) == 1


def test_while_one_probes_nobody_else_does(
    machine: Machine, caller: Caller, clock: Clock, breakers: Breakers
) -> None:
    jobs: list[Job] = []

    def receive(connection: socket.socket) -> None:
        deliver(machine, jobs[1])
        connection.sendall(ok(b""))

    with serving({"/hook": receive}) as server:
        jobs += [completed(machine, caller, server.url("/hook")) for _ in range(2)]
        for _ in range(FAILURES):
            breakers.note_absence(
                caller.account_id, receiver_of(server.url()), begun_at_ms=0, retry_after_s=None
            )
        clock.now_ms += FIRST_REST_MS
        deliver(machine, jobs[0])
        assert len(server.requests) == 1
    assert fate(machine, jobs[0]) == ("delivered", 1, "delivered")
    assert fate(machine, jobs[1]) == ("pending", 0, "pending")


def test_of_two_who_would_probe_at_once_one_does(
    machine: Machine, opened: Job, jobs: list[Job], origin: Origin, clock: Clock
) -> None:
    clock.now_ms += FIRST_REST_MS

    def overtake(call: int) -> None:
        if call == 3:  # delivery, outbox and breaker were read, the claim is next
            origin.answers = [503]
            deliver(machine, jobs[0])

    deliver(replace(machine, kv=WatchedStore(machine.kv, before=overtake)), opened)
    assert len(origin.received) == 1
    assert fate(machine, jobs[0]) == ("pending", 2, "pending")
    assert fate(machine, opened) == ("pending", 0, "pending")
    assert due_ms(machine, opened) == clock() + 2_000


def test_a_prober_that_dies_is_followed_by_another(
    machine: Machine, opened: Job, jobs: list[Job], clock: Clock
) -> None:
    clock.now_ms += FIRST_REST_MS

    def die(call: int) -> None:
        if call == 4:  # it is claimed, the breaker with it
            raise Crash

    with pytest.raises(Crash):
        deliver(replace(machine, kv=WatchedStore(machine.kv, before=die)), opened)
    deliver(machine, jobs[0])
    assert fate(machine, jobs[0]) == ("pending", 1, "pending")
    clock.now_ms += PROBE_MS
    deliver(machine, jobs[0])
    assert fate(machine, jobs[0]) == ("delivered", 2, "delivered")


def test_another_account_at_the_same_host_is_not_held_up(
    machine: Machine, opened: Job, origin: Origin
) -> None:
    theirs = completed(machine, machine.customer(), f"{origin.url}/hook")
    deliver(machine, theirs)
    assert fate(machine, theirs) == ("delivered", 1, "delivered")
    deliver(machine, opened)
    assert fate(machine, opened) == ("pending", 0, "pending")


def test_an_answer_that_refuses_closes_it_as_well(
    machine: Machine, opened: Job, jobs: list[Job], origin: Origin, clock: Clock
) -> None:
    origin.answers = [400]
    clock.now_ms += FIRST_REST_MS
    deliver(machine, opened)
    deliver(machine, jobs[0])
    assert fate(machine, jobs[0]) == ("delivered", 2, "delivered")


def test_our_own_refusal_of_an_address_says_nothing_of_the_host(
    machine: Machine, caller: Caller
) -> None:
    for _ in range(FAILURES + 1):
        job = completed(machine, caller, "ftp://example.com/hook")
        deliver(machine, job)
        assert fate(machine, job) == ("pending", 1, "pending")


@pytest.mark.usefixtures("opened")
def test_news_of_progress_does_not_wait_for_a_receiver_that_rests(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    job = machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    taken = machine.leases.take(kept)
    assert taken is not None
    machine.leases.renew(taken, 40, 100)
    deliver(machine, job, "progress-1-40")
    told = machine.outbox(job.id)["progress-1-40"]
    assert told.state is DeliveryState.FAILED
    assert [each.error and each.error.code for each in told.log] == ["resting"]
    assert origin.received == []


def test_what_was_put_off_for_as_long_as_its_schedule_has_failed(
    machine: Machine, opened: Job, breakers: Breakers, clock: Clock, caller: Caller, origin: Origin
) -> None:
    clock.now_ms += SCHEDULE_MS
    for _ in range(FAILURES):
        breakers.note_absence(
            caller.account_id, receiver_of(origin.url), begun_at_ms=clock(), retry_after_s=None
        )
    deliver(machine, opened)
    assert fate(machine, opened) == ("failed", 0, "failed")
    assert due_ms(machine, opened) is None
    (tried,) = machine.outbox(opened.id)["completed"].log
    assert tried.error is not None
    assert tried.error.code == "resting"


def test_deliveries_that_were_put_off_do_not_keep_others_waiting(
    machine: Machine, opened: Job, caller: Caller, clock: Clock
) -> None:
    with serving({"/hook": ok(b"")}) as server:
        other = completed(machine, caller, server.url("/hook"))
        machine.deliver()
    assert fate(machine, other) == ("delivered", 1, "delivered")
    item = machine.kv.get(delivery_key(opened.id, "completed"))
    assert item is not None
    assert item.due is not None
    assert item.due.at_ms > clock()


def test_an_account_whose_turns_are_taken_waits_whatever_the_receiver(
    machine: Machine, jobs: list[Job], caller: Caller, clock: Clock
) -> None:
    with ExitStack() as turns:
        for _ in range(MAX_ATTEMPTS_PER_ACCOUNT):
            turns.enter_context(machine.courier.account_turns.taken(caller.account_id))
        deliver(machine, jobs[0])
    assert fate(machine, jobs[0]) == ("pending", 0, "pending")
    clock.advance(seconds=10)
    deliver(machine, jobs[0])
    assert fate(machine, jobs[0]) == ("delivered", 1, "delivered")


def test_who_has_waited_long_for_a_turn_asks_less_often(
    machine: Machine, jobs: list[Job], clock: Clock
) -> None:
    waits_ms = []
    busy = replace(machine.courier, turns=Turns(in_all=0, each=0))
    for waited_s in (0, 40, 400, 4000):
        clock.advance(seconds=waited_s)
        busy.deliver(delivery_key(jobs[0].id, "completed"))
        at_ms = due_ms(machine, jobs[0])
        assert at_ms is not None
        waits_ms.append(at_ms - clock())
    assert waits_ms == [2_000, 5_000, 55_000, 60_000]


def test_a_receiver_that_hangs_takes_a_few_threads_and_nobody_else_waits_for_it(
    machine: Machine,
) -> None:
    caller = machine.customer(credits=1000)
    is_over, arrived = Event(), Event()
    hanging: list[socket.socket] = []
    at_once: list[int] = []

    def hang(connection: socket.socket) -> None:
        hanging.append(connection)
        at_once.append(len(hanging))
        assert is_over.wait(PATIENCE_S)
        hanging.remove(connection)
        connection.sendall(ok(b""))

    def receive(connection: socket.socket) -> None:
        connection.sendall(ok(b""))
        arrived.set()

    with serving({"/hook": hang}) as tarpit, serving({"/hook": receive}) as other:
        stuck = [completed(machine, caller, tarpit.url("/hook")) for _ in range(20)]
        last = completed(machine, caller, other.url("/hook"))
        threads = HintThreads("delivery", machine.courier.deliver, threads=DELIVERY_THREADS)
        for job in (*stuck, last):
            threads.hint(delivery_key(job.id, "completed"))
        try:
            assert arrived.wait(PATIENCE_S)
        finally:
            is_over.set()
            assert threads.settle(within_s=PATIENCE_S)
            threads.stop(within_s=PATIENCE_S)
    assert max(at_once) <= MAX_ATTEMPTS_PER_HOST
    assert fate(machine, last) == ("delivered", 1, "delivered")
    told = [fate(machine, job)[0] for job in stuck]
    assert told.count("delivered") == len(at_once)
