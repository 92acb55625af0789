"""Buying credits, under `/v2/billing`: what is sold, where it is paid, and what was bought."""

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
from billing.packs import Pack
from billing.payments import Payments
from billing.purchases import Purchase, purchases_of
from handlers.auth import CallerOf, ServicesOf
from jobs.ids import iso_utc
from jobs.services import Services

MAX_URL_CHARS = 2000
MAX_PURCHASES = 100

_HTTP = TypeAdapter(HttpUrl)


def _http(url: str) -> str:
    try:
        _HTTP.validate_python(url)
    except ValidationError:
        raise ValueError("must be an http or https address") from None
    return url  # as it was said: Stripe's `{CHECKOUT_SESSION_ID}` must stay in it


PageUrl = Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(_http)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CheckoutRequest(_Said):
    """Which pack is bought, and where the customer goes afterwards."""

    pack: Annotated[str, Field(max_length=50)]
    successUrl: PageUrl
    cancelUrl: PageUrl
    saveCard: bool = False


class CheckoutInfo(BaseModel):
    """Where it is paid."""

    url: str
    sessionId: str
    purchaseId: str
    credits: int
    amountMinor: int
    currency: str


class PortalRequest(_Said):
    """Where the customer goes afterwards."""

    returnUrl: PageUrl


class PortalInfo(BaseModel):
    """Where cards and receipts are seen."""

    url: str


class PackInfo(BaseModel):
    """A pack that is sold. The amount is in the currency's smallest unit."""

    id: str
    name: str
    credits: int
    amountMinor: int
    currency: str


class PackList(BaseModel):
    """Every pack that is sold."""

    packs: list[PackInfo]


class PurchaseInfo(BaseModel):
    """A purchase: `creditsKept` is what is left of it after refunds and disputes."""

    id: str
    pack: str
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


def add_checkout(router: APIRouter, **options: Any) -> None:
    """Add the routes."""
    router.get("/billing/packs", **options)(packs)
    router.get("/billing/purchases", **options)(purchases)
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


def checkout(body: CheckoutRequest, caller: CallerOf, services: ServicesOf) -> CheckoutInfo:
    """Make a page where a pack is paid. The credits come once it has been."""
    made = payments_of(services).checkout(
        caller.account_id,
        body.pack,
        success_url=body.successUrl,
        cancel_url=body.cancelUrl,
        saves_card=body.saveCard,
    )
    return CheckoutInfo(
        url=made.url,
        sessionId=made.session_id,
        purchaseId=made.purchase.id,
        credits=made.purchase.credits,
        amountMinor=made.purchase.amount_minor,
        currency=made.purchase.currency,
    )


def portal(body: PortalRequest, caller: CallerOf, services: ServicesOf) -> PortalInfo:
    """Make a page, for a short while, where the account's cards and receipts are seen."""
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
    )


def _purchase(purchase: Purchase) -> PurchaseInfo:
    return PurchaseInfo(
        id=purchase.id,
        pack=purchase.pack_id,
        state=purchase.state,
        credits=purchase.credits,
        creditsKept=purchase.target,
        amountMinor=purchase.amount_minor,
        refundedMinor=purchase.refunded_minor,
        currency=purchase.currency,
        createdAt=iso_utc(purchase.created_at_ms),
    )
