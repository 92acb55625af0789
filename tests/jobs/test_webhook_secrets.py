"""Rotating a webhook secret: in each phase every webhook can be verified by who should be able."""

from dataclasses import replace

import pytest
from standardwebhooks import Webhook as StandardWebhook
from standardwebhooks import WebhookVerificationError

from billing.accounts import find_account, live_webhook_secrets
from billing.administration import grant_credits
from billing.errors import AccountUnknown
from billing.keys import Caller
from jobs.errors import SecretRotating
from jobs.ids import system_clock
from jobs.webhook_secrets import rotate_webhook_secret
from storage.kv import Unavailable
from tests.jobs.machine import Machine
from tests.jobs.test_courier import completed, deliver
from tests.running import Clock, Origin
from tests.watched import WatchedStore

HOUR_MS = 60 * 60 * 1000


def secret_of(machine: Machine, caller: Caller) -> str:
    return find_account(machine.kv, caller.account_id)[0].webhook_secret


def rotate(machine: Machine, caller: Caller, *, grace_hours: int = 24) -> str:
    """The new secret."""
    return rotate_webhook_secret(
        machine.kv, caller.account_id, grace_hours=grace_hours, now_ms=machine.clock()
    ).webhook_secret


def verified_by(
    machine: Machine, caller: Caller, origin: Origin, secrets: dict[str, str]
) -> set[str]:
    """Which of the secrets verify a webhook that is delivered now."""
    origin.received.clear()
    deliver(machine, completed(machine, caller, f"{origin.url}/hook"))
    ((sent, body),) = origin.received
    return {name for name, secret in secrets.items() if _verifies(secret, sent, body)}


def _verifies(secret: str, sent: dict[str, str], body: bytes) -> bool:
    try:
        StandardWebhook(secret).verify(body, sent)
    except WebhookVerificationError:
        return False
    return True


def test_each_phase_of_a_rotation_is_verified_by_who_should_be_able(
    machine: Machine, caller: Caller, origin: Origin, clock: Clock
) -> None:
    # The end of the grace is a minute from now: the standard's library looks at its clock.
    end_ms = system_clock() + HOUR_MS // 60
    clock.now_ms = end_ms - 24 * HOUR_MS
    secrets = {"old": secret_of(machine, caller)}
    secrets["new"] = rotate(machine, caller)
    clock.now_ms = end_ms - 1
    assert verified_by(machine, caller, origin, secrets) == {"old", "new"}
    clock.now_ms = end_ms
    assert verified_by(machine, caller, origin, secrets) == {"new"}


def test_before_a_rotation_there_is_one_signature(
    machine: Machine, caller: Caller, origin: Origin, clock: Clock
) -> None:
    clock.now_ms = system_clock()
    secrets = {"only": secret_of(machine, caller)}
    assert verified_by(machine, caller, origin, secrets) == {"only"}
    assert " " not in origin.received[0][0]["webhook-signature"]


def test_without_grace_the_old_one_ends_at_once(
    machine: Machine, caller: Caller, origin: Origin, clock: Clock
) -> None:
    clock.now_ms = system_clock()
    secrets = {"old": secret_of(machine, caller)}
    secrets["new"] = rotate(machine, caller, grace_hours=0)
    assert verified_by(machine, caller, origin, secrets) == {"new"}


def test_there_are_never_three(machine: Machine, caller: Caller, clock: Clock) -> None:
    new = rotate(machine, caller)
    clock.now_ms += 24 * HOUR_MS - 1
    with pytest.raises(SecretRotating, match="signs until 20"):
        rotate(machine, caller)
    assert secret_of(machine, caller) == new
    clock.now_ms += 1
    assert rotate(machine, caller) != new


def test_a_rotation_under_way_is_cut_short_by_one_without_grace(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    rotate(machine, caller)
    newest = rotate(machine, caller, grace_hours=0)
    account, _ = find_account(machine.kv, caller.account_id)
    assert live_webhook_secrets(account, now_ms=clock()) == (newest,)
    assert account.older_webhook_secret is None


def test_a_rotation_leaves_the_balance_alone(machine: Machine, caller: Caller) -> None:
    before = machine.balance(caller.account_id)
    rotate(machine, caller)
    assert machine.balance(caller.account_id) == before


def test_an_account_that_there_is_not_has_no_secret(machine: Machine) -> None:
    with pytest.raises(AccountUnknown):
        rotate_webhook_secret(machine.kv, "acc_none", grace_hours=1, now_ms=1)


def test_of_two_rotations_at_once_one_is_refused(machine: Machine, caller: Caller) -> None:
    made = []

    def overtake(call: int) -> None:
        if call == 1:  # the account was read; the commit is next
            made.append(rotate(machine, caller))

    with pytest.raises(SecretRotating):
        rotate(replace(machine, kv=WatchedStore(machine.kv, before=overtake)), caller)
    assert [secret_of(machine, caller)] == made


def test_who_is_always_overtaken_is_told_to_try_again(machine: Machine, caller: Caller) -> None:
    def overtake(call: int) -> None:
        if call % 2 == 1:
            rotate(machine, caller, grace_hours=0)

    with pytest.raises(Unavailable):
        rotate(replace(machine, kv=WatchedStore(machine.kv, before=overtake)), caller)


def test_a_grant_meanwhile_is_in_nobodys_way(machine: Machine, caller: Caller) -> None:
    def grant(call: int) -> None:
        if call == 1:
            grant_credits(machine.kv, caller.account_id, credits=5, now_ms=1)

    before = machine.balance(caller.account_id).available
    rotate(replace(machine, kv=WatchedStore(machine.kv, before=grant)), caller)
    assert machine.balance(caller.account_id).available == before + 5
