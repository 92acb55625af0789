"""Stripe's API, as far as it is used: sessions, customers, cards, payments, and signed events.

Neither the key nor what Stripe says about it gets into an error or a log.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from billing.errors import PaymentsOff, PaymentsUnavailable
from billing.purchases import Purchase
from billing.stripe_objects import (
    PURCHASE,
    SUBSCRIPTION,
    Charge,
    Dispute,
    Event,
    Invoice,
    Payment,
    Session,
)
from billing.stripe_signatures import signed_event
from billing.subscriptions import Subscription

if TYPE_CHECKING:  # it takes 0.3 s to import, so that happens when it is first needed
    from stripe import StripeClient

log = logging.getLogger(__name__)

MAX_LISTED = 10_000
"""How many objects of a kind a reconciliation reads."""

_PAGE = 100
_RETRIES = 1
_CONNECT_S, _READ_S, _HURRIED_READ_S = 3.0, 10.0, 7.0
"""Stripe answers within a second or two; a request of a customer's waits in one of few threads."""


class ChargeDeclined(Exception):
    """The card was declined, its owner would have to be asked, or Stripe takes no such charge; the
    message is Stripe's code."""


class Stripe:
    """A client of Stripe. Its methods raise `PaymentsUnavailable` when no answer can be had."""

    def __init__(
        self,
        key: str,
        *,
        webhook_secret: str | None,
        api: str | None = None,
        is_hurried: bool = False,
    ) -> None:
        self._key = key
        self._webhook_secret = webhook_secret
        self._api = api
        self._is_hurried = is_hurried

    @property
    def is_live(self) -> bool:
        """Whether the key moves real money, not a test's."""
        return "_live_" in self._key

    @cached_property
    def hurried(self) -> "Stripe":
        """The same for those who come again by themselves: it gives up after seconds."""
        return Stripe(self._key, webhook_secret=None, api=self._api, is_hurried=True)

    def create_customer(self, account_id: str, *, name: str, hour: int) -> str:
        """The id of the account's customer; a request repeated in the same hour makes no second
        one. Within the hour Stripe repeats its answer, be it a failure."""
        made = self._asked(
            lambda client: client.v1.customers.create(
                {"name": name, "metadata": {"enlarger_account": account_id}},
                {"idempotency_key": f"customer-{account_id}-{hour}"},
            )
        )
        return str(made["id"])

    def create_session(
        self,
        purchase: Purchase,
        *,
        name: str,
        customer_id: str,
        success_url: str,
        cancel_url: str,
        saves_card: bool,
    ) -> Session:
        """A page where the purchase is paid; one for each purchase, however often it is asked."""
        metadata = {PURCHASE: purchase.id}
        saved = {"setup_future_usage": "off_session"} if saves_card else {}
        return self._session(
            purchase,
            mode="payment",
            line_items=[{"quantity": 1, "price_data": _price(purchase, name=name)}],
            metadata=metadata,
            payment_intent_data={"metadata": metadata, **saved},
            customer=customer_id,
            success_url=success_url,
            cancel_url=cancel_url,
        )

    def create_subscription_session(
        self,
        subscription: Subscription,
        *,
        name: str,
        customer_id: str,
        success_url: str,
        cancel_url: str,
    ) -> Session:
        """A page where the subscription begins; one for each, however often it is asked."""
        metadata = {SUBSCRIPTION: subscription.id}
        price = _price(subscription, name=name) | {"recurring": {"interval": subscription.every}}
        return self._session(
            subscription,
            mode="subscription",
            line_items=[{"quantity": 1, "price_data": price}],
            metadata=metadata,
            subscription_data={"metadata": metadata},  # its invoices repeat it
            customer=customer_id,
            success_url=success_url,
            cancel_url=cancel_url,
        )

    def create_portal(self, customer_id: str, *, return_url: str) -> str:
        """The address where a customer sees their cards and receipts, for a short while."""
        made = self._asked(
            lambda client: client.v1.billing_portal.sessions.create(
                {"customer": customer_id, "return_url": return_url}
            )
        )
        return str(made["url"])

    def card_of(self, customer_id: str) -> str | None:
        """A card of the customer's that was saved, the latest one."""
        found = self._asked(
            lambda client: client.v1.customers.payment_methods.list(
                customer_id, {"type": "card", "limit": 1}
            )
        )
        return next((str(each["id"]) for each in found["data"]), None)

    def charge(self, purchase: Purchase, *, customer_id: str, card: str) -> Payment:
        """Charge a saved card for a purchase, once, however often it is asked within a day.

        Raises `ChargeDeclined`.
        """
        wanted: Any = {
            "amount": purchase.amount_minor,
            "currency": purchase.currency,
            "customer": customer_id,
            "payment_method": card,
            "off_session": True,
            "confirm": True,
            "metadata": {PURCHASE: purchase.id},
        }
        key = f"charge-{purchase.id}"
        try:
            made = self._asked(
                lambda client: client.v1.payment_intents.create(wanted, {"idempotency_key": key})
            )
        except _Refused as refused:  # a card that is gone, too small an amount: it stays refused
            raise ChargeDeclined(refused.code) from None
        return Payment.model_validate(made)

    def payment(self, payment_id: str) -> Payment | None:
        """A payment intent; None if Stripe knows of none."""
        try:
            found = self._asked(lambda client: client.v1.payment_intents.retrieve(payment_id))
        except _Missing:
            return None
        return Payment.model_validate(found)

    def invoice_of(self, payment_id: str) -> Invoice | None:
        """The invoice that a payment intent has paid; None if it has paid none."""
        wanted: Any = {
            "payment": {"type": "payment_intent", "payment_intent": payment_id},
            "expand": ["data.invoice"],
            "limit": 1,
        }
        found = self._asked(lambda client: client.v1.invoice_payments.list(wanted))
        return next((Invoice.model_validate(each["invoice"]) for each in found["data"]), None)

    def sessions(self, *, since_s: int) -> Iterator[Session]:
        """The sessions made since then, newest first."""
        found = self._listed("sessions", lambda client: client.v1.checkout.sessions.list, since_s)
        yield from map(Session.model_validate, found)

    def paid_invoices(self, *, since_s: int) -> Iterator[Invoice]:
        """The invoices made since then that are paid, newest first."""
        found = self._listed(
            "invoices", lambda client: client.v1.invoices.list, since_s, status="paid"
        )
        yield from map(Invoice.model_validate, found)

    def refunded_charges(self, *, since_s: int) -> Iterator[Charge]:
        """The charges of which something was given back since then; one may come repeatedly."""
        found = self._listed(
            "refunds", lambda client: client.v1.refunds.list, since_s, expand=["data.charge"]
        )
        for refund in found:
            if refund["charge"] is not None:
                yield Charge.model_validate(refund["charge"])

    def disputes(self, *, since_s: int) -> Iterator[Dispute]:
        """The disputes begun since then, newest first."""
        found = self._listed("disputes", lambda client: client.v1.disputes.list, since_s)
        yield from map(Dispute.model_validate, found)

    def undelivered(self, *, since_s: int, types: tuple[str, ...]) -> Iterator[Event]:
        """The events since then that some endpoint has not taken yet. Stripe keeps 30 days."""
        found = self._listed(
            "events",
            lambda client: client.v1.events.list,
            since_s,
            delivery_success=False,
            types=list(types),
        )
        yield from map(Event.model_validate, found)

    def event(self, body: bytes, signature: str | None) -> Event:
        """The event in a body that Stripe has signed; `EventForged` if it has not, or long ago."""
        if self._webhook_secret is None:
            raise PaymentsOff("ENLARGER_STRIPE_WEBHOOK_SECRET is not set")
        return signed_event(body, signature, secret=self._webhook_secret)

    def _session(self, order: Purchase | Subscription, **wanted: Any) -> Session:
        # In another currency than we ask for, nobody could tell whether the amount is right.
        wanted |= {"client_reference_id": order.id, "adaptive_pricing": {"enabled": False}}
        asked: Any = wanted
        once: Any = {"idempotency_key": f"session-{order.id}"}
        made = self._asked(lambda client: client.v1.checkout.sessions.create(asked, once))
        return Session.model_validate(made)

    def _listed(
        self, what: str, listing: Callable[["StripeClient"], Any], since_s: int, **wanted: Any
    ) -> Iterator[dict[str, Any]]:
        """What was made since then, newest first, up to `MAX_LISTED`."""
        wanted |= {"created": {"gte": since_s}, "limit": _PAGE}
        for _ in range(MAX_LISTED // _PAGE):
            page = self._asked(lambda client: listing(client)(wanted))
            yield from page["data"]
            if not page["has_more"]:
                return
            wanted["starting_after"] = page["data"][-1]["id"]
        log.error("there are more than %d %s; the older ones were not read", MAX_LISTED, what)

    def _asked(self, ask: Callable[["StripeClient"], Any]) -> dict[str, Any]:
        import stripe

        try:
            answer: dict[str, Any] = ask(self._client).to_dict()
        except stripe.CardError as error:
            raise ChargeDeclined(str(error.code)) from None
        except stripe.StripeError as error:
            is_refused = isinstance(error, stripe.InvalidRequestError)
            if is_refused and error.http_status == 404:
                raise _Missing(error.code) from None
            # Not its message: it may repeat the key.
            log.error(
                "Stripe: %s, status %s, code %s, parameter %s, request %s",
                type(error).__name__,
                error.http_status,
                error.code,
                getattr(error, "param", None),
                error.request_id,
            )
            raise (_Refused(error.code) if is_refused else PaymentsUnavailable()) from None
        return answer

    @cached_property
    def _client(self) -> "StripeClient":
        import stripe

        patience = _CONNECT_S, _HURRIED_READ_S if self._is_hurried else _READ_S
        return stripe.StripeClient(
            self._key,
            base_addresses={"api": self._api} if self._api else None,
            max_network_retries=0 if self._is_hurried else _RETRIES,
            http_client=stripe.RequestsClient(timeout=patience),
        )


def _price(order: Purchase | Subscription, *, name: str) -> Any:
    return {
        "currency": order.currency,
        "unit_amount": order.amount_minor,
        "product_data": {"name": name},
    }


class _Refused(PaymentsUnavailable):
    """Stripe takes no such request, however often it comes; `code` says why."""

    def __init__(self, code: str | None) -> None:
        super().__init__(PaymentsUnavailable.__doc__)
        self.code = code or "invalid_request"


class _Missing(_Refused):
    """Stripe has no such thing."""
