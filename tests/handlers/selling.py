"""A service that sells credits, and the Stripe that it sells them through."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from billing.accounts import Balance, find_account
from billing.packs import Pack, Packs
from billing.payments import Payments
from billing.plans import Plan, Plans
from billing.stripe_client import Stripe
from billing.verification import verify
from storage.kv import KeyValue
from storage.sqlite import SqliteKeyValue
from tests.handlers.clients import TOPAZ, Apiframe
from tests.running import Clock, Running, running
from tests.stripe_fake import KEY, WEBHOOK_SECRET, Object, Signed, StripeFake, signed

PACKS = Packs(
    packs={
        "small": Pack(name="A thousand", credits=1000, amount_minor=1000, currency="usd"),
        "yen": Pack(name="For yen", credits=500, amount_minor=700, currency="jpy"),
        "monthly": Pack(
            name="Two thousand each month",
            credits=2000,
            amount_minor=1500,
            currency="usd",
            every="month",
            plan="pro",
        ),
        "yearly": Pack(
            name="A year", credits=20_000, amount_minor=12_000, currency="usd", every="year"
        ),
    }
)
PLANS = Plans(plans={"pro": Plan(max_in_flight=77)})
PAGES = {
    "successUrl": "https://shop.example/done?session={CHECKOUT_SESSION_ID}",
    "cancelUrl": "https://shop.example/cart",
}


@dataclass
class Shop:
    """Both, and what customers do."""

    service: Running
    fake: StripeFake
    clock: Clock

    def customer(self, *, credits: int = 0) -> Apiframe:
        """A new customer, who speaks Apiframe."""
        return Apiframe(self.service, self.service.account(credits=credits))

    def order(self, customer: Apiframe, pack: str = "small", *, saves_card: bool = False) -> str:
        """The session in which a customer can pay."""
        body = {"pack": pack, **PAGES, "saveCard": saves_card}
        answer = customer.post("/billing/checkout", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["sessionId"])

    def bought(self, customer: Apiframe) -> str:
        """The session in which a customer has paid for 1,000 credits."""
        session_id = self.order(customer)
        assert self.send(self.fake.pay(session_id)).status_code == 200
        return session_id

    def send(self, event: Object | Signed) -> httpx2.Response:
        """Stripe tells of an event."""
        said = event if isinstance(event, Signed) else signed(event)
        return self.service.http.post("/stripe/events", content=said.body, headers=said.headers)

    def balance(self, customer: Apiframe) -> Balance:
        """The customer's balance; the ledger stands behind it."""
        kv = self.service.services.kv
        assert list(verify(kv)) == []
        return find_account(kv, customer.customer.id)[1]


@contextmanager
def shop(folder: Path, *, kv: KeyValue | None = None) -> Iterator[Shop]:
    """A shop that is open until the block ends."""
    clock = Clock()
    store = kv or SqliteKeyValue(folder / "store.sqlite", clock=clock)
    with StripeFake().serving() as fake:
        stripe = Stripe(KEY, webhook_secret=WEBHOOK_SECRET, api=fake.url)
        payments = Payments(store, stripe, clock=clock, packs=PACKS, plans=PLANS)
        with running(
            folder,
            kv=store,
            clock=clock,
            models=frozenset({TOPAZ}),
            plans=PLANS,
            payments=payments,
        ) as service:
            yield Shop(service, fake, clock)
