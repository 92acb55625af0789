"""Subscriptions: when they begin and end, and which plan their account is on by them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.accounts import DEFAULT_PLAN, Account, find_account
from billing.administration import set_plan
from billing.packs import Pack
from billing.plans import Plan, Plans
from billing.purchases import FactRefused
from billing.subscriptions import (
    Heard,
    Subscription,
    find_subscription,
    first_puts,
    note_heard,
    subscribed,
    subscriptions_of,
)
from storage.kv import Conflict, Delete, Key, KeyValue, Unavailable, Unknown
from tests.watched import WatchedStore

PLANS = Plans(
    plans={
        "basic": Plan(max_in_flight=20),
        "pro": Plan(max_in_flight=200, daily_requests=9000),
        "house": Plan(max_in_flight=7),
    }
)
BEGUN = Heard("sub_1", has_begun=True, paid_until_ms=5)
ENDED = Heard("sub_1", has_ended=True)
COMMITTING = 4
"""The call to the store that commits, of an account that has one subscription."""


def pack(plan: str | None = "pro") -> Pack:
    return Pack(
        name="Each month", credits=1000, amount_minor=900, currency="eur", every="month", plan=plan
    )


def subscribe(
    kv: KeyValue,
    account: Account,
    name: str = "subs_1",
    *,
    plan: str | None = "pro",
    now_ms: int = 1,
) -> Subscription:
    made = subscribed(account.id, "monthly", pack(plan), subscription_id=name, now_ms=now_ms)
    kv.commit(*first_puts(made))
    return made


@pytest.fixture(autouse=True)
def account(kv: KeyValue, account: Account) -> Account:
    """An account whose limits are its plan's, with a subscription that has not begun."""
    account = set_plan(kv, account.id, plan=DEFAULT_PLAN, plans=PLANS)
    subscribe(kv, account)
    return account


def hear(kv: KeyValue, *heard: Heard, name: str = "subs_1") -> Subscription:
    for each in heard:
        after = note_heard(kv, name, each, plans=PLANS)
    assert after is not None
    return after


def on_plan(kv: KeyValue, account: Account) -> tuple[str, int]:
    """The account's plan, and how many jobs it may have."""
    found, _ = find_account(kv, account.id)
    assert PLANS.applied(found) == found
    return found.plan, found.max_in_flight


def test_an_order_alone_changes_no_plan(kv: KeyValue, account: Account) -> None:
    assert on_plan(kv, account) == (DEFAULT_PLAN, 100)
    assert [each.state for each in subscriptions_of(kv, account.id)] == ["pending"]


def test_one_that_begins_puts_its_account_on_its_plan(kv: KeyValue, account: Account) -> None:
    assert hear(kv, BEGUN, BEGUN).state == "running"
    assert on_plan(kv, account) == ("pro", 200)


def test_one_that_ends_puts_its_account_back(kv: KeyValue, account: Account) -> None:
    assert hear(kv, BEGUN, ENDED, ENDED).state == "ended"
    assert on_plan(kv, account) == (DEFAULT_PLAN, 100)


def test_one_that_has_ended_does_not_begin_again(kv: KeyValue, account: Account) -> None:
    assert hear(kv, ENDED, BEGUN).state == "ended"
    assert on_plan(kv, account) == (DEFAULT_PLAN, 100)


def test_an_accounts_own_limits_stay(kv: KeyValue, account: Account) -> None:
    set_plan(kv, account.id, plan=DEFAULT_PLAN, plans=PLANS, max_in_flight=3)
    hear(kv, BEGUN)
    found, _ = find_account(kv, account.id)
    assert (found.plan, found.max_in_flight, found.daily_requests) == ("pro", 3, 9000)
    hear(kv, ENDED)
    found, _ = find_account(kv, account.id)
    assert (found.plan, found.max_in_flight, found.daily_requests) == (DEFAULT_PLAN, 3, 500)


def test_one_without_a_plan_changes_none(kv: KeyValue, account: Account) -> None:
    set_plan(kv, account.id, plan="house", plans=PLANS)
    subscribe(kv, account, "subs_2", plan=None)
    hear(kv, BEGUN, ENDED, name="subs_2")
    assert on_plan(kv, account) == ("house", 7)


def test_a_plan_that_an_operator_has_given_meanwhile_stays(kv: KeyValue, account: Account) -> None:
    hear(kv, BEGUN)
    set_plan(kv, account.id, plan="house", plans=PLANS)
    hear(kv, Heard("sub_1", has_begun=True, paid_until_ms=9), ENDED)
    assert on_plan(kv, account) == ("house", 7)


def test_the_end_of_what_never_began_takes_no_plan(kv: KeyValue, account: Account) -> None:
    set_plan(kv, account.id, plan="pro", plans=PLANS)
    hear(kv, ENDED)
    assert on_plan(kv, account) == ("pro", 200)


@pytest.mark.parametrize("order", [("subs_1", "subs_2"), ("subs_2", "subs_1")])
def test_of_two_the_newer_ones_plan_counts_until_it_ends(
    kv: KeyValue, account: Account, order: tuple[str, str]
) -> None:
    subscribe(kv, account, "subs_2", plan="basic", now_ms=2)
    for name in order:
        hear(kv, BEGUN, name=name)
    assert on_plan(kv, account) == ("basic", 20)
    hear(kv, ENDED, name="subs_2")
    assert on_plan(kv, account) == ("pro", 200)
    hear(kv, ENDED)
    assert on_plan(kv, account) == (DEFAULT_PLAN, 100)


def test_the_older_of_two_may_end_first(kv: KeyValue, account: Account) -> None:
    subscribe(kv, account, "subs_2", plan="basic", now_ms=2)
    hear(kv, BEGUN)
    hear(kv, BEGUN, name="subs_2")
    hear(kv, ENDED)
    assert on_plan(kv, account) == ("basic", 20)


@pytest.mark.parametrize("plan", ["basic", "pro"])
@pytest.mark.parametrize("call", range(6))
def test_one_that_begins_while_another_ends_is_seen(
    kv: KeyValue, account: Account, call: int, plan: str
) -> None:
    subscribe(kv, account, "subs_2", plan=plan, now_ms=2)
    hear(kv, BEGUN)

    def begin_the_other(number: int) -> None:
        if number == call:
            hear(kv, BEGUN, name="subs_2")

    watched = WatchedStore(kv, before=begin_the_other)
    hear(watched, ENDED)
    assert watched.calls > call
    assert on_plan(kv, account)[0] == plan


def test_many_at_the_same_time_come_to_the_newest_ones_plan(kv: KeyValue, account: Account) -> None:
    names = [f"subs_{number}" for number in range(2, 8)]
    for now_ms, name in enumerate(names, start=2):
        subscribe(kv, account, name, plan="basic" if name == names[-1] else "pro", now_ms=now_ms)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda name: hear(kv, BEGUN, name=name), names))
    assert on_plan(kv, account) == ("basic", 20)


def test_a_plan_that_there_is_no_more_has_the_usual_limits(kv: KeyValue, account: Account) -> None:
    subscribe(kv, account, "subs_2", plan="gone", now_ms=2)
    hear(kv, BEGUN, name="subs_2")
    assert on_plan(kv, account) == ("gone", 100)


def test_how_long_it_is_paid_only_grows(kv: KeyValue) -> None:
    assert hear(kv, Heard(paid_until_ms=9), Heard(paid_until_ms=4)).paid_until_ms == 9


@pytest.mark.parametrize("other", [Heard("sub_2", has_ended=True), Heard(session_id="cs_2")])
def test_what_is_said_of_another_of_stripes_is_refused(kv: KeyValue, other: Heard) -> None:
    hear(kv, BEGUN, Heard(session_id="cs_1"))
    before = find_subscription(kv, "subs_1")
    with pytest.raises(FactRefused):
        hear(kv, other)
    assert find_subscription(kv, "subs_1") == before


def test_an_unknown_one_is_told_from_a_known_one(kv: KeyValue) -> None:
    assert note_heard(kv, "subs_unknown", BEGUN, plans=PLANS) is None


@pytest.mark.parametrize("lost", [Unknown("no answer"), Conflict(Delete(Key("a", "b"), 1))])
def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    kv: KeyValue, account: Account, lost: Exception
) -> None:
    def lose(call: int) -> None:
        if call == COMMITTING:
            raise lost

    assert hear(WatchedStore(kv, after=lose), BEGUN).state == "running"
    assert on_plan(kv, account) == ("pro", 200)


def test_a_store_that_never_takes_it_is_told(kv: KeyValue) -> None:
    def refuse(call: int) -> None:
        if call % (COMMITTING + 1) == COMMITTING:
            raise Unknown("no answer")

    with pytest.raises(Unavailable):
        hear(WatchedStore(kv, before=refuse), BEGUN)


def test_a_pack_that_is_bought_once_is_no_subscription(account: Account) -> None:
    once = Pack(name="Once", credits=1, amount_minor=1, currency="eur")
    with pytest.raises(ValueError, match="no subscription"):
        subscribed(account.id, "once", once, subscription_id="subs_9", now_ms=1)


def test_a_plan_is_sold_by_a_subscription_only() -> None:
    with pytest.raises(ValueError, match="by a subscription only"):
        Pack(name="Once", credits=1, amount_minor=1, currency="eur", plan="pro")
