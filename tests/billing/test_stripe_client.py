"""The client of Stripe: what it asks, whom it believes, and that it keeps the key to itself."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer

import pytest

from billing.errors import EventForged, PaymentsOff, PaymentsUnavailable
from billing.packs import Pack
from billing.purchases import ordered
from billing.stripe_client import MAX_LISTED, ChargeDeclined, Stripe
from tests.stripe_fake import KEY, WEBHOOK_SECRET, StripeFake, signed

ROOT = Path(__file__).parents[2]
PACK = Pack(name="A thousand", credits=1000, amount_minor=900, currency="eur")
PURCHASE = ordered("acc_1", "small", PACK, purchase_id="pur_1", now_ms=1, is_automatic=False)


@pytest.fixture
def fake() -> Iterator[StripeFake]:
    with StripeFake().serving() as fake:
        yield fake


@pytest.fixture
def stripe(fake: StripeFake) -> Stripe:
    return Stripe(KEY, webhook_secret=WEBHOOK_SECRET, api=fake.url)


def session_of(stripe: Stripe, customer_id: str) -> str:
    made = stripe.create_session(
        PURCHASE,
        name="A thousand",
        customer_id=customer_id,
        success_url="https://shop.example",
        cancel_url="https://shop.example",
        saves_card=False,
    )
    return made.id


def test_what_is_asked_twice_is_made_once(stripe: Stripe, fake: StripeFake) -> None:
    customers = {stripe.create_customer("acc_1", name="Ada", hour=7) for _ in range(2)}
    sessions = {session_of(stripe, *customers) for _ in range(2)}
    assert (len(customers), len(sessions)) == (1, 1)
    fake.objects["pm_1"] = {"id": "pm_1", "object": "payment_method", "customer": "cus"}
    charges = {stripe.charge(PURCHASE, customer_id="cus", card="pm_1").id for _ in range(2)}
    assert len(charges) == len(fake.all_of("payment_intent")) == 1


def test_a_failure_that_stripe_repeats_ends_with_the_hour(stripe: Stripe, fake: StripeFake) -> None:
    first, again, later = (
        stripe.create_customer("acc_1", name="Ada", hour=hour) for hour in (7, 7, 8)
    )
    assert first == again != later
    assert len(fake.all_of("customer")) == 2


def test_a_declined_card_is_told_from_a_stripe_that_is_away(
    stripe: Stripe, fake: StripeFake
) -> None:
    fake.objects["pm_1"] = {"id": "pm_1", "object": "payment_method", "customer": "cus"}
    fake.declines = "authentication_required"
    with pytest.raises(ChargeDeclined, match="authentication_required"):
        stripe.charge(PURCHASE, customer_id="cus", card="pm_1")


@pytest.mark.parametrize("status", [400, 404])
def test_a_charge_that_stripe_does_not_take_is_declined(
    stripe: Stripe, fake: StripeFake, status: int
) -> None:
    fake.fails_with = status
    with pytest.raises(ChargeDeclined, match="invalid_request"):
        stripe.charge(PURCHASE, customer_id="cus", card="pm_1")


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500])
def test_a_charge_that_stripe_may_yet_take_is_asked_for_again(
    stripe: Stripe, fake: StripeFake, status: int
) -> None:
    fake.fails_with = status
    with pytest.raises(PaymentsUnavailable):
        stripe.charge(PURCHASE, customer_id="cus", card="pm_1")


def test_an_unknown_payment_is_told_from_a_stripe_that_is_away(
    stripe: Stripe, fake: StripeFake
) -> None:
    assert stripe.payment("pi_unknown") is None
    fake.fails_with = 503
    with pytest.raises(PaymentsUnavailable):
        stripe.payment("pi_unknown")


CALLS: list[Callable[[Stripe], object]] = [
    lambda stripe: stripe.create_customer("acc_1", name="Ada", hour=7),
    lambda stripe: session_of(stripe, "cus_1"),
    lambda stripe: stripe.create_portal("cus_1", return_url="https://shop.example"),
    lambda stripe: stripe.card_of("cus_1"),
    lambda stripe: stripe.charge(PURCHASE, customer_id="cus_1", card="pm_1"),
    lambda stripe: stripe.payment("pi_1"),
    lambda stripe: stripe.invoice_of("pi_1"),
    lambda stripe: list(stripe.sessions(since_s=0)),
    lambda stripe: list(stripe.paid_invoices(since_s=0)),
    lambda stripe: list(stripe.refunded_charges(since_s=0)),
    lambda stripe: list(stripe.disputes(since_s=0)),
    lambda stripe: list(stripe.undelivered(since_s=0, types=("invoice.paid",))),
]


@pytest.mark.parametrize("call", CALLS)
def test_neither_errors_nor_the_log_repeat_the_key(
    fake: StripeFake, call: Callable[[Stripe], object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "sk_test_a_wrong_key_that_stripe_repeats"
    with pytest.raises(PaymentsUnavailable) as refused:
        call(Stripe(wrong, webhook_secret=None, api=fake.url))
    assert "AuthenticationError, status 401" in caplog.text
    ours = [each.getMessage() for each in caplog.records if each.name.startswith("billing")]
    assert wrong not in f"{refused.value!r} {refused.value.__cause__} {ours}"


def test_a_stripe_that_is_away_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with StripeFake().serving() as gone:
        pass
    with pytest.raises(PaymentsUnavailable):
        Stripe(KEY, webhook_secret=None, api=gone.url).payment("pi_1")
    assert "APIConnectionError" in caplog.text


@contextmanager
def hanging_up() -> Iterator[tuple[str, list[int]]]:
    """A server that takes connections and says nothing: its address, and a list of them."""
    taken: list[int] = []

    class HangUp(BaseRequestHandler):
        def handle(self) -> None:
            taken.append(self.client_address[1])

    with TCPServer(("127.0.0.1", 0), HangUp) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", taken
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("is_hurried", "times"), [(False, 2), (True, 1)])
def test_who_comes_again_by_itself_asks_once(is_hurried: bool, times: int) -> None:
    with hanging_up() as (url, taken):
        stripe = Stripe(KEY, webhook_secret=None, api=url)
        with pytest.raises(PaymentsUnavailable):
            (stripe.hurried if is_hurried else stripe).payment("pi_1")
    assert len(taken) == times


@pytest.mark.parametrize(
    ("key", "is_live"),
    [("sk_live_51abc", True), ("rk_live_51abc", True), ("sk_test_51abc", False)],
)
def test_a_key_says_whether_it_moves_real_money(key: str, is_live: bool) -> None:
    assert Stripe(key, webhook_secret=None).is_live is is_live


def test_no_more_is_listed_than_that(
    stripe: Stripe, fake: StripeFake, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MAX_LISTED + 1):
        fake.objects[f"du_{number}"] = {
            "id": f"du_{number}",
            "object": "dispute",
            "created": 1,
            "amount": 1,
            "currency": "eur",
            "status": "lost",
        }
    assert len(list(stripe.disputes(since_s=0))) == MAX_LISTED
    assert "more than 10000 disputes" in caplog.text


def test_a_signed_event_is_read(stripe: Stripe, fake: StripeFake) -> None:
    event = stripe.event(*signed(fake.event("a.kind", {"id": "x", "object": "thing"})))
    assert (event.type, event.data.object) == ("a.kind", {"id": "x", "object": "thing"})


def test_a_forged_event_is_not(stripe: Stripe, fake: StripeFake) -> None:
    said = signed(fake.event("a.kind", {"id": "x"}), secret="whsec_of_somebody_else")
    with pytest.raises(EventForged):
        stripe.event(*said)


def test_without_a_secret_no_event_is_believed(fake: StripeFake) -> None:
    said = signed(fake.event("a.kind", {"id": "x"}))
    with pytest.raises(PaymentsOff):
        Stripe(KEY, webhook_secret=None, api=fake.url).event(*said)


def test_it_is_not_imported_before_it_is_needed() -> None:
    program = "import sys, billing.payments; print('stripe' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"
