"""Plans: limits as data, and an account's own ones."""

from typing import Any

import pytest
from pydantic import ValidationError

from billing.accounts import Account, account_key, find_account, new_account
from billing.administration import open_account, set_plan
from billing.errors import AccountUnknown, PlanUnknown
from billing.plans import Plan, Plans, put_on_plan
from storage.kv import Conflict, KeyValue
from tests.running import Clock

PRO = Plan(max_in_flight=7, requests_per_minute=60, daily_requests=5000)
PLANS = Plans(plans={"pro": PRO})


def limits(account: Account) -> tuple[int, int]:
    return account.max_in_flight, account.daily_requests


def test_without_a_file_there_is_the_one_plan_as_it_always_was() -> None:
    assert Plans().plans == {"self-hosted": Plan()}
    assert Plan() == Plan(max_in_flight=100, requests_per_minute=None, daily_requests=500)
    assert limits(Plans().applied(new_account("Ada", now_ms=0))) == (100, 500)


def test_a_file_adds_plans_and_may_change_the_default_one() -> None:
    assert list(PLANS.plans) == ["self-hosted", "pro"]
    plans = Plans.model_validate({"plans": {"self-hosted": {"daily_requests": 9}}})
    assert plans.default.daily_requests == 9
    assert limits(plans.applied(new_account("Ada", now_ms=0))) == (100, 9)


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"pro": 1},
        {"": {}},
        {"pro": {"max_in_flight": 0}},
        {"pro": {"max_in_flight": 1.5}},
        {"pro": {"daily_requests": -1}},
        {"pro": {"requests_per_minute": 0}},
        {"pro": {"requests_per_minute": 10**12}},
        {"pro": {"nonsense": 1}},
        {f"plan-{number}": {} for number in range(101)},
    ],
)
def test_what_is_no_plan_is_refused(said: Any) -> None:
    with pytest.raises(ValidationError):
        Plans.model_validate({"plans": said})


def test_an_account_has_its_plans_limits(kv: KeyValue, clock: Clock) -> None:
    account = open_account(kv, "Ada", credits=0, now_ms=clock()).account
    set_plan(kv, account.id, plan="pro", plans=PLANS)
    found, _ = find_account(kv, account.id)
    assert limits(PLANS.applied(found)) == (7, 5000)
    richer = Plans(plans={"pro": PRO.model_copy(update={"max_in_flight": 70})})
    assert limits(richer.applied(found)) == (70, 5000)


def test_an_accounts_own_limits_win_over_the_plans(kv: KeyValue, clock: Clock) -> None:
    account = open_account(kv, "Ada", credits=0, now_ms=clock(), max_in_flight=3).account
    assert limits(PLANS.applied(account.model_copy(update={"plan": "pro"}))) == (3, 5000)
    set_plan(kv, account.id, plan="pro", plans=PLANS, daily_requests=11)
    assert limits(PLANS.applied(find_account(kv, account.id)[0])) == (7, 11)


def test_an_account_from_before_there_were_plans_keeps_its_limits() -> None:
    stored = new_account("Ada", now_ms=0).model_dump(exclude={"own_limits"})
    old = Account.model_validate(stored | {"max_in_flight": 4, "plan": "pro"})
    assert limits(PLANS.applied(old)) == (4, 500)


def test_a_plan_that_is_gone_leaves_the_default_one() -> None:
    account = new_account("Ada", now_ms=0).model_copy(update={"plan": "gone"})
    assert PLANS.of(account) == Plan()


def test_an_unknown_plan_is_refused_and_the_others_are_named(
    kv: KeyValue, account: Account
) -> None:
    with pytest.raises(PlanUnknown, match="self-hosted, pro"):
        set_plan(kv, account.id, plan="gold", plans=PLANS)
    assert find_account(kv, account.id)[0] == account


def test_an_unknown_account_is_refused(kv: KeyValue) -> None:
    with pytest.raises(AccountUnknown, match="acc_none"):
        set_plan(kv, "acc_none", plan="pro", plans=PLANS)


def test_a_plan_is_not_set_over_what_somebody_else_has_written(
    kv: KeyValue, account: Account
) -> None:
    change = put_on_plan(kv, account.id, plan="pro", plans=PLANS)
    set_plan(kv, account.id, plan="self-hosted", plans=PLANS)
    with pytest.raises(Conflict):
        kv.commit(change)
    item = kv.get(account_key(account.id))
    assert item is not None
    assert item.value["plan"] == "self-hosted"
