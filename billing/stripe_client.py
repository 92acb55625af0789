"""Stripe's API, as far as it is used: sessions, customers, cards, payments, and signed events.

Answers are read member by member into our own types, whatever version of the API they are of.
Neither the key nor what Stripe says about it gets into an error or a log.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from billing.errors import EventForged, PaymentsOff, PaymentsUnavailable
from billing.purchases import Purchase

if TYPE_CHECKING:  # it takes 0.3 s to import, so that happens when it is first needed
    from stripe import StripeClient

log = logging.getLogger(__name__)

TOLERANCE_S = 300
"""How old an event's signature may be."""

MAX_SESSIONS = 10_000
"""How many sessions a reconciliation reads."""

_PAGE = 100
_RETRIES = 2
_CONNECT_S, _READ_S = 5.0, 20.0
PURCHASE = "enlarger_purchase"
"""The member of Stripe's metadata that names our purchase."""


class _Seen(BaseModel):
    """One of Stripe's objects; most of its members are of no interest here."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: str
    metadata: Mapping[str, str] | None = None

    @property
    def purchase_id(self) -> str | None:
        """The purchase that it was made for, if we made it."""
        return (self.metadata or {}).get(PURCHASE)


class Session(_Seen):
    """A Checkout Session. `url` is where the customer pays, as long as that can be done."""

    url: str | None = None
    payment_status: str = "unpaid"
    amount_total: int | None = None
    currency: str | None = None
    payment_intent: str | None = None
    created: int = 0


class Charge(_Seen):
    """A charge, with what of it was given back until now, in all."""

    amount_refunded: int
    currency: str
    payment_intent: str | None = None


class Dispute(_Seen):
    """A customer's bank wants money back."""

    amount: int
    currency: str
    status: str
    payment_intent: str | None = None


class Payment(_Seen):
    """A payment intent."""

    status: str
    amount_received: int = 0
    currency: str


class Event(BaseModel):
    """What has happened, and to which object, not looked at yet."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    class Data(BaseModel):
        """Where the object is."""

        object: dict[str, Any]

    id: str = Field(max_length=255)
    type: str = Field(max_length=255)
    data: Data


class ChargeDeclined(Exception):
    """The card was declined, or its owner would have to be asked; the message is Stripe's code."""


class Stripe:
    """A client of Stripe. Its methods raise `PaymentsUnavailable` when no answer can be had."""

    def __init__(self, key: str, *, webhook_secret: str | None, api: str | None = None) -> None:
        self._key = key
        self._webhook_secret = webhook_secret
        self._api = api

    def create_customer(self, account_id: str, *, name: str) -> str:
        """The id of the account's customer; a repeated request makes no second one."""
        made = self._asked(
            lambda client: client.v1.customers.create(
                {"name": name, "metadata": {"enlarger_account": account_id}},
                {"idempotency_key": f"customer-{account_id}"},
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
        product = {"name": name}
        price: Any = {
            "currency": purchase.currency,
            "unit_amount": purchase.amount_minor,
            "product_data": product,
        }
        intent: Any = {"metadata": metadata}
        if saves_card:
            intent["setup_future_usage"] = "off_session"
        made = self._asked(
            lambda client: client.v1.checkout.sessions.create(
                {
                    "mode": "payment",
                    "line_items": [{"quantity": 1, "price_data": price}],
                    "client_reference_id": purchase.id,
                    "metadata": metadata,
                    "payment_intent_data": intent,
                    "customer": customer_id,
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                },
                {"idempotency_key": f"session-{purchase.id}"},
            )
        )
        return Session.model_validate(made)

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
        made = self._asked(
            lambda client: client.v1.payment_intents.create(
                {
                    "amount": purchase.amount_minor,
                    "currency": purchase.currency,
                    "customer": customer_id,
                    "payment_method": card,
                    "off_session": True,
                    "confirm": True,
                    "metadata": {PURCHASE: purchase.id},
                },
                {"idempotency_key": f"charge-{purchase.id}"},
            )
        )
        return Payment.model_validate(made)

    def payment(self, payment_id: str) -> Payment | None:
        """A payment intent; None if Stripe knows of none."""
        try:
            found = self._asked(lambda client: client.v1.payment_intents.retrieve(payment_id))
        except _Missing:
            return None
        return Payment.model_validate(found)

    def sessions(self, *, since_s: int) -> Iterator[Session]:
        """The sessions made since then, newest first, up to `MAX_SESSIONS`."""
        after: str | None = None
        for _ in range(MAX_SESSIONS // _PAGE):
            page = self._asked(partial(_page_of_sessions, since_s=since_s, after=after))
            yield from map(Session.model_validate, page["data"])
            if not page["has_more"]:
                return
            after = page["data"][-1]["id"]
        log.error("there are more than %d sessions; the older ones were not read", MAX_SESSIONS)

    def event(self, body: bytes, signature: str | None) -> Event:
        """The event in a body that Stripe has signed; `EventForged` if it has not, or long ago."""
        if self._webhook_secret is None:
            raise PaymentsOff("ENLARGER_STRIPE_WEBHOOK_SECRET is not set")
        from stripe import SignatureVerificationError, WebhookSignature

        try:
            text = body.decode()
            WebhookSignature.verify_header(text, signature, self._webhook_secret, TOLERANCE_S)
            return Event.model_validate(json.loads(text))
        except (SignatureVerificationError, UnicodeDecodeError):
            raise EventForged from None
        except (ValidationError, ValueError, RecursionError):
            raise EventForged("This is not an event of Stripe's") from None

    def _asked(self, ask: Callable[["StripeClient"], Any]) -> dict[str, Any]:
        import stripe

        try:
            answer: dict[str, Any] = ask(self._client).to_dict()
        except stripe.CardError as error:
            raise ChargeDeclined(str(error.code)) from None
        except stripe.StripeError as error:
            if isinstance(error, stripe.InvalidRequestError) and error.http_status == 404:
                raise _Missing from None
            # Not its message: it may repeat the key.
            log.error(
                "Stripe: %s, status %s, code %s, request %s",
                type(error).__name__,
                error.http_status,
                error.code,
                error.request_id,
            )
            raise PaymentsUnavailable from None
        return answer

    @cached_property
    def _client(self) -> "StripeClient":
        import stripe

        return stripe.StripeClient(
            self._key,
            base_addresses={"api": self._api} if self._api else None,
            max_network_retries=_RETRIES,
            http_client=stripe.RequestsClient(timeout=(_CONNECT_S, _READ_S)),
        )


def _page_of_sessions(client: "StripeClient", *, since_s: int, after: str | None) -> Any:
    wanted: Any = {"created": {"gte": since_s}, "limit": _PAGE}
    return client.v1.checkout.sessions.list(wanted | ({"starting_after": after} if after else {}))


class _Missing(PaymentsUnavailable):
    """Stripe has no such thing"""
