"""The audit: it finds what is off, says so, and keeps what it found."""

import logging
from dataclasses import replace

import pytest

from billing.accounts import account_key
from billing.keys import Caller
from jobs import audit
from jobs.audit import EVERY_MS, Audited
from storage.kv import Add, Change, Item, Key, Unavailable
from tests.jobs.machine import Machine
from tests.running import Clock
from tests.watched import WatchedStore


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


def test_a_sound_ledger_is_audited_without_an_error(
    machine: Machine, caller: Caller, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    machine.submit(caller)
    assert machine.services.audit.run() == []
    assert machine.services.audit.last() == Audited(discrepancies=0, ended_at_ms=clock())
    assert errors(caplog) == []


def test_what_is_off_is_an_error_in_the_log_and_a_number_that_is_kept(
    machine: Machine, caller: Caller, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    machine.kv.commit(Add(account_key(caller.account_id), {"available": 5, "held": 3}))
    assert {found.account_id for found in machine.services.audit.run()} == {caller.account_id}
    assert errors(caplog) == [
        f"the ledger is off: {caller.account_id}: available is 105, its entries say 100",
        f"the ledger is off: {caller.account_id}: held is 3, its entries say 0",
    ]
    assert machine.services.audit.last() == Audited(discrepancies=2, ended_at_ms=clock())


def test_what_was_put_right_is_off_no_more(machine: Machine, caller: Caller) -> None:
    key = account_key(caller.account_id)
    for amount, discrepancies in ((5, 1), (-5, 0)):
        machine.kv.commit(Add(key, {"available": amount}))
        machine.services.audit.run()
        last = machine.services.audit.last()
        assert last is not None
        assert last.discrepancies == discrepancies


def test_a_day_passes_between_audits_whoever_made_the_last_one(
    machine: Machine, clock: Clock
) -> None:
    other = replace(machine)
    assert machine.services.audit.run_if_due()
    assert not machine.services.audit.run_if_due()
    clock.now_ms += EVERY_MS - 1
    assert not other.services.audit.run_if_due()
    clock.now_ms += 1
    assert other.services.audit.run_if_due()
    assert not machine.services.audit.run_if_due()


def test_before_the_first_audit_nothing_is_known(machine: Machine) -> None:
    assert machine.services.audit.last() is None


def test_a_long_list_is_cut_in_the_log_and_counted_in_full(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_LOGGED", 1)
    for _ in range(3):
        key = account_key(machine.customer().account_id)
        machine.kv.commit(Add(key, {"available": 1}))
    assert len(machine.services.audit.run()) == 3
    assert errors(caplog)[1:] == ["the ledger is off: 2 more discrepancies"]


def test_two_audits_that_end_at_once_leave_the_first_ones_result(
    machine: Machine, clock: Clock
) -> None:
    machine.services.audit.run()

    class Slow(WatchedStore):
        def commit(self, *changes: Change) -> None:
            machine.services.audit.run()
            super().commit(*changes)

    late = replace(machine, kv=Slow(machine.kv)).services.audit
    clock.advance(seconds=1)
    assert late.run() == []
    last = late.last()
    assert last is not None
    assert last.ended_at_ms == clock()


def test_a_store_that_is_down_is_no_sound_ledger(machine: Machine, caller: Caller) -> None:
    class Down(WatchedStore):
        def get(self, key: Key) -> Item | None:
            raise Unavailable(f"cannot read {key}")

    assert caller
    with pytest.raises(Unavailable):
        replace(machine, kv=Down(machine.kv)).services.audit.run()
    assert machine.services.audit.last() is None
