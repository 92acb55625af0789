"""Buying credits, under `/v2/billing`: what is sold, where it is paid, and what was bought.

What is paid every month or year is bought like a pack, and seen under `/v2/billing/subscriptions`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    TypeAdapter,
    ValidationError,
)

from billing.errors import PaymentsOff
from billing.packs import Every, Pack
from billing.payments import Pages, Payments
from billing.purchases import Purchase, purchases_of
from billing.subscriptions import Subscription, subscriptions_of
from handlers.auth import CallerOf, ServicesOf
from jobs.ids import iso_utc
from jobs.services import Services

MAX_URL_CHARS = 2000
MAX_PURCHASES = 100
MAX_SUBSCRIPTIONS = 100

_HTTP = TypeAdapter(HttpUrl)


def _http(url: str) -> str:
    try:
        _HTTP.validate_python(url)
    except ValidationError:
        raise ValueError("must be an http or https address") from None
    if not url.isprintable() or " " in url:
        raise ValueError("must have no spaces or control characters")
    return url  # as it was said: Stripe's `{CHECKOUT_SESSION_ID}` must stay in it


PageUrl = Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(_http)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CheckoutRequest(_Said):
    """Which pack is bought, and where the customer goes afterwards.

    `saveCard` lets automatic top-ups charge the card; a subscription's card is saved anyway.
    """

    pack: Annotated[str, Field(max_length=50)]
    successUrl: PageUrl
    cancelUrl: PageUrl
    saveCard: bool = False


class CheckoutInfo(BaseModel):
    """Where it is paid: a purchase, or a subscription that is paid every so often."""

    url: str
    sessionId: str
    purchaseId: str | None
    subscriptionId: str | None
    credits: int
    amountMinor: int
    currency: str


class PortalRequest(_Said):
    """Where the customer goes afterwards."""

    returnUrl: PageUrl


class PortalInfo(BaseModel):
    """Where cards and receipts are seen, and subscriptions are ended."""

    url: str


class PackInfo(BaseModel):
    """A pack that is sold. The amount is in the currency's smallest unit.

    With `every` it is a subscription; `plan` is the plan that its account is on meanwhile.
    """

    id: str
    name: str
    credits: int
    amountMinor: int
    currency: str
    every: Every | None
    plan: str | None


class PackList(BaseModel):
    """Every pack that is sold."""

    packs: list[PackInfo]


class PurchaseInfo(BaseModel):
    """A purchase: `creditsKept` is what is left of it after refunds and disputes.

    With a `subscriptionId` it is an invoice of that subscription.
    """

    id: str
    pack: str
    subscriptionId: str | None
    state: str
    credits: int
    creditsKept: int
    amountMinor: int
    refundedMinor: int
    currency: str
    createdAt: str


class PurchaseList(BaseModel):
    """Purchases, newest first."""

    purchases: list[PurchaseInfo]


class SubscriptionInfo(BaseModel):
    """A subscription: `pending` until its first invoice is paid, then `running` until it ends.

    `paidUntil` is the end of the latest month or year that is paid.
    """

    id: str
    pack: str
    state: str
    credits: int
    amountMinor: int
    currency: str
    every: Every
    plan: str | None
    paidUntil: str | None
    createdAt: str


class SubscriptionList(BaseModel):
    """Subscriptions, newest first."""

    subscriptions: list[SubscriptionInfo]


def add_checkout(router: APIRouter, **options: Any) -> None:
    """Add the routes."""
    router.get("/billing/packs", **options)(packs)
    router.get("/billing/purchases", **options)(purchases)
    router.get("/billing/subscriptions", **options)(subscriptions)
    router.post("/billing/checkout", **options)(checkout)
    router.post("/billing/portal", **options)(portal)


def packs(caller: CallerOf, services: ServicesOf) -> PackList:  # noqa: ARG001, it is let in
    """What credits are sold in."""
    sold = payments_of(services).packs.packs
    return PackList(packs=[_pack(pack_id, pack) for pack_id, pack in sold.items()])


def purchases(
    caller: CallerOf,
    services: ServicesOf,
    limit: Annotated[int, Query(ge=1, le=MAX_PURCHASES)] = 20,
) -> PurchaseList:
    """What the account has bought, or begun to, newest first."""
    found = purchases_of(services.kv, caller.account_id, limit=limit)
    return PurchaseList(purchases=[_purchase(each) for each in found])


def subscriptions(
    caller: CallerOf,
    services: ServicesOf,
    limit: Annotated[int, Query(ge=1, le=MAX_SUBSCRIPTIONS)] = 20,
) -> SubscriptionList:
    """What the account has subscribed to, or begun to, newest first."""
    found = subscriptions_of(services.kv, caller.account_id, limit=limit)
    return SubscriptionList(subscriptions=[_subscription(each) for each in found])


def checkout(body: CheckoutRequest, caller: CallerOf, services: ServicesOf) -> CheckoutInfo:
    """Make a page where a pack is paid. The credits come once it has been.

    A subscription brings them each month or year that is paid. 409 if it runs already.
    """
    made = payments_of(services).checkout(
        caller.account_id,
        body.pack,
        pages=Pages(body.successUrl, body.cancelUrl),
        saves_card=body.saveCard,
    )
    return CheckoutInfo(
        url=made.url,
        sessionId=made.session_id,
        purchaseId=made.order.id if isinstance(made.order, Purchase) else None,
        subscriptionId=made.order.id if isinstance(made.order, Subscription) else None,
        credits=made.order.credits,
        amountMinor=made.order.amount_minor,
        currency=made.order.currency,
    )


def portal(body: PortalRequest, caller: CallerOf, services: ServicesOf) -> PortalInfo:
    """Make a page, for a short while, where the account's cards and receipts are seen, and its
    subscriptions are ended."""
    url = payments_of(services).portal(caller.account_id, return_url=body.returnUrl)
    return PortalInfo(url=url)


def payments_of(services: Services) -> Payments:
    """Who takes payments; `PaymentsOff` if nobody does."""
    if services.payments is None:
        raise PaymentsOff
    return services.payments


def _pack(pack_id: str, pack: Pack) -> PackInfo:
    return PackInfo(
        id=pack_id,
        name=pack.name,
        credits=pack.credits,
        amountMinor=pack.amount_minor,
        currency=pack.currency,
        every=pack.every,
        plan=pack.plan,
    )


def _purchase(purchase: Purchase) -> PurchaseInfo:
    return PurchaseInfo(
        id=purchase.id,
        pack=purchase.pack_id,
        subscriptionId=purchase.subscription_id,
        state=purchase.state,
        credits=purchase.credits,
        creditsKept=purchase.target,
        amountMinor=purchase.amount_minor,
        refundedMinor=purchase.refunded_minor,
        currency=purchase.currency,
        createdAt=iso_utc(purchase.created_at_ms),
    )


def _subscription(subscription: Subscription) -> SubscriptionInfo:
    paid_until_ms = subscription.paid_until_ms
    return SubscriptionInfo(
        id=subscription.id,
        pack=subscription.pack_id,
        state=subscription.state,
        credits=subscription.credits,
        amountMinor=subscription.amount_minor,
        currency=subscription.currency,
        every=subscription.every,
        plan=subscription.plan,
        paidUntil=iso_utc(paid_until_ms) if paid_until_ms else None,
        createdAt=iso_utc(subscription.created_at_ms),
    )
