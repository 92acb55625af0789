"""Payments: credits are sold through Stripe, and follow what becomes of the money."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from billing import purchases, subscriptions
from billing.accounts import find_account
from billing.errors import AlreadySubscribed, PaymentsUnavailable
from billing.packs import USUAL_PACKS, Pack, Packs
from billing.plans import SELF_HOSTED, Plans
from billing.purchases import Purchase, note_session, ordered
from billing.reconciliation import Reconciliation
from billing.settlement import Settlement
from billing.stripe_client import Stripe
from billing.stripe_objects import Session
from billing.subscriptions import Heard, Subscription, note_heard, subscribed, subscriptions_of
from storage.kv import Conflict, Key, KeyValue, Put, StoreError, Unknown

log = logging.getLogger(__name__)

_HOUR_MS = 60 * 60 * 1000


def new_order_id(kind: str) -> str:
    """An id that nobody can guess, of a `pur`chase or a `subs`cription."""
    return f"{kind}_{secrets.token_hex(12)}"


class Pages(NamedTuple):
    """Where a customer goes who has paid, and one who has not."""

    success_url: str
    cancel_url: str


class Checkout(NamedTuple):
    """Where a purchase can be paid, or a subscription begun."""

    order: Purchase | Subscription
    session_id: str
    url: str


@dataclass(frozen=True)
class Payments:
    """Sells packs and subscriptions, and listens to Stripe."""

    kv: KeyValue
    stripe: Stripe
    clock: Callable[[], int]
    packs: Packs = USUAL_PACKS
    plans: Plans = SELF_HOSTED
    new_id: Callable[[str], str] = new_order_id

    def checkout(
        self, account_id: str, pack_id: str, *, pages: Pages, saves_card: bool = False
    ) -> Checkout:
        """A page where a pack can be paid; what it is to bring is recorded first.

        Raises `PackUnknown`, `AccountUnknown`, `AlreadySubscribed`, `PaymentsUnavailable`.
        """
        pack = self.packs.named(pack_id)
        if pack.every is not None:
            return self._subscription(account_id, pack_id, pack, pages=pages)
        customer_id = self.customer(account_id)
        purchase = ordered(
            account_id,
            pack_id,
            pack,
            purchase_id=self.new_id("pur"),
            now_ms=self.clock(),
            is_automatic=False,
        )
        self.kv.commit(*purchases.first_puts(purchase))
        session = self.stripe.create_session(
            purchase,
            name=pack.name,
            customer_id=customer_id,
            saves_card=saves_card,
            **pages._asdict(),
        )
        return self._opened(
            purchase,
            session,
            lambda: note_session(self.kv, purchase.id, session_id=session.id, now_ms=self.clock()),
        )

    def portal(self, account_id: str, *, return_url: str) -> str:
        """The address where an account's cards, receipts and subscriptions are seen, for a short
        while."""
        return self.stripe.create_portal(self.customer(account_id), return_url=return_url)

    def customer(self, account_id: str) -> str:
        """Stripe's customer for an account, made when it is first needed."""
        # Stripe keeps its tests apart: whoever tried it out first gets another customer there.
        key = Key(f"customer#{account_id}", "stripe" if self.stripe.is_live else "stripe-test")
        item = self.kv.get(key)
        if item is not None:
            return str(item.value["id"])
        account, _ = find_account(self.kv, account_id)
        hour = self.clock() // _HOUR_MS
        customer_id = self.stripe.create_customer(account_id, name=account.name, hour=hour)
        try:
            self.kv.commit(Put(key, {"id": customer_id}))
        except (Conflict, Unknown):  # whoever was faster got another one, if the hour was new
            item = self.kv.get(key)
        return customer_id if item is None else str(item.value["id"])

    def hear(self, body: bytes, signature: str | None) -> None:
        """Take in a signed event; when this returns, all that follows from it is committed.

        What cannot be placed is logged as an error and left alone. Raises `EventForged`,
        `PaymentsUnavailable`, `StoreError`: Stripe then sends the event again.
        """
        self.settlement.event(self.stripe.event(body, signature))

    def reconciliation(self) -> Reconciliation:
        """Puts right what was not heard of."""
        return Reconciliation(self.settlement, self.clock)

    @cached_property
    def settlement(self) -> Settlement:
        """Merges what Stripe says."""
        return Settlement(self.kv, self.stripe, self.clock, self.plans)

    def _subscription(self, account_id: str, pack_id: str, pack: Pack, *, pages: Pages) -> Checkout:
        of_account = subscriptions_of(self.kv, account_id)
        if any(each.pack_id == pack_id and each.state == "running" for each in of_account):
            raise AlreadySubscribed
        customer_id = self.customer(account_id)
        subscription = subscribed(
            account_id, pack_id, pack, subscription_id=self.new_id("subs"), now_ms=self.clock()
        )
        self.kv.commit(*subscriptions.first_puts(subscription))
        session = self.stripe.create_subscription_session(
            subscription, name=pack.name, customer_id=customer_id, **pages._asdict()
        )
        heard = Heard(session_id=session.id)
        return self._opened(
            subscription,
            session,
            lambda: note_heard(self.kv, subscription.id, heard, plans=self.plans),
        )

    def _opened(
        self, order: Purchase | Subscription, session: Session, note: Callable[[], object]
    ) -> Checkout:
        if session.url is None:
            raise PaymentsUnavailable
        try:
            note()
        except StoreError as error:  # its event names the order, so it can be paid all the same
            log.warning("the session of %s is not noted: %s", order.id, error)
        return Checkout(order, session.id, session.url)
