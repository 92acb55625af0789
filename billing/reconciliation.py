"""Reconciliation: what Stripe knows of the last days beside what we know, which is put right."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from billing.purchases import Purchase
from billing.settlement import EVENT_TYPES, Settled, Settlement
from billing.stripe_objects import Charge, Dispute, Event, Invoice, Session
from billing.subscriptions import Subscription

log = logging.getLogger(__name__)

DAY_S = 24 * 60 * 60
DISPUTES_LAST_S = 120 * DAY_S
"""How long before the days that are looked at a dispute may have begun that ends in them."""

EVENTS_LAST_S = 30 * DAY_S
"""How long Stripe keeps events."""

_PAID = "paid"


class Reconciled(NamedTuple):
    """One of Stripe's objects beside the purchase or subscription that it is about; `is_well` if
    they agree now. What they do not agree in is in the log."""

    what: str
    id: str
    created_s: int
    amount: str
    order: Purchase | Subscription | None
    outcome: str
    is_well: bool


Seen = Session | Invoice | Charge | Dispute | Event


@dataclass(frozen=True)
class Reconciliation:
    """Goes through Stripe's sessions, paid invoices, refunds, disputes, and the events that it
    could not deliver, and takes each in. To do so again changes nothing."""

    settlement: Settlement
    clock: Callable[[], int]

    def run(self, *, since_ms: int) -> Iterator[Reconciled]:
        """Take in what has come since then, in its groups newest first.

        Raises `PaymentsUnavailable`, `StoreError`.
        """
        settle, stripe, since_s = self.settlement, self.settlement.stripe, since_ms // 1000
        for session in stripe.sessions(since_s=since_s):
            yield self._session(session)
        for invoice in stripe.paid_invoices(since_s=since_s):
            amount = f"{invoice.amount_paid} {invoice.currency}"
            settled = settle.invoice(invoice, source=invoice.id)
            yield _compared("invoice", invoice, amount, settled)
        seen = set[str]()
        for charge in stripe.refunded_charges(since_s=since_s):
            if charge.id not in seen:
                seen.add(charge.id)
                yield _refund(charge, settle.refund(charge, source=charge.id))
        for dispute in stripe.disputes(since_s=since_s - DISPUTES_LAST_S):
            amount = f"{-dispute.amount} {dispute.currency}"
            settled = settle.dispute(dispute, source=dispute.id)
            yield _compared("dispute", dispute, amount, settled)
        yield from self._undelivered()

    def _session(self, session: Session) -> Reconciled:
        amount = f"{session.amount_total} {session.currency}"
        settled = self.settlement.session(session, source=session.id)
        if settled is None and session.payment_status != _PAID:
            return _row("session", session, amount, None, session.payment_status)
        return _compared("session", session, amount, settled)

    def _undelivered(self) -> Iterator[Reconciled]:
        since_s = self.clock() // 1000 - EVENTS_LAST_S
        for event in self.settlement.stripe.undelivered(since_s=since_s, types=EVENT_TYPES):
            try:
                settled = self.settlement.event(event)
            except ValidationError as error:  # the others need not wait for this one
                log.error("Stripe %s: it cannot be read: %s", event.id, error)
                yield _compared("event", event, event.type, None)
                continue
            if settled is None:
                yield _row("event", event, event.type, None, "nothing follows")
            else:
                yield _compared("event", event, event.type, settled)


def _refund(charge: Charge, settled: Settled | None) -> Reconciled:
    amount = f"{-charge.amount_refunded} {charge.currency}"
    order = None if settled is None else settled.order
    if isinstance(order, Purchase) and order.refunded_minor > charge.amount_refunded:
        # A refund has failed after we had heard of it: what was taken back stays so.
        outcome = f"{order.refunded_minor} was taken back"
        return _row("refund", charge, amount, order, outcome, is_well=False)
    return _compared("refund", charge, amount, settled)


def _compared(what: str, seen: Seen, amount: str, settled: Settled | None) -> Reconciled:
    if settled is None:
        return _row(what, seen, amount, None, "not put right: see the log", is_well=False)
    return _row(what, seen, amount, settled.order, "put right now" if settled.is_news else "agrees")


def _row(
    what: str,
    seen: Seen,
    amount: str,
    order: Purchase | Subscription | None,
    outcome: str,
    *,
    is_well: bool = True,
) -> Reconciled:
    return Reconciled(what, seen.id, seen.created, amount, order, outcome, is_well)
