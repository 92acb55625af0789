"""Payments: credits are sold through Stripe, and follow what becomes of the money."""

import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from billing.accounts import find_account
from billing.errors import PaymentsUnavailable
from billing.packs import USUAL_PACKS, Packs
from billing.purchases import (
    Disputed,
    Fact,
    FactRefused,
    Paid,
    Purchase,
    Refunded,
    find_purchase,
    first_puts,
    note_fact,
    note_session,
    ordered,
    purchase_of,
)
from billing.stripe_client import Charge, Dispute, Event, Payment, Session, Stripe
from storage.kv import Conflict, Key, KeyValue, Put, StoreError, Unknown

log = logging.getLogger(__name__)

_PAID = "paid"


def new_purchase_id() -> str:
    """An id that nobody can guess."""
    return f"pur_{secrets.token_hex(12)}"


class Checkout(NamedTuple):
    """Where a purchase can be paid."""

    purchase: Purchase
    session_id: str
    url: str


class Reconciled(NamedTuple):
    """A session of Stripe's beside the purchase that it sold; `is_well` once they agree."""

    session: Session
    purchase: Purchase | None
    outcome: str
    is_well: bool


@dataclass(frozen=True)
class Payments:
    """Sells packs and listens to Stripe. Facts may come in any order, and however often."""

    kv: KeyValue
    stripe: Stripe
    clock: Callable[[], int]
    packs: Packs = USUAL_PACKS
    new_id: Callable[[], str] = new_purchase_id

    def checkout(
        self,
        account_id: str,
        pack_id: str,
        *,
        success_url: str,
        cancel_url: str,
        saves_card: bool = False,
    ) -> Checkout:
        """A page where a pack can be paid; what it is to bring is recorded first.

        Raises `PackUnknown`, `AccountUnknown`, `PaymentsUnavailable`.
        """
        pack = self.packs.named(pack_id)
        customer_id = self.customer(account_id)
        purchase = ordered(
            account_id,
            pack_id,
            pack,
            purchase_id=self.new_id(),
            now_ms=self.clock(),
            is_automatic=False,
        )
        self.kv.commit(*first_puts(purchase))
        session = self.stripe.create_session(
            purchase,
            name=pack.name,
            customer_id=customer_id,
            success_url=success_url,
            cancel_url=cancel_url,
            saves_card=saves_card,
        )
        if session.url is None:
            raise PaymentsUnavailable
        try:
            note_session(self.kv, purchase.id, session_id=session.id, now_ms=self.clock())
        except StoreError as error:  # its event names the purchase, so it can be paid all the same
            log.warning("the session of purchase %s is not noted: %s", purchase.id, error)
        return Checkout(purchase, session.id, session.url)

    def portal(self, account_id: str, *, return_url: str) -> str:
        """The address where an account's cards and receipts are seen, for a short while."""
        return self.stripe.create_portal(self.customer(account_id), return_url=return_url)

    def customer(self, account_id: str) -> str:
        """Stripe's customer for an account, made when it is first needed."""
        key = Key(f"customer#{account_id}", "stripe")
        item = self.kv.get(key)
        if item is not None:
            return str(item.value["id"])
        account, _ = find_account(self.kv, account_id)
        customer_id = self.stripe.create_customer(account_id, name=account.name)
        try:
            self.kv.commit(Put(key, {"id": customer_id}))
        except (Conflict, Unknown):  # whoever was faster got the same customer from Stripe
            log.info("the customer of %s was noted by another request", account_id)
        return customer_id

    def hear(self, body: bytes, signature: str | None) -> None:
        """Take in a signed event; when this returns, all that follows from it is committed.

        What cannot be placed is logged as an error and left alone. Raises `EventForged`,
        `PaymentsUnavailable`, `StoreError`: Stripe then sends the event again.
        """
        event = self.stripe.event(body, signature)
        said = event.data.object
        match event.type:
            case "checkout.session.completed" | "checkout.session.async_payment_succeeded":
                self._sold(event, Session.model_validate(said))
            case "payment_intent.succeeded":
                self._charged(event, Payment.model_validate(said))
            case "charge.refunded":
                self._refunded(event, Charge.model_validate(said))
            case "refund.failed":
                log.error("Stripe %s: a refund failed: what was taken back stays so", event.id)
            case kind if kind.startswith("charge.dispute."):
                self._disputed(event, Dispute.model_validate(said))
            case _:
                log.info("Stripe %s: nothing follows from %s", event.id, event.type)

    def reconcile(self, *, since_ms: int) -> Iterator[Reconciled]:
        """Go through Stripe's sessions made since then, and credit what was paid and is not."""
        for session in self.stripe.sessions(since_s=since_ms // 1000):
            yield self._reconciled(session)

    def settle(self, purchase_id: str, fact: Fact, *, source: str) -> Purchase | None:
        """Merge a fact into its purchase; None, and an error in the log, if it does not fit."""
        try:
            purchase = note_fact(self.kv, purchase_id, fact, now_ms=self.clock())
        except FactRefused as error:
            log.error("Stripe %s: purchase %s: %s; nothing follows", source, purchase_id, error)
            return None
        if purchase is None:
            log.error("Stripe %s: there is no purchase %s; nothing follows", source, purchase_id)
        return purchase

    def _sold(self, event: Event, session: Session) -> None:
        if session.payment_status != _PAID:
            log.info("Stripe %s: %s is %s yet", event.id, session.id, session.payment_status)
        elif session.purchase_id is None:
            log.error("Stripe %s: %s sells nothing of ours", event.id, session.id)
        else:
            self.settle(session.purchase_id, _paid(session), source=event.id)

    def _charged(self, event: Event, payment: Payment) -> None:
        """A payment without a session. Others are waited for by their session's own events."""
        kept = find_purchase(self.kv, payment.purchase_id) if payment.purchase_id else None
        if kept is not None and kept.purchase.is_automatic:
            self.settle(kept.purchase.id, charged(payment), source=event.id)

    def _refunded(self, event: Event, charge: Charge) -> None:
        purchase_id = self._purchase_of(event, charge.payment_intent, said=charge.purchase_id)
        if purchase_id is not None and charge.payment_intent is not None:
            fact = Refunded(charge.amount_refunded, charge.currency, charge.payment_intent)
            self.settle(purchase_id, fact, source=event.id)

    def _disputed(self, event: Event, dispute: Dispute) -> None:
        purchase_id = self._purchase_of(event, dispute.payment_intent, said=None)
        if purchase_id is not None and dispute.payment_intent is not None:
            fact = Disputed(
                dispute.id,
                dispute.status,
                dispute.amount,
                dispute.currency,
                dispute.payment_intent,
            )
            self.settle(purchase_id, fact, source=event.id)

    def _purchase_of(self, event: Event, payment_id: str | None, *, said: str | None) -> str | None:
        """Whose payment it is: as we know, as the event says, or as Stripe says when asked."""
        found = said
        if payment_id is not None:
            found = purchase_of(self.kv, payment_id) or said
            if found is None:
                payment = self.stripe.payment(payment_id)
                found = None if payment is None else payment.purchase_id
        if found is None or payment_id is None:
            log.error("Stripe %s: %s is about no purchase of ours", event.id, event.type)
            return None
        return found

    def _reconciled(self, session: Session) -> Reconciled:
        kept = find_purchase(self.kv, session.purchase_id) if session.purchase_id else None
        if session.payment_status != _PAID:
            return Reconciled(session, kept and kept.purchase, session.payment_status, True)
        if session.purchase_id is None or kept is None:
            return Reconciled(session, None, "paid, but sells nothing of ours", False)
        after = self.settle(session.purchase_id, _paid(session), source=session.id)
        if after is None:
            return Reconciled(session, kept.purchase, "paid, but not what was to be paid", False)
        outcome = "credited" if kept.purchase.is_paid else "credited now"
        return Reconciled(session, after, outcome, True)


def charged(payment: Payment) -> Paid:
    """What a payment without a session has brought."""
    return Paid(payment.amount_received, payment.currency, None, payment.id)


def _paid(session: Session) -> Paid:
    amount_minor, currency = session.amount_total or 0, session.currency or ""
    return Paid(amount_minor, currency, session.id, session.payment_intent)
