"""Settlement: what Stripe says of a payment or a subscription is merged into what we know of it.

Whoever heard it, and however often: an event, or a reconciliation that has asked. What cannot be
placed is logged as an error and left alone, for money has moved that the ledger knows nothing of.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from billing.plans import SELF_HOSTED, Plans
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
    purchase_of,
)
from billing.stripe_client import Stripe
from billing.stripe_objects import (
    Charge,
    Dispute,
    Event,
    Invoice,
    Payment,
    RunningSubscription,
    Session,
)
from billing.subscriptions import (
    Heard,
    Subscription,
    find_subscription,
    note_heard,
    with_heard,
)
from storage.kv import Conflict, KeyValue, Unavailable, Unknown

log = logging.getLogger(__name__)

EVENT_TYPES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "payment_intent.succeeded",
    "invoice.paid",
    "customer.subscription.deleted",
    "charge.refunded",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
"""The events from which something follows."""

_PAID = "paid"


class Settled(NamedTuple):
    """A purchase or a subscription with what was said in it, and whether that was news."""

    order: Purchase | Subscription
    is_news: bool


@dataclass(frozen=True)
class Settlement:
    """Merges. `source` names in the log whose word it is.

    Each method may raise `PaymentsUnavailable` and `StoreError`: then it is to be said again. None
    is what could not be placed, or from which nothing follows.
    """

    kv: KeyValue
    stripe: Stripe
    clock: Callable[[], int]
    plans: Plans = SELF_HOSTED

    def event(self, event: Event) -> Settled | None:
        """All that follows from an event; when this returns, it is committed."""
        if event.livemode != self.stripe.is_live:
            log.error("Stripe %s: it is an event of the other mode, live or test", event.id)
            return None
        said = event.data.object
        match event.type:
            case "checkout.session.completed" | "checkout.session.async_payment_succeeded":
                return self.session(Session.model_validate(said), source=event.id)
            case "payment_intent.succeeded":
                return self.automatic(Payment.model_validate(said), source=event.id)
            case "invoice.paid":
                return self.invoice(Invoice.model_validate(said), source=event.id)
            case "customer.subscription.deleted":
                return self.ended(RunningSubscription.model_validate(said), source=event.id)
            case "charge.refunded":
                return self.refund(Charge.model_validate(said), source=event.id)
            case "refund.failed":
                log.error("Stripe %s: a refund failed: what was taken back stays so", event.id)
            case kind if kind.startswith("charge.dispute."):
                return self.dispute(Dispute.model_validate(said), source=event.id)
            case _:
                log.info("Stripe %s: nothing follows from %s", event.id, event.type)
        return None

    def session(self, session: Session, *, source: str) -> Settled | None:
        """A Checkout Session: a purchase that is paid, or the beginning of a subscription, whose
        credits come with its invoices."""
        if session.subscription_id is not None:
            heard = Heard(session.subscription, session.id)
            return self._heard(session.subscription_id, heard, source=source)
        if session.payment_status != _PAID:
            log.info("Stripe %s: %s is %s yet", source, session.id, session.payment_status)
            return None
        if session.purchase_id is None:
            log.error("Stripe %s: %s sells nothing of ours", source, session.id)
            return None
        amount_minor, currency = session.amount_total or 0, session.currency or ""
        fact = Paid(amount_minor, currency, session.id, session.payment_intent)
        return self.settle(session.purchase_id, fact, source=source)

    def automatic(self, payment: Payment, *, source: str) -> Settled | None:
        """A payment without a session. Others are waited for by their session's own events."""
        kept = find_purchase(self.kv, payment.purchase_id) if payment.purchase_id else None
        if kept is None or not kept.purchase.is_automatic:
            return None
        return self.settle(kept.purchase.id, charged(payment), source=source)

    def invoice(self, invoice: Invoice, *, source: str) -> Settled | None:
        """A paid invoice: its credits come once, and with the first one its subscription begins."""
        purchase = self._invoiced(invoice, source=source)
        if purchase is None or purchase.subscription_id is None:
            return None
        # Which payment it was is told by whatever becomes of it: a refund, a dispute.
        fact = Paid(invoice.amount_paid, invoice.currency, session_id=None, payment=None)
        settled = self.settle(purchase.id, fact, source=source)
        if settled is None:
            return None
        heard = Heard(invoice.subscription, paid_until_ms=invoice.ends_at_ms, has_begun=True)
        begun = self._heard(purchase.subscription_id, heard, source=source)
        return (
            settled if begun is None else settled._replace(is_news=settled.is_news | begun.is_news)
        )

    def ended(self, subscription: RunningSubscription, *, source: str) -> Settled | None:
        """A subscription that has ended: its account is on the usual plan again."""
        if subscription.subscription_id is None:
            log.error("Stripe %s: %s is no subscription of ours", source, subscription.id)
            return None
        heard = Heard(subscription.id, has_ended=True)
        return self._heard(subscription.subscription_id, heard, source=source)

    def refund(self, charge: Charge, *, source: str) -> Settled | None:
        """A charge of which something was given back."""
        payment_id = charge.payment_intent
        purchase_id = self._purchase_of(payment_id, said=charge.purchase_id, source=source)
        if purchase_id is None or payment_id is None:
            return None
        fact = Refunded(charge.amount_refunded, charge.currency, payment_id)
        return self.settle(purchase_id, fact, source=source)

    def dispute(self, dispute: Dispute, *, source: str) -> Settled | None:
        """A dispute that has begun, or got further."""
        payment_id = dispute.payment_intent
        purchase_id = self._purchase_of(payment_id, said=None, source=source)
        if purchase_id is None or payment_id is None:
            return None
        fact = Disputed(dispute.id, dispute.status, dispute.amount, dispute.currency, payment_id)
        return self.settle(purchase_id, fact, source=source)

    def settle(self, purchase_id: str, fact: Fact, *, source: str) -> Settled | None:
        """Merge a fact into its purchase; None, and an error in the log, if it does not fit."""
        before = find_purchase(self.kv, purchase_id)
        try:
            after = note_fact(self.kv, purchase_id, fact, now_ms=self.clock())
        except FactRefused as error:
            log.error("Stripe %s: purchase %s: %s; nothing follows", source, purchase_id, error)
            return None
        if before is None or after is None:
            log.error("Stripe %s: there is no purchase %s; nothing follows", source, purchase_id)
            return None
        return Settled(after, is_news=before.purchase != after)

    def _heard(self, subscription_id: str, heard: Heard, *, source: str) -> Settled | None:
        before = find_subscription(self.kv, subscription_id)
        try:
            after = note_heard(self.kv, subscription_id, heard, plans=self.plans)
        except FactRefused as error:
            log.error("Stripe %s: %s: %s; nothing follows", source, subscription_id, error)
            return None
        if before is None or after is None:
            log.error("Stripe %s: there is no subscription %s", source, subscription_id)
            return None
        return Settled(after, is_news=before.subscription != after)

    def _invoiced(self, invoice: Invoice, *, source: str) -> Purchase | None:
        """The purchase that an invoice is, recorded when it is first heard of."""
        name = invoice.subscription_id
        kept = find_subscription(self.kv, name) if name is not None else None
        if kept is None:
            log.error("Stripe %s: %s is of no subscription of ours", source, invoice.id)
            return None
        subscription = kept.subscription
        try:
            with_heard(subscription, Heard(invoice.subscription))
        except FactRefused as error:
            log.error("Stripe %s: %s: %s; nothing follows", source, invoice.id, error)
            return None
        purchase = Purchase(
            id=invoice.id,
            account_id=subscription.account_id,
            pack_id=subscription.pack_id,
            credits=subscription.credits,
            amount_minor=subscription.amount_minor,
            currency=subscription.currency,
            created_at_ms=invoice.created * 1000,
            subscription_id=subscription.id,
        )
        return self._recorded(purchase)

    def _recorded(self, purchase: Purchase) -> Purchase:
        kept = find_purchase(self.kv, purchase.id)
        if kept is not None:
            return kept.purchase
        try:
            self.kv.commit(*first_puts(purchase))
        except (Conflict, Unknown):
            if find_purchase(self.kv, purchase.id) is None:
                raise Unavailable("the invoice could not be written") from None
        return purchase

    def _purchase_of(self, payment_id: str | None, *, said: str | None, source: str) -> str | None:
        """Whose payment it is: as we know, as it says itself, or as Stripe says when asked."""
        found = None
        if payment_id is not None:
            found = purchase_of(self.kv, payment_id) or said or self._asked(payment_id, source)
        if found is None:
            log.error("Stripe %s: %s has paid for nothing of ours", source, payment_id)
        return found

    def _asked(self, payment_id: str, source: str) -> str | None:
        payment = self.stripe.payment(payment_id)
        if payment is None or payment.purchase_id is not None:
            return None if payment is None else payment.purchase_id
        invoice = self.stripe.invoice_of(payment_id)
        if invoice is None or invoice.subscription_id is None:
            return None
        purchase = self._invoiced(invoice, source=source)
        return None if purchase is None else purchase.id


def charged(payment: Payment) -> Paid:
    """What a payment without a session has brought."""
    return Paid(payment.amount_received, payment.currency, None, payment.id)
