"""Test events: they look and are signed as real ones are, and leave nothing behind."""

import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from standardwebhooks import Webhook as StandardWebhook

from billing.accounts import find_account
from billing.keys import Caller
from jobs.errors import TooManyAtOnce
from jobs.ids import system_clock
from jobs.job import WebhookEvent
from jobs.rehearsal import example
from jobs.webhooks import payload
from tests.jobs.machine import Machine
from tests.jobs.test_webhooks import COMPLETED, EVENTS, FAILED, LINKS, RUNNING
from tests.running import Clock, Origin
from tests.watched import WatchedStore


@pytest.mark.parametrize("event", EVENTS)
def test_an_example_has_what_a_real_event_has(event: WebhookEvent) -> None:
    job = {"progress": RUNNING, "completed": COMPLETED, "failed": FAILED}[event]
    real = payload(job, event, links=LINKS)
    shown = example(event, links=LINKS, now_ms=1)
    assert shown.keys() == real.keys() | {"test"}
    assert {name: type(value) for name, value in shown.items() if name != "test"} == {
        name: type(value) for name, value in real.items()
    }
    assert shown["event"] == event


def test_an_example_is_signed_with_the_accounts_secret_and_by_the_callers_key(
    machine: Machine, caller: Caller, origin: Origin, clock: Clock
) -> None:
    clock.now_ms = system_clock()  # the standard's library compares with the machine's clock
    tried = machine.services.rehearsals.rehearse(caller, f"{origin.url}/hook", "completed")
    assert (tried.status, tried.error) == (200, None)
    ((sent, body),) = origin.received
    account, _ = find_account(machine.kv, caller.account_id)
    StandardWebhook(account.webhook_secret).verify(body, sent)
    digest = hmac.new(bytes.fromhex(caller.key_sha256), body, hashlib.sha256).hexdigest()
    assert sent["X-Webhook-Signature"] == f"sha256={digest}"
    assert json.loads(body)["test"] is True


def test_each_example_has_an_id_of_its_own(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    for _ in range(2):
        machine.services.rehearsals.rehearse(caller, f"{origin.url}/hook", "failed")
    assert len({sent["webhook-id"] for sent, _ in origin.received}) == 2


def test_an_example_that_fails_is_not_repeated_and_leaves_nothing_in_the_store(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    origin.answers = [503] * 9
    written = WatchedStore(machine.kv)
    watched = replace(machine, kv=written)
    for _ in range(9):
        tried = watched.services.rehearsals.rehearse(caller, f"{origin.url}/hook", "completed")
        assert tried.status == 503
    assert written.calls == 9  # the account was read each time
    machine.deliver()
    assert len(origin.received) == 9


def test_an_account_has_one_example_under_way(
    machine: Machine, caller: Caller, origin: Origin
) -> None:
    rehearsals = machine.services.rehearsals
    with (
        rehearsals.turns.taken(caller.account_id),
        pytest.raises(TooManyAtOnce, match="test event"),
    ):
        rehearsals.rehearse(caller, f"{origin.url}/hook", "completed")
    assert origin.received == []
    assert rehearsals.rehearse(caller, f"{origin.url}/hook", "completed").status == 200
