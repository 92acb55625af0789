"""Sending again: the same id and body, at once, by the whole schedule; and what is shown of it."""

from dataclasses import replace
from uuid import UUID

import pytest

from billing.keys import Caller
from jobs.courier import LEASE_MS
from jobs.errors import DeliveryOver, DeliveryUnknown, JobForeign, JobUnknown
from jobs.job import Job
from jobs.redelivery import Redeliveries
from jobs.turns import Turns
from jobs.webhooks import LOST, RETRY_DELAYS_S, DeliveryState, delivery_key
from storage.kv import Unavailable
from tests.jobs.machine import Crash, Machine
from tests.jobs.test_breaker import breakers, jobs, opened
from tests.jobs.test_courier import deliver, due_ms, fate, job, running
from tests.running import Clock, Origin
from tests.watched import WatchedStore

__all__ = ["breakers", "job", "jobs", "opened", "running"]

DAY_S = 24 * 60 * 60


@pytest.fixture
def again(machine: Machine) -> Redeliveries:
    return machine.services.redeliveries


def test_a_delivered_event_is_sent_again_with_its_id_and_its_body(
    machine: Machine, job: Job, caller: Caller, origin: Origin, again: Redeliveries
) -> None:
    deliver(machine, job)
    sent = again.redeliver(caller.account_id, job.id, "completed")
    assert (sent.delivery.state, sent.next_at_ms) == (DeliveryState.PENDING, machine.clock())
    assert machine.hints.deliveries == [delivery_key(job.id, "completed")]
    machine.deliver()
    (first, body), (second, same) = origin.received
    assert (first["webhook-id"], body) == (second["webhook-id"], same)
    assert fate(machine, job) == ("delivered", 2, "delivered")


def test_an_event_is_named_by_its_webhook_id_as_well(
    machine: Machine, job: Job, caller: Caller, origin: Origin, again: Redeliveries
) -> None:
    deliver(machine, job)
    again.redeliver(caller.account_id, job.id, f"msg_{job.id}_completed")
    machine.deliver()
    assert len(origin.received) == 2


def test_what_has_failed_for_good_has_the_whole_schedule_again(
    machine: Machine,
    job: Job,
    caller: Caller,
    origin: Origin,
    clock: Clock,
    again: Redeliveries,
) -> None:
    origin.answers = [410] + [500] * 10
    deliver(machine, job)
    assert fate(machine, job) == ("failed", 1, "failed")
    again.redeliver(caller.account_id, job.id, "completed")
    for delay_s in RETRY_DELAYS_S:
        machine.deliver()
        assert due_ms(machine, job) == clock() + delay_s * 1000
        clock.advance(seconds=delay_s)
    machine.deliver()
    assert fate(machine, job) == ("failed", 11, "failed")
    again.redeliver(caller.account_id, job.id, "completed")
    machine.deliver()
    assert fate(machine, job) == ("delivered", 12, "delivered")


def test_what_has_arrived_once_stays_delivered_for_its_job(
    machine: Machine, job: Job, caller: Caller, origin: Origin, again: Redeliveries
) -> None:
    deliver(machine, job)
    origin.answers = [410]
    again.redeliver(caller.account_id, job.id, "completed")
    machine.deliver()
    assert fate(machine, job) == ("failed", 2, "delivered")


def test_what_waits_for_its_next_attempt_is_tried_at_once(
    machine: Machine, job: Job, caller: Caller, origin: Origin, again: Redeliveries
) -> None:
    origin.answers = [500]
    deliver(machine, job)
    again.redeliver(caller.account_id, job.id, "completed")
    machine.deliver()
    assert fate(machine, job) == ("delivered", 2, "delivered")


def test_asking_twice_sends_once(
    machine: Machine, job: Job, caller: Caller, origin: Origin, again: Redeliveries
) -> None:
    deliver(machine, job)
    for _ in range(2):
        again.redeliver(caller.account_id, job.id, "completed")
    assert len(machine.hints.deliveries) == 1
    machine.deliver()
    assert len(origin.received) == 2


def test_one_that_is_under_way_stays_as_it_is(
    machine: Machine, job: Job, caller: Caller, clock: Clock, again: Redeliveries
) -> None:
    def die(call: int) -> None:
        if call == 4:  # it is claimed
            raise Crash

    with pytest.raises(Crash):
        deliver(replace(machine, kv=WatchedStore(machine.kv, before=die)), job)
    before = machine.outbox(job.id)
    sent = again.redeliver(caller.account_id, job.id, "completed")
    assert (sent.delivery, sent.next_at_ms) == (before["completed"], None)
    assert machine.outbox(job.id) == before
    clock.now_ms += LEASE_MS  # nobody will ever tell of that attempt
    again.redeliver(caller.account_id, job.id, "completed")
    machine.deliver()
    assert fate(machine, job) == ("delivered", 2, "delivered")
    assert machine.outbox(job.id)["completed"].log[0].error == LOST


def test_a_receiver_that_rests_is_tried_at_once_when_its_customer_asks(
    machine: Machine, opened: Job, caller: Caller, origin: Origin, again: Redeliveries
) -> None:
    deliver(machine, opened)
    assert origin.received == []
    again.redeliver(caller.account_id, opened.id, "completed")
    machine.deliver()
    assert fate(machine, opened) == ("delivered", 1, "delivered")


@pytest.mark.parametrize(
    "event", ["failed", "Completed", "", "a" * 2000, "completed\n", "\0", "msg_1_completed", "ä"]
)
def test_an_event_that_there_is_not_is_unknown(
    job: Job, caller: Caller, again: Redeliveries, event: str
) -> None:
    with pytest.raises(DeliveryUnknown):
        again.redeliver(caller.account_id, job.id, event)


def test_other_accounts_and_unknown_jobs_are_refused(
    machine: Machine, job: Job, caller: Caller, again: Redeliveries
) -> None:
    stranger = machine.customer().account_id
    with pytest.raises(JobForeign):
        again.redeliver(stranger, job.id, "completed")
    with pytest.raises(JobForeign):
        again.of_job(stranger, job.id)
    with pytest.raises(JobUnknown):
        again.redeliver(caller.account_id, UUID(int=1), "completed")


def test_progress_is_sent_again_while_the_job_runs_and_not_after_its_end(
    machine: Machine, running: Job, caller: Caller, origin: Origin, again: Redeliveries
) -> None:
    machine.deliver()
    again.redeliver(caller.account_id, running.id, "progress-1-40")
    machine.deliver()
    assert len(origin.received) == 2
    machine.services.cancellations.cancel(caller.account_id, running.id)
    with pytest.raises(DeliveryOver):
        again.redeliver(caller.account_id, running.id, "progress-1-40")


def test_after_30_days_there_is_nothing_to_send_again(
    machine: Machine, job: Job, caller: Caller, clock: Clock, again: Redeliveries
) -> None:
    deliver(machine, job)
    clock.advance(seconds=30 * DAY_S - 1)
    assert len(again.of_job(caller.account_id, job.id)) == 1
    clock.advance(seconds=1)
    assert again.of_job(caller.account_id, job.id) == []
    with pytest.raises(DeliveryUnknown):
        again.redeliver(caller.account_id, job.id, "completed")


def test_what_is_sent_again_on_the_last_day_keeps_its_schedule(
    machine: Machine,
    job: Job,
    caller: Caller,
    clock: Clock,
    origin: Origin,
    again: Redeliveries,
) -> None:
    deliver(machine, job)
    clock.advance(seconds=30 * DAY_S - 1)
    origin.answers = [500] * 9
    again.redeliver(caller.account_id, job.id, "completed")
    for delay_s in (*RETRY_DELAYS_S, 0):
        machine.deliver()
        clock.advance(seconds=delay_s)
    assert fate(machine, job) == ("delivered", 11, "delivered")


def test_a_courier_who_claims_meanwhile_is_left_in_peace(
    machine: Machine, job: Job, caller: Caller, origin: Origin
) -> None:
    def overtake(call: int) -> None:
        if call == 2:  # job and delivery were read; the commit is next
            deliver(machine, job)

    watched = replace(machine, kv=WatchedStore(machine.kv, before=overtake))
    watched.services.redeliveries.redeliver(caller.account_id, job.id, "completed")
    assert fate(machine, job) == ("pending", 1, "delivered")
    machine.deliver()
    assert len(origin.received) == 2


def test_who_is_always_overtaken_is_told_to_try_again(
    machine: Machine, job: Job, caller: Caller, clock: Clock
) -> None:
    def overtake(call: int) -> None:
        if call > 1 and call % 2 == 0:
            full = replace(machine.courier, turns=Turns(in_all=0, each=0))
            full.deliver(delivery_key(job.id, "completed"))
            clock.advance(seconds=61)

    watched = replace(machine, kv=WatchedStore(machine.kv, before=overtake))
    with pytest.raises(Unavailable):
        watched.services.redeliveries.redeliver(caller.account_id, job.id, "completed")


def test_events_are_shown_oldest_first_with_what_comes_next(
    machine: Machine, running: Job, caller: Caller, clock: Clock, origin: Origin
) -> None:
    machine.deliver()
    clock.advance(seconds=1)
    machine.services.cancellations.cancel(caller.account_id, running.id)
    origin.answers = [500]
    machine.deliver()
    shown = machine.services.redeliveries.of_job(caller.account_id, running.id)
    assert [(each.delivery.name, each.delivery.state, each.next_at_ms) for each in shown] == [
        ("progress-1-40", "delivered", None),
        ("failed", "pending", clock() + 5_000),
    ]


def test_a_job_without_webhooks_has_none_to_show(
    machine: Machine, caller: Caller, again: Redeliveries
) -> None:
    assert again.of_job(caller.account_id, machine.submit(caller).id) == []
