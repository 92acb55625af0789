"""Accounts: what is in a new one, how they are found and listed, and what an operator does."""

import base64

import pytest

from billing import keys, ledger
from billing.accounts import Account, Balance, all_account_ids, find_account, new_account
from billing.administration import create_key, grant_credits, open_account, set_key_state
from billing.errors import AccountUnknown, KeyNotFound
from billing.keys import KeyState
from billing.verification import verify
from storage.kv import MAX_PAGE, Key, KeyValue, Put
from tests.running import Clock


def test_an_opened_account_has_its_credits_and_a_key_that_works(kv: KeyValue, clock: Clock) -> None:
    opened = open_account(kv, "Ada", credits=70, now_ms=clock(), max_in_flight=2, daily_requests=9)
    account, balance = find_account(kv, opened.account.id)
    assert account == opened.account
    assert (account.name, account.max_in_flight, account.daily_requests) == ("Ada", 2, 9)
    assert balance == Balance(available=70)
    assert keys.authenticate(kv, opened.key.body, now_ms=clock()).account_id == account.id


def test_the_opening_credits_are_an_entry(kv: KeyValue, account: Account, clock: Clock) -> None:
    assert list(ledger.entries(kv, account.id)) == [
        (
            "grant:opening",
            ledger.Entry(kind=ledger.EntryKind.GRANT, credits=100, at_ms=clock()),
        )
    ]


def test_an_account_may_open_without_credits(kv: KeyValue, clock: Clock) -> None:
    poor = open_account(kv, "Poor", credits=0, now_ms=clock()).account
    assert find_account(kv, poor.id)[1] == Balance()
    assert list(ledger.entries(kv, poor.id)) == []
    assert list(verify(kv)) == []


def test_an_account_cannot_open_in_debt(kv: KeyValue, clock: Clock) -> None:
    with pytest.raises(ValueError, match="-1 credits"):
        open_account(kv, "Ada", credits=-1, now_ms=clock())
    assert list(all_account_ids(kv)) == []


def test_accounts_have_ids_and_secrets_of_their_own(clock: Clock) -> None:
    accounts = [new_account("Ada", now_ms=clock()) for _ in range(20)]
    assert len({account.id for account in accounts}) == 20
    secrets = {account.webhook_secret for account in accounts}
    assert len(secrets) == 20
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in secrets} == {32}


def test_an_unknown_account_is_named(kv: KeyValue, clock: Clock) -> None:
    with pytest.raises(AccountUnknown, match="acc_none"):
        find_account(kv, "acc_none")
    with pytest.raises(AccountUnknown, match="acc_none"):
        create_key(kv, "acc_none", name="key", now_ms=clock())
    with pytest.raises(AccountUnknown, match="acc_none"):
        grant_credits(kv, "acc_none", credits=1, now_ms=clock())
    with pytest.raises(KeyNotFound, match="key_none"):
        set_key_state(kv, "acc_none", key_id="key_none", state=KeyState.REVOKED)


def test_granted_credits_are_there_at_once(kv: KeyValue, account: Account, clock: Clock) -> None:
    assert grant_credits(kv, account.id, credits=25, now_ms=clock()).available == 125
    assert grant_credits(kv, account.id, credits=25, now_ms=clock()).available == 150
    assert list(verify(kv)) == []


@pytest.mark.parametrize("credits", [0, -5])
def test_a_grant_is_of_something(
    kv: KeyValue, account: Account, clock: Clock, credits: int
) -> None:
    with pytest.raises(ValueError, match="at least 1 credit"):
        grant_credits(kv, account.id, credits=credits, now_ms=clock())


def test_every_account_is_listed_beyond_one_page(kv: KeyValue) -> None:
    ids = [f"acc_{number:05}" for number in range(MAX_PAGE + 5)]
    for start in range(0, len(ids), 25):
        kv.commit(*(Put(Key("accounts", each), {}) for each in ids[start : start + 25]))
    assert list(all_account_ids(kv)) == ids


def test_what_a_newer_release_wrote_in_an_account_is_kept(clock: Clock) -> None:
    stored = new_account("Ada", now_ms=clock()).model_dump() | {"colour": "green"}
    assert Account.model_validate(stored).model_dump() == stored
