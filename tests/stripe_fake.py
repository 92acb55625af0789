"""A small Stripe on loopback, and what its customers and their banks do: each answers with the
event that follows."""

import json
from dataclasses import dataclass
from typing import NamedTuple

from stripe import WebhookSignature

from tests.stripe_api import KEY, MONTH_S, NOW_S, Object, StripeApi

__all__ = ["KEY", "NOW_S", "WEBHOOK_SECRET", "Object", "Signed", "StripeFake", "signed"]

WEBHOOK_SECRET = "whsec_test_secret_of_the_fake"


class Signed(NamedTuple):
    """An event as it is sent: its body and its header."""

    body: bytes
    signature: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Stripe-Signature": self.signature, "Content-Type": "application/json"}


def signed(event: Object, *, at_s: int | None = None, secret: str = WEBHOOK_SECRET) -> Signed:
    """The event, signed by Stripe's own helper."""
    text = json.dumps(event)
    return Signed(
        text.encode(), WebhookSignature.generate_signature_header(text, secret, timestamp=at_s)
    )


@dataclass
class StripeFake(StripeApi):
    """Stripe, its customers and their banks."""

    def pay(
        self, session_id: str, *, is_delayed: bool = False, amount: int | None = None
    ) -> Object:
        """A customer pays; with a delayed method the money comes with `arrive`.

        Of a subscription it is the first invoice, whose own event is `billed`.
        """
        session = self.objects[session_id]
        if session["mode"] == "subscription":
            return self._subscribe(session)
        intent = self._intent(
            session["amount_total"], session["currency"], session["_intent"].get("metadata", {})
        )
        session |= {"status": "complete", "payment_intent": intent["id"]}
        if session["_intent"].get("setup_future_usage") == "off_session":
            self._made("pm", object="payment_method", customer=session["customer"])
        if amount is not None:
            session["amount_total"] = amount
        if not is_delayed:
            self._succeed(intent)
            session["payment_status"] = "paid"
        return self.event("checkout.session.completed", session)

    def arrive(self, session_id: str) -> Object:
        """The money of a delayed method comes in."""
        session = self.objects[session_id]
        self._succeed(self.objects[session["payment_intent"]])
        session["payment_status"] = "paid"
        return self.event("checkout.session.async_payment_succeeded", session)

    def refund(self, session_id: str, amount: int) -> Object:
        """So much is given back, besides what was before."""
        charge = self.charge_of(session_id)
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self._made("re", object="refund", amount=amount, charge=charge["id"], status="succeeded")
        return self.event("charge.refunded", charge)

    def dispute(self, session_id: str, amount: int, *, status: str = "needs_response") -> Object:
        """The customer's bank wants money back."""
        charge = self.charge_of(session_id)
        dispute = self._made(
            "du",
            object="dispute",
            amount=amount,
            currency=charge["currency"],
            charge=charge["id"],
            payment_intent=charge["payment_intent"],
            status=status,
        )
        return self.event("charge.dispute.created", dispute)

    def rule(self, dispute_id: str, status: str, *, kind: str = "closed") -> Object:
        """A dispute gets further."""
        self.objects[dispute_id]["status"] = status
        return self.event(f"charge.dispute.{kind}", self.objects[dispute_id])

    def charge_of(self, session_id: str) -> Object:
        """The charge that a session, an invoice or a payment intent has come to."""
        found = self.objects[session_id]
        paid = found.get("payment_intent") or found.get("_payment_intent") or session_id
        intent = self.objects[paid]
        return self.objects[intent["latest_charge"]]

    def succeed(self, intent_id: str) -> Object:
        """A payment that was under way goes through."""
        self._succeed(self.objects[intent_id])
        return self.event("payment_intent.succeeded", self.objects[intent_id])

    def invoice_of(self, begun: Object) -> str:
        """The invoice of the event with which a subscription has begun."""
        return str(begun["data"]["object"]["invoice"])

    def subscription_of(self, invoice_id: str) -> str:
        """Stripe's subscription that an invoice is of."""
        details = self.objects[invoice_id]["parent"]["subscription_details"]
        return str(details["subscription"])

    def billed(self, invoice_id: str) -> Object:
        """An invoice is paid."""
        return self.event("invoice.paid", self.objects[invoice_id])

    def renew(self, subscription_id: str, *, amount: int | None = None) -> Object:
        """Another month of a subscription is paid; for `amount`, if it is another."""
        return self.billed(self._bill(self.objects[subscription_id], amount=amount)["id"])

    def cancel(self, subscription_id: str) -> Object:
        """A subscription ends."""
        self.objects[subscription_id]["status"] = "canceled"
        return self.event("customer.subscription.deleted", self.objects[subscription_id])

    def _subscribe(self, session: Object) -> Object:
        subscription = self._made(
            "sub",
            object="subscription",
            status="active",
            customer=session["customer"],
            metadata=session["_subscription"].get("metadata", {}),
            _price=session["_price"],
        )
        invoice = self._bill(subscription)
        session |= {
            "status": "complete",
            "payment_status": "paid",
            "subscription": subscription["id"],
            "invoice": invoice["id"],
        }
        return self.event("checkout.session.completed", session)

    def _bill(self, subscription: Object, *, amount: int | None = None) -> Object:
        price = subscription["_price"]
        amount = int(price["unit_amount"]) if amount is None else amount
        number = sum(i["customer"] == subscription["customer"] for i in self.all_of("invoice"))
        intent = self._intent(amount, price["currency"], {})
        self._succeed(intent)
        invoice = self._made(
            "in",
            object="invoice",
            status="paid",
            customer=subscription["customer"],
            billing_reason="subscription_cycle" if number else "subscription_create",
            total=amount,
            amount_due=amount,
            amount_paid=amount,
            currency=price["currency"],
            metadata={},
            parent={
                "type": "subscription_details",
                "quote_details": None,
                "subscription_details": {
                    "metadata": subscription["metadata"],
                    "subscription": subscription["id"],
                },
            },
            lines={
                "object": "list",
                "data": [{"period": {"start": 0, "end": self.now_s + (number + 1) * MONTH_S}}],
            },
            _payment_intent=intent["id"],
        )
        payment = {"type": "payment_intent", "payment_intent": intent["id"]}
        self._made(
            "inpay", object="invoice_payment", invoice=invoice["id"], payment=payment, status="paid"
        )
        return invoice
