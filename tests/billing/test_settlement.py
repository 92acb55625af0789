"""Settlement: whatever the order in which Stripe tells of a subscription, the same in the end."""

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from billing import ledger
from billing.accounts import DEFAULT_PLAN, Account, find_account
from billing.administration import open_account
from billing.errors import AlreadySubscribed, PackUnknown, PaymentsUnavailable
from billing.packs import Pack, Packs
from billing.payments import Checkout, Pages, Payments
from billing.plans import Plan, Plans
from billing.purchases import Purchase, find_purchase, purchases_of
from billing.settlement import Settlement
from billing.stripe_client import Stripe
from billing.stripe_objects import Event, Invoice, Payment
from billing.subscriptions import first_puts, subscribed, subscriptions_of
from billing.verification import verify
from storage.kv import KeyValue, Unavailable, Unknown
from storage.sqlite import SqliteKeyValue
from tests.running import Clock
from tests.stripe_fake import KEY, WEBHOOK_SECRET, Object, StripeFake, signed
from tests.watched import WatchedStore

PAGES = Pages("https://shop.example", "https://shop.example")
PACKS = Packs(
    packs={
        "monthly": Pack(
            name="Each month",
            credits=1000,
            amount_minor=900,
            currency="eur",
            every="month",
            plan="pro",
        ),
        "once": Pack(name="Once", credits=10, amount_minor=50, currency="eur"),
    }
)
PLANS = Plans(plans={"pro": Plan(max_in_flight=77)})


class Subscribed(NamedTuple):
    """An account with a subscription that is paid at Stripe, where nothing has been heard yet."""

    kv: KeyValue
    account: Account
    payments: Payments
    fake: StripeFake
    made: Checkout
    begun: Object
    """The event of the session."""

    @property
    def stripe_id(self) -> str:
        return str(self.fake.objects[self.made.session_id]["subscription"])

    @property
    def invoice_id(self) -> str:
        return str(self.fake.objects[self.made.session_id]["invoice"])

    def hear(self, *events: Object) -> None:
        for event in events:
            self.payments.hear(*signed(event))

    @property
    def available(self) -> int:
        assert list(verify(self.kv)) == []
        return find_account(self.kv, self.account.id)[1].available

    @property
    def plan(self) -> str:
        return find_account(self.kv, self.account.id)[0].plan


@pytest.fixture
def fake() -> Iterator[StripeFake]:
    with StripeFake().serving() as fake:
        yield fake


@pytest.fixture
def payments(kv: KeyValue, fake: StripeFake, clock: Clock) -> Payments:
    stripe = Stripe(KEY, webhook_secret=WEBHOOK_SECRET, api=fake.url)
    return Payments(kv, stripe, clock, packs=PACKS, plans=PLANS)


@pytest.fixture
def shop(kv: KeyValue, account: Account, payments: Payments, fake: StripeFake) -> Subscribed:
    made = payments.checkout(account.id, "monthly", pages=PAGES)
    return Subscribed(kv, account, payments, fake, made, fake.pay(made.session_id))


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


def test_a_paid_invoice_brings_its_credits_and_its_plan(shop: Subscribed) -> None:
    shop.hear(shop.fake.billed(shop.invoice_id))
    assert (shop.available, shop.plan) == (1100, "pro")
    (purchase,) = purchases_of(shop.kv, shop.account.id)
    assert (purchase.id, purchase.subscription_id) == (shop.invoice_id, shop.made.order.id)


def test_its_session_brings_nothing(shop: Subscribed) -> None:
    shop.hear(shop.begun)
    assert (shop.available, shop.plan) == (100, DEFAULT_PLAN)
    shop.hear(shop.fake.billed(shop.invoice_id), shop.begun)
    assert (shop.available, shop.plan) == (1100, "pro")


def test_several_events_of_one_invoice_bring_its_credits_once(shop: Subscribed) -> None:
    shop.hear(*(shop.fake.billed(shop.invoice_id) for _ in range(3)))
    assert shop.available == 1100


def test_each_invoice_brings_its_credits(shop: Subscribed) -> None:
    shop.hear(shop.fake.renew(shop.stripe_id), shop.fake.billed(shop.invoice_id))
    assert shop.available == 2100
    first, second = sorted(each.id for each in purchases_of(shop.kv, shop.account.id))
    assert first != second


def test_it_is_paid_until_the_latest_invoice_ends(shop: Subscribed) -> None:
    later = shop.fake.renew(shop.stripe_id)
    shop.hear(later, shop.fake.billed(shop.invoice_id))
    (subscription,) = subscriptions_of(shop.kv, shop.account.id)
    end_s = later["data"]["object"]["lines"]["data"][0]["period"]["end"]
    assert subscription.paid_until_ms == end_s * 1000


def test_when_it_ends_the_account_is_on_the_usual_plan(shop: Subscribed) -> None:
    shop.hear(shop.fake.billed(shop.invoice_id), shop.fake.cancel(shop.stripe_id))
    assert (shop.available, shop.plan) == (1100, DEFAULT_PLAN)


@pytest.mark.parametrize("amount", [0, 1, 899, 901])
def test_an_invoice_of_another_amount_brings_nothing_and_is_an_alarm(
    shop: Subscribed, amount: int, caplog: pytest.LogCaptureFixture
) -> None:
    shop.hear(shop.fake.renew(shop.stripe_id, amount=amount))
    assert (shop.available, shop.plan) == (100, DEFAULT_PLAN)
    assert f"paid {amount} eur, sold for 900 eur" in alarms(caplog)[0]


def test_what_was_paid_from_a_credit_at_stripe_brings_nothing(
    shop: Subscribed, caplog: pytest.LogCaptureFixture
) -> None:
    shop.fake.objects[shop.invoice_id] |= {"starting_balance": -800, "amount_paid": 100}
    shop.hear(shop.fake.billed(shop.invoice_id))
    assert (shop.available, len(alarms(caplog))) == (100, 1)


def test_an_invoice_in_another_currency_brings_nothing(shop: Subscribed) -> None:
    shop.fake.objects[shop.invoice_id]["currency"] = "usd"
    shop.hear(shop.fake.billed(shop.invoice_id))
    assert (shop.available, shop.plan) == (100, DEFAULT_PLAN)


@pytest.mark.parametrize(
    "parent",
    [
        None,
        {"subscription_details": None},
        {"subscription_details": {"metadata": {}, "subscription": "sub_foreign"}},
        {"subscription_details": {"metadata": None, "subscription": "sub_foreign"}},
        {"subscription_details": {"metadata": {"enlarger_subscription": "subs_unknown"}}},
    ],
)
def test_a_foreign_invoice_brings_nothing_and_is_an_alarm(
    shop: Subscribed, parent: Object | None, caplog: pytest.LogCaptureFixture
) -> None:
    shop.fake.objects[shop.invoice_id]["parent"] = parent
    shop.hear(shop.fake.billed(shop.invoice_id))
    assert (shop.available, shop.plan, len(alarms(caplog))) == (100, DEFAULT_PLAN, 1)


def test_an_invoice_of_another_of_stripes_subscriptions_brings_nothing(
    shop: Subscribed, caplog: pytest.LogCaptureFixture
) -> None:
    shop.hear(shop.begun)
    details = shop.fake.objects[shop.invoice_id]["parent"]["subscription_details"]
    details["subscription"] = "sub_with_the_same_metadata"
    shop.hear(shop.fake.billed(shop.invoice_id))
    assert (shop.available, len(alarms(caplog))) == (100, 1)


def test_an_invoice_in_the_shape_of_before_2025_is_read(shop: Subscribed) -> None:
    invoice = shop.fake.objects[shop.invoice_id]
    details = invoice.pop("parent")["subscription_details"]
    invoice |= {"subscription": details["subscription"]}
    invoice |= {"subscription_details": {"metadata": details["metadata"]}}
    shop.hear(shop.fake.billed(shop.invoice_id))
    assert (shop.available, shop.plan) == (1100, "pro")


@pytest.mark.parametrize("is_paid_first", [True, False])
def test_a_refund_of_an_invoice_takes_its_part_back(shop: Subscribed, is_paid_first: bool) -> None:
    paid, refunded = shop.fake.billed(shop.invoice_id), shop.fake.refund(shop.invoice_id, 450)
    shop.hear(*((paid, refunded) if is_paid_first else (refunded, paid)))
    assert shop.available == 600


def test_a_dispute_of_an_invoice_takes_it_back_until_it_is_won(shop: Subscribed) -> None:
    created = shop.fake.dispute(shop.invoice_id, 900)
    shop.hear(shop.fake.billed(shop.invoice_id), created)
    assert shop.available == 100
    shop.hear(shop.fake.rule(created["data"]["object"]["id"], "won"))
    assert shop.available == 1100


def test_stripe_is_asked_once_whose_payment_it_is(shop: Subscribed) -> None:
    shop.hear(shop.fake.billed(shop.invoice_id))
    shop.hear(shop.fake.refund(shop.invoice_id, 100))
    asked = len(shop.fake.requests)
    shop.hear(shop.fake.refund(shop.invoice_id, 100))
    assert len(shop.fake.requests) == asked


def test_what_stripe_cannot_be_asked_about_is_said_again(shop: Subscribed) -> None:
    shop.hear(shop.fake.billed(shop.invoice_id))
    event = shop.fake.refund(shop.invoice_id, 900)
    shop.fake.fails_with = 500
    with pytest.raises(PaymentsUnavailable):
        shop.hear(event)
    shop.fake.fails_with = None
    shop.hear(event)
    assert shop.available == 100


def test_the_end_of_a_foreign_subscription_is_an_alarm(
    shop: Subscribed, caplog: pytest.LogCaptureFixture
) -> None:
    shop.hear(shop.fake.billed(shop.invoice_id))
    shop.fake.objects[shop.stripe_id]["metadata"] = {}
    shop.hear(shop.fake.cancel(shop.stripe_id))
    assert (shop.plan, len(alarms(caplog))) == ("pro", 1)


def test_an_event_of_the_other_mode_is_an_alarm(
    shop: Subscribed, caplog: pytest.LogCaptureFixture
) -> None:
    shop.hear(shop.fake.billed(shop.invoice_id) | {"livemode": True})
    assert (shop.available, shop.plan) == (100, DEFAULT_PLAN)
    assert "of the other mode" in alarms(caplog)[0]


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("failure", [Unavailable, Unknown])
def test_a_store_that_fails_at_any_moment_costs_nothing_and_gives_nothing_twice(
    shop: Subscribed, call: int, failure: type[Exception]
) -> None:
    def fail(number: int) -> None:
        if number == call:
            raise failure("now")

    watched = WatchedStore(
        shop.kv,
        before=fail if failure is Unavailable else lambda _: None,
        after=fail if failure is Unknown else lambda _: None,
    )
    event = Event.model_validate(shop.fake.billed(shop.invoice_id))
    settlement = Settlement(watched, shop.payments.stripe, shop.payments.clock, PLANS)
    try:
        settlement.event(event)
    except (Unavailable, Unknown):
        settlement.event(event)
    assert watched.calls > call
    assert (shop.available, shop.plan) == (1100, "pro")


def test_what_was_sold_stays_what_it_was(shop: Subscribed) -> None:
    dearer = PACKS.packs["monthly"].model_copy(update={"amount_minor": 5000, "credits": 1})
    later = Payments(
        shop.kv,
        shop.payments.stripe,
        shop.payments.clock,
        packs=Packs(packs={"monthly": dearer}),
        plans=PLANS,
    )
    later.hear(*signed(shop.fake.billed(shop.invoice_id)))
    assert shop.available == 1100


def test_what_runs_is_not_subscribed_to_again_until_it_has_ended(shop: Subscribed) -> None:
    def again() -> Checkout:
        return shop.payments.checkout(shop.account.id, "monthly", pages=PAGES)

    again()  # the first one may never be paid
    shop.hear(shop.fake.billed(shop.invoice_id))
    with pytest.raises(AlreadySubscribed):
        again()
    shop.hear(shop.fake.cancel(shop.stripe_id))
    assert again().session_id != shop.made.session_id


def test_two_that_were_both_paid_both_bring_credits(shop: Subscribed) -> None:
    other = shop.payments.checkout(shop.account.id, "monthly", pages=PAGES)
    shop.fake.pay(other.session_id)
    second = shop.fake.objects[other.session_id]
    shop.hear(shop.fake.billed(shop.invoice_id), shop.fake.billed(second["invoice"]))
    assert shop.available == 2100
    shop.hear(shop.fake.cancel(shop.stripe_id))
    assert shop.plan == "pro"
    shop.hear(shop.fake.cancel(second["subscription"]))
    assert shop.plan == DEFAULT_PLAN


def test_no_automatic_top_up_subscribes(payments: Payments) -> None:
    with pytest.raises(PackUnknown, match="is a subscription"):
        payments.packs.single("monthly")


def test_the_other_modes_customer_is_another(
    kv: KeyValue, account: Account, payments: Payments, fake: StripeFake, clock: Clock
) -> None:
    class Live(Stripe):
        """A key of live mode, as far as can be seen from outside."""

        is_live = True

    ours = payments.customer(account.id)
    fake.forget()
    live = Payments(kv, Live(KEY, webhook_secret=None, api=fake.url), clock)
    assert live.customer(account.id) != ours
    assert payments.customer(account.id) == ours


def test_two_requests_at_the_turn_of_an_hour_agree_on_one_customer(
    kv: KeyValue, account: Account, payments: Payments
) -> None:
    noted = []

    def be_faster(call: int) -> None:
        if call == 2:  # the commit
            noted.append(payments.customer(account.id))

    def an_hour_later() -> int:
        return payments.clock() + 60 * 60 * 1000

    slow = Payments(WatchedStore(kv, before=be_faster), payments.stripe, an_hour_later)
    assert [slow.customer(account.id)] == noted == [payments.customer(account.id)]


class Told(Stripe):
    """Stripe, whose answers about payments are given: no permutation waits for them."""

    def __init__(self, invoice: Object) -> None:
        super().__init__(KEY, webhook_secret=None)
        self._invoice = Invoice.model_validate(invoice)

    def payment(self, payment_id: str) -> Payment | None:
        return Payment(id=payment_id, status="succeeded", currency="eur")

    def invoice_of(self, payment_id: str) -> Invoice | None:  # noqa: ARG002
        return self._invoice


HISTORY = ("session completed", "invoice paid", "refunded", "dispute lost", "deleted")


def events_of(shop: Subscribed) -> dict[str, Object]:
    """What Stripe has to tell of a subscription of which 300 and then 400 of 900 were taken."""
    dispute = shop.fake.dispute(shop.invoice_id, 400)["data"]["object"]
    return {
        "session completed": shop.begun,
        "invoice paid": shop.fake.billed(shop.invoice_id),
        "refunded": shop.fake.refund(shop.invoice_id, 300),
        "dispute lost": shop.fake.rule(dispute["id"], "lost"),
        "deleted": shop.fake.cancel(shop.stripe_id),
    }


def histories(told: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every order, and every order with any one told twice."""
    yield from itertools.permutations(told)
    for repeated in told:
        yield from sorted(set(itertools.permutations((*told, repeated))))


def test_every_order_of_a_subscriptions_events_ends_in_the_same_ledger_and_plan(
    shop: Subscribed, tmp_path: Path
) -> None:
    texts = {name: json.dumps(event) for name, event in events_of(shop).items()}
    store = SqliteKeyValue(tmp_path / "histories.sqlite", clock=Clock())
    ends = set()
    seen = 0
    for number, history in enumerate(histories(HISTORY)):
        account = open_account(store, "Ada", credits=100, now_ms=1).account
        made = subscribed_as(store, account, number)
        renamed = {name: text_of(text, shop, number) for name, text in texts.items()}
        invoice = renamed["invoice paid"]["data"]["object"]
        settlement = Settlement(store, Told(invoice), Clock(), PLANS)
        for name in history:
            settlement.event(Event.model_validate(renamed[name]))
        kept = find_purchase(store, invoice["id"])
        assert kept is not None
        assert kept.purchase.subscription_id == made
        ends.add(end_of(store, account, kept.purchase))
        seen += 1
    assert seen == 120 + 5 * 360
    assert ends == {(DEFAULT_PLAN, "ended", 100 + 222, (1000, -778))}
    assert list(verify(store)) == []
    store.close()


def subscribed_as(store: KeyValue, account: Account, number: int) -> str:
    """A subscription of its own for a history."""
    name = f"subs_of_{number}"
    made = subscribed(account.id, "monthly", PACKS.packs["monthly"], subscription_id=name, now_ms=1)
    store.commit(*first_puts(made))
    return name


def text_of(text: str, shop: Subscribed, number: int) -> Object:
    """An event with names of its own for a history."""
    intent = shop.fake.objects[shop.invoice_id]["_payment_intent"]
    for old in (shop.stripe_id, shop.invoice_id, intent, shop.made.session_id):
        text = text.replace(f'"{old}"', f'"{old}_{number}"')
    event: Object = json.loads(text.replace(f'"{shop.made.order.id}"', f'"subs_of_{number}"'))
    return event


def end_of(
    store: KeyValue, account: Account, purchase: Purchase
) -> tuple[str, str, int, tuple[int, int]]:
    """What a history has come to: plan, state, balance, and what was given and taken."""
    found, balance = find_account(store, account.id)
    (subscription,) = subscriptions_of(store, account.id)
    moves = [e.credits for _, e in ledger.entries(store, account.id) if e.purchase_id]
    given = sum(each for each in moves if each > 0)
    assert sum(moves) == purchase.target == purchase.stands_for
    return found.plan, subscription.state, balance.available, (given, sum(moves) - given)
