"""Plans: what an account may do, as data; an operator writes more of them into a JSON file."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from billing.accounts import (
    DEFAULT_DAILY_REQUESTS,
    DEFAULT_MAX_IN_FLIGHT,
    DEFAULT_PLAN,
    Account,
    account_key,
)
from billing.errors import AccountUnknown, PlanUnknown
from storage.kv import KeyValue, Put

MAX_PLANS = 100
MAX_LIMIT = 10**9

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]


class Plan(BaseModel):
    """The limits of a plan. Without `requests_per_minute` no key is slowed down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_in_flight: Limit = DEFAULT_MAX_IN_FLIGHT
    """Unfinished jobs of an account at a time, exactly."""

    requests_per_minute: Limit | None = None
    """Requests of a key in each process, about."""

    daily_requests: Limit = DEFAULT_DAILY_REQUESTS
    """VicSee's submissions of an account in a UTC day, exactly."""


def _with_default(said: Any) -> Any:
    return {DEFAULT_PLAN: {}, **said} if isinstance(said, Mapping) else said


PlanName = Annotated[str, Field(min_length=1, max_length=100)]


class Plans(BaseModel):
    """Every plan by its name; the one of new accounts is always among them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plans: Annotated[
        dict[PlanName, Plan],
        BeforeValidator(_with_default),
        Field(max_length=MAX_PLANS, validate_default=True),
    ] = {}

    @property
    def default(self) -> Plan:
        """The plan of new accounts."""
        return self.plans[DEFAULT_PLAN]

    def named(self, name: str) -> Plan:
        """The plan of that name; `PlanUnknown` if there is none."""
        if name not in self.plans:
            raise PlanUnknown(f"There is no plan {name}; there are {', '.join(self.plans)}")
        return self.plans[name]

    def of(self, account: Account) -> Plan:
        """An account's plan; the default one if its own is in the list no more."""
        return self.plans.get(account.plan, self.default)

    def applied(self, account: Account) -> Account:
        """The account with its plan's limits in the place of those that are not its own."""
        of_plan = self.of(account).model_dump(exclude={"requests_per_minute"})
        changes = {name: of_plan[name] for name in of_plan if name not in account.own_limits}
        return account.model_copy(update=changes)


SELF_HOSTED = Plans()
"""The one plan that there is where an operator names no other."""


def put_on_plan(
    kv: KeyValue, account_id: str, *, plan: str, plans: Plans, **own_limits: int
) -> Put:
    """The change that gives an account a plan.

    Of the limits only `own_limits` stay or become the account's own. Raises `PlanUnknown`,
    `AccountUnknown`.
    """
    limits = plans.named(plan)
    item = kv.get(account_key(account_id))
    if item is None:
        raise AccountUnknown(f"No such account: {account_id}")
    account = Account.model_validate(item.value)
    changes = {
        "plan": plan,
        "max_in_flight": limits.max_in_flight,
        "daily_requests": limits.daily_requests,
        "own_limits": tuple(own_limits),
        **own_limits,
    }
    return Put(item.key, account.model_copy(update=changes).model_dump(), replaces=item.version)
