"""Promotional credits: spent first, given back to where they came from, gone when they expire."""

import pytest

from billing import ledger
from billing.accounts import Account, Balance, account_key, find_account
from billing.administration import grant_promotion
from billing.errors import TooManyPromotions
from billing.ledger import Split
from billing.promotions import (
    MAX_PROMOTIONS,
    PROMOTIONS,
    Promotion,
    expire,
    promoted,
    promotions_of,
)
from billing.verification import verify
from storage.kv import Add, Conflict, KeyValue
from tests.running import Clock
from tests.watched import WatchedStore

DAY_MS = 24 * 60 * 60 * 1000


def promote(
    kv: KeyValue,
    account: Account,
    clock: Clock,
    *,
    credits: int,
    days: int | None,
    cause: str = "a",
) -> None:
    until_ms = None if days is None else clock() + days * DAY_MS
    promotion = Promotion(
        account_id=account.id, cause=cause, credits=credits, expires_at_ms=until_ms
    )
    kv.commit(*promoted(promotion, now_ms=clock()))


def balance_of(kv: KeyValue, account: Account) -> Balance:
    return find_account(kv, account.id)[1]


def spend(kv: KeyValue, account: Account, job: str, *, credits: int) -> Split:
    split = ledger.split_of(balance_of(kv, account), credits=credits)
    kv.commit(*ledger.hold(account, job, split=split, now_ms=0))
    return split


def sweep(kv: KeyValue, clock: Clock) -> int:
    """Expire what is due; how much was."""
    due = kv.due(PROMOTIONS, until_ms=clock(), limit=100)
    for item in due:
        expire(kv, item, now_ms=clock())
    assert list(verify(kv)) == []
    return len(due)


def test_promotional_credits_are_spent_first(kv: KeyValue, account: Account, clock: Clock) -> None:
    promote(kv, account, clock, credits=30, days=1)
    assert balance_of(kv, account).spendable == 130
    assert spend(kv, account, "a", credits=20) == Split(promo=20, paid=0)
    assert spend(kv, account, "b", credits=20) == Split(promo=10, paid=10)
    assert balance_of(kv, account) == Balance(available=90, held=40, in_flight=2)


def test_a_failed_job_gives_each_kind_back(kv: KeyValue, account: Account, clock: Clock) -> None:
    promote(kv, account, clock, credits=30, days=None)
    split = spend(kv, account, "a", credits=50)
    kv.commit(*ledger.release(account.id, "a", split=split, now_ms=0))
    assert balance_of(kv, account) == Balance(available=100, promo=30)


@pytest.mark.parametrize("wrong", [Split(0, 50), Split(50, 0), Split(29, 21)])
@pytest.mark.parametrize("settle", [ledger.capture, ledger.release])
def test_a_hold_is_not_resolved_as_another_mixture(
    kv: KeyValue, account: Account, clock: Clock, wrong: Split, settle: object
) -> None:
    promote(kv, account, clock, credits=30, days=None)
    spend(kv, account, "a", credits=50)
    assert callable(settle)
    with pytest.raises(Conflict):
        kv.commit(*settle(account.id, "a", split=wrong, now_ms=0))


def test_what_is_unspent_goes_when_its_time_is_over(
    kv: KeyValue, account: Account, clock: Clock
) -> None:
    promote(kv, account, clock, credits=30, days=1)
    spend(kv, account, "a", credits=10)
    clock.advance(seconds=86_399)
    assert sweep(kv, clock) == 0
    clock.advance(seconds=1)
    assert sweep(kv, clock) == 1
    assert balance_of(kv, account) == Balance(available=100, held=10, in_flight=1)
    entries = dict(ledger.entries(kv, account.id))
    assert entries["expiry:a"].promo == -20
    assert sweep(kv, clock) == 0


def test_what_was_spent_is_what_would_have_expired_first(
    kv: KeyValue, account: Account, clock: Clock
) -> None:
    promote(kv, account, clock, credits=30, days=9, cause="long")
    promote(kv, account, clock, credits=30, days=1, cause="short")
    promote(kv, account, clock, credits=5, days=None, cause="for-good")
    spend(kv, account, "a", credits=20)
    clock.advance(seconds=86_400)
    sweep(kv, clock)
    assert balance_of(kv, account).promo == 35
    clock.advance(seconds=9 * 86_400)
    sweep(kv, clock)
    assert balance_of(kv, account).promo == 5
    assert [each.cause for each in promotions_of(kv, account.id)] == ["for-good"]


def test_a_promotion_that_was_spent_goes_without_an_entry(
    kv: KeyValue, account: Account, clock: Clock
) -> None:
    promote(kv, account, clock, credits=10, days=1)
    spend(kv, account, "a", credits=20)
    clock.advance(seconds=86_400)
    assert sweep(kv, clock) == 1
    assert "expiry:a" not in dict(ledger.entries(kv, account.id))


def test_a_cause_gives_once(kv: KeyValue, account: Account, clock: Clock) -> None:
    promote(kv, account, clock, credits=10, days=1)
    with pytest.raises(Conflict):
        promote(kv, account, clock, credits=10, days=2)
    assert balance_of(kv, account).promo == 10


def test_credits_that_are_spent_while_others_expire_are_not_taken_twice(
    kv: KeyValue, account: Account, clock: Clock
) -> None:
    promote(kv, account, clock, credits=30, days=1)
    clock.advance(seconds=86_400)
    (item,) = kv.due(PROMOTIONS, until_ms=clock(), limit=10)
    spent: list[Split] = []

    def spend_in_between(call: int) -> None:
        if call == 3:  # between its reading of the balance and its commit
            spent.append(spend(kv, account, "a", credits=25))

    expire(WatchedStore(kv, before=spend_in_between), item, now_ms=clock())
    assert spent == [Split(promo=25, paid=0)]
    assert balance_of(kv, account) == Balance(available=100, held=25, in_flight=1)
    assert list(verify(kv)) == []


@pytest.mark.parametrize("late_ms", [0, 1])
def test_a_promotion_that_is_over_cannot_be_given(
    account: Account, clock: Clock, late_ms: int
) -> None:
    over = Promotion(account_id=account.id, cause="a", credits=1, expires_at_ms=clock() - late_ms)
    with pytest.raises(ValueError, match="expired"):
        promoted(over, now_ms=clock())


def test_an_account_has_a_limited_number_of_promotions(
    kv: KeyValue, account: Account, clock: Clock
) -> None:
    for _ in range(MAX_PROMOTIONS):
        grant_promotion(kv, account.id, credits=1, expires_at_ms=None, now_ms=clock())
    with pytest.raises(TooManyPromotions):
        grant_promotion(kv, account.id, credits=1, expires_at_ms=None, now_ms=clock())
    assert balance_of(kv, account).promo == MAX_PROMOTIONS


def test_who_owes_cannot_spend_what_was_given(kv: KeyValue, account: Account, clock: Clock) -> None:
    promote(kv, account, clock, credits=30, days=None)
    kv.commit(Add(account_key(account.id), {"available": -101}))
    balance = balance_of(kv, account)
    assert (balance.owed, balance.spendable) == (1, 0)
    with pytest.raises(Conflict):
        spend(kv, account, "a", credits=10)


def test_what_others_spend_meanwhile_is_not_taken_from_what_lasts(
    kv: KeyValue, account: Account, clock: Clock
) -> None:
    promote(kv, account, clock, credits=40, days=None, cause="lasting")
    promote(kv, account, clock, credits=30, days=1, cause="short")
    clock.advance(seconds=86_400)
    (item,) = kv.due(PROMOTIONS, until_ms=clock(), limit=10)

    def spend_in_between(call: int) -> None:
        if call == 3:  # between its reading of the balance and its commit
            spend(kv, account, "a", credits=25)

    expire(WatchedStore(kv, before=spend_in_between), item, now_ms=clock())
    assert balance_of(kv, account) == Balance(available=100, promo=40, held=25, in_flight=1)
