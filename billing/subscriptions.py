"""Subscriptions: what is paid for every month or year, and the plan that its account is on by it.

    subscription#<id>, subscription       what was ordered, and what is known of it
    subscriptions#<account>, <time>#<id>  the account's list

Each invoice that is paid is a purchase, see `billing.purchases`: that is what brings credits. What
is known of the subscription itself only ever grows: it has begun, it has ended. The commit in which
it begins or ends writes its account too, so that of two subscriptions of an account the one sees
what the other has done.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from billing.accounts import DEFAULT_PLAN, Account, account_key
from billing.errors import AccountUnknown
from billing.packs import Every, Pack
from billing.plans import Plans
from billing.purchases import FactRefused
from storage.kv import MAX_PAGE, Change, Conflict, Key, KeyValue, Put, Unavailable, Unknown
from storage.record import Record

_TRIES = 20


class Heard(NamedTuple):
    """What is heard of a subscription; `stripe_id` is the id of Stripe's."""

    stripe_id: str | None = None
    session_id: str | None = None
    paid_until_ms: int = 0
    has_begun: bool = False
    has_ended: bool = False


class Subscription(Record):
    """What was ordered, and what is known of it. An invoice is of `amount_minor`, and brings
    `credits`; what is sold today does not change that."""

    id: str
    account_id: str
    pack_id: str
    credits: int
    amount_minor: int
    currency: str
    every: Every
    plan: str | None = None
    created_at_ms: int
    session_id: str | None = None
    stripe_id: str | None = None
    paid_until_ms: int = 0
    has_begun: bool = False
    has_ended: bool = False

    @property
    def state(self) -> Literal["pending", "running", "ended"]:
        """In a word: it runs from the first invoice that is paid until it ends."""
        if self.has_ended:
            return "ended"
        return "running" if self.has_begun else "pending"


class Kept(NamedTuple):
    """A subscription as read, and its version."""

    subscription: Subscription
    version: int


def subscribed(
    account_id: str, pack_id: str, pack: Pack, *, subscription_id: str, now_ms: int
) -> Subscription:
    """A subscription of which nothing is known yet but what it is to cost."""
    if pack.every is None:
        raise ValueError(f"{pack_id} is no subscription")
    return Subscription(
        id=subscription_id,
        account_id=account_id,
        pack_id=pack_id,
        credits=pack.credits,
        amount_minor=pack.amount_minor,
        currency=pack.currency,
        every=pack.every,
        plan=pack.plan,
        created_at_ms=now_ms,
    )


def first_puts(subscription: Subscription) -> tuple[Put, ...]:
    """The changes that record a new subscription."""
    place = f"{subscription.created_at_ms:015}#{subscription.id}"
    row = Key(f"subscriptions#{subscription.account_id}", place)
    return (
        Put(_key(subscription.id), subscription.model_dump()),
        Put(row, {"id": subscription.id}),
    )


def find_subscription(kv: KeyValue, subscription_id: str) -> Kept | None:
    """The subscription of that id."""
    item = kv.get(_key(subscription_id))
    return None if item is None else Kept(Subscription.model_validate(item.value), item.version)


def subscriptions_of(kv: KeyValue, account_id: str, *, limit: int = MAX_PAGE) -> list[Subscription]:
    """Up to `limit` of an account's subscriptions, newest first."""
    rows = kv.query(f"subscriptions#{account_id}", limit=limit, newest_first=True)
    found = [find_subscription(kv, row.value["id"]) for row in rows]
    return [kept.subscription for kept in found if kept is not None]


def note_heard(
    kv: KeyValue, subscription_id: str, heard: Heard, *, plans: Plans
) -> Subscription | None:
    """Merge what was heard; the subscription afterwards, None if there is none.

    When it begins or ends, its account's plan follows. To do so again changes nothing. Raises
    `FactRefused` if it is not about this subscription.
    """
    for _ in range(_TRIES):
        kept = find_subscription(kv, subscription_id)
        if kept is None:
            return None
        new = with_heard(kept.subscription, heard)
        if new == kept.subscription:
            return new
        changes: list[Change] = [Put(_key(new.id), new.model_dump(), replaces=kept.version)]
        if _moves_account(kept.subscription, new):
            changes.append(_account_put(kv, new, plans=plans))
        try:
            kv.commit(*changes)
        except (Conflict, Unknown):
            continue  # what is there now is read anew: what is in it already changes nothing
        return new
    raise Unavailable("the subscription could not be written")


def with_heard(subscription: Subscription, heard: Heard) -> Subscription:
    """The subscription with what was heard; any order comes to the same."""
    for known, said in (
        (subscription.stripe_id, heard.stripe_id),
        (subscription.session_id, heard.session_id),
    ):
        if said is not None and known not in (None, said):
            raise FactRefused(f"{said} is not what it began with at Stripe: {known}")
    return subscription.model_copy(
        update={
            "stripe_id": heard.stripe_id or subscription.stripe_id,
            "session_id": heard.session_id or subscription.session_id,
            "paid_until_ms": max(subscription.paid_until_ms, heard.paid_until_ms),
            "has_begun": subscription.has_begun or heard.has_begun,
            "has_ended": subscription.has_ended or heard.has_ended,
        }
    )


def _moves_account(old: Subscription, new: Subscription) -> bool:
    """Whether it begins or ends; the end of what never began is none."""
    is_news = (old.has_begun, old.has_ended) != (new.has_begun, new.has_ended)
    return is_news and new.has_begun and new.plan is not None


def _account_put(kv: KeyValue, changed: Subscription, *, plans: Plans) -> Put:
    """The account on the plan that its subscriptions come to; written even if that is the same.

    The account is read first: whatever begins or ends afterwards makes the commit fail.
    """
    item = kv.get(account_key(changed.account_id))
    if item is None:
        raise AccountUnknown(f"No such account: {changed.account_id}")
    account = Account.model_validate(item.value)
    others = [o for o in subscriptions_of(kv, account.id) if o.id != changed.id]
    plan = _plan_of(account, changed, others)
    account = plans.applied(account.model_copy(update={"plan": plan}))
    return Put(item.key, account.model_dump(), replaces=item.version)


def _plan_of(account: Account, changed: Subscription, others: Sequence[Subscription]) -> str:
    if changed.has_ended and account.plan != changed.plan:
        return account.plan  # it is on another by now
    running = [s for s in (changed, *others) if s.state == "running" and s.plan is not None]
    newest = max(running, key=lambda each: (each.created_at_ms, each.id), default=None)
    return newest.plan if newest is not None and newest.plan is not None else DEFAULT_PLAN


def _key(subscription_id: str) -> Key:
    return Key(f"subscription#{subscription_id}", "subscription")
