"""Stripe's objects, as far as they are looked at.

They are read member by member into our own types, whatever version of Stripe's API they are of: an
event is in the version that its endpoint was made with.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PURCHASE, SUBSCRIPTION = "enlarger_purchase", "enlarger_subscription"
"""The members of Stripe's metadata that name our purchase, or our subscription."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Seen(_Part):
    """One of Stripe's objects; most of its members are of no interest here."""

    id: str = Field(max_length=255)
    metadata: Mapping[str, str] | None = None
    created: int = 0

    @property
    def purchase_id(self) -> str | None:
        """The purchase that it was made for, if we made it."""
        return (self.metadata or {}).get(PURCHASE)

    @property
    def subscription_id(self) -> str | None:
        """The subscription of ours that it was made for, if we made it."""
        return (self.metadata or {}).get(SUBSCRIPTION)


class Session(_Seen):
    """A Checkout Session. `url` is where the customer pays, as long as that can be done.

    `subscription` is the id of Stripe's subscription, once there is one.
    """

    url: str | None = None
    payment_status: str = "unpaid"
    amount_total: int | None = None
    currency: str | None = None
    payment_intent: str | None = None
    subscription: str | None = None


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


class RunningSubscription(_Seen):
    """Stripe's side of a subscription."""

    status: str


class SubscriptionDetails(_Part):
    """What an invoice says about its subscription: its metadata when the invoice was made."""

    metadata: Mapping[str, str] | None = None
    subscription: str | None = None


class Invoice(_Seen):
    """What is asked of a subscriber for a month or a year."""

    class Parent(_Part):
        """What an invoice comes from."""

        subscription_details: SubscriptionDetails | None = None

    class Lines(_Part):
        """What it is for."""

        class Line(_Part):
            """A position."""

            class Period(_Part):
                """From when until when it is for."""

                end: int

            period: Period

        data: tuple[Line, ...] = ()

    status: str | None = None
    amount_paid: int
    currency: str
    parent: Parent | None = None
    lines: Lines = Lines()
    subscription_details: SubscriptionDetails | None = None
    """Where it was before 2025."""

    @property
    def subscription_id(self) -> str | None:
        """The subscription of ours that it is of."""
        details = self._details
        return (details.metadata or {}).get(SUBSCRIPTION) if details else None

    @property
    def subscription(self) -> str | None:
        """The id of Stripe's subscription."""
        return self._details.subscription if self._details else None

    @property
    def ends_at_ms(self) -> int:
        """Until when it pays."""
        return max((line.period.end for line in self.lines.data), default=0) * 1000

    @property
    def _details(self) -> SubscriptionDetails | None:
        of_parent = self.parent.subscription_details if self.parent else None
        return of_parent or self.subscription_details


class Event(_Part):
    """What has happened, and to which object, not looked at yet."""

    class Data(_Part):
        """Where the object is."""

        object: dict[str, Any]

    id: str = Field(max_length=255)
    type: str = Field(max_length=255)
    created: int = 0
    livemode: bool = False
    data: Data
