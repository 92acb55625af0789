"""Buying credits: what a customer is told, what Stripe is told, and what is recorded first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from billing.purchases import find_purchase, purchases_of
from storage.kv import Change, Put, Unavailable
from storage.sqlite import SqliteKeyValue
from tests.handlers.clients import Apiframe
from tests.handlers.selling import PAGES, Shop, shop
from tests.running import Clock, Running, running
from tests.stripe_fake import KEY


class Forgetful(SqliteKeyValue):
    """A store that can be made to refuse rewrites."""

    refuses_rewrites = False

    def commit(self, *changes: Change) -> None:
        is_rewrite = any(isinstance(each, Put) and each.replaces for each in changes)
        if self.refuses_rewrites and is_rewrite:
            raise Unavailable("no connection")
        super().commit(*changes)


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    with shop(folder, kv=Forgetful(folder / "store.sqlite", clock=Clock())) as opened:
        yield opened


@pytest.fixture
def customer(open_shop: Shop) -> Iterator[Apiframe]:
    yield open_shop.customer()
    open_shop.fake.fails_with = None
    store = open_shop.service.services.kv
    assert isinstance(store, Forgetful)
    store.refuses_rewrites = False


def test_a_checkout_answers_where_to_pay_for_how_much(open_shop: Shop, customer: Apiframe) -> None:
    answer = customer.post("/billing/checkout", json={"pack": "yen", **PAGES})
    made = answer.json()
    session = open_shop.fake.objects[made["sessionId"]]
    assert answer.status_code == 200
    assert made["url"] == session["url"]
    assert (made["credits"], made["amountMinor"], made["currency"]) == (500, 700, "jpy")
    assert (session["amount_total"], session["currency"]) == (700, "jpy")
    assert session["success_url"] == PAGES["successUrl"]


def test_what_a_purchase_is_to_bring_is_recorded_before_stripe_is_asked(
    open_shop: Shop, customer: Apiframe
) -> None:
    customer.post("/billing/portal", json={"returnUrl": "https://shop.example"})
    open_shop.fake.fails_with = 500
    answer = customer.post("/billing/checkout", json={"pack": "small", **PAGES})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    (kept,) = purchases_of(open_shop.service.services.kv, customer.customer.id)
    assert (kept.credits, kept.amount_minor, kept.session_id) == (1000, 1000, None)


def test_the_session_names_its_purchase_and_the_purchase_its_session(
    open_shop: Shop, customer: Apiframe
) -> None:
    session_id = open_shop.order(customer)
    session = open_shop.fake.objects[session_id]
    kept = find_purchase(open_shop.service.services.kv, session["metadata"]["enlarger_purchase"])
    assert kept is not None
    assert kept.purchase.session_id == session_id
    assert session["client_reference_id"] == kept.purchase.id
    assert session["_intent"]["metadata"] == session["metadata"]


def test_a_session_that_could_not_be_noted_is_sold_all_the_same(
    open_shop: Shop, customer: Apiframe
) -> None:
    store = open_shop.service.services.kv
    assert isinstance(store, Forgetful)
    store.refuses_rewrites = True
    session_id = open_shop.order(customer)
    store.refuses_rewrites = False
    assert purchases_of(store, customer.customer.id)[0].session_id is None
    assert open_shop.send(open_shop.fake.pay(session_id)).status_code == 200
    assert open_shop.balance(customer).available == 1000


def test_an_account_is_one_customer_at_stripe(open_shop: Shop, customer: Apiframe) -> None:
    sessions = [open_shop.order(customer), open_shop.order(customer)]
    assert len({open_shop.fake.objects[each]["customer"] for each in sessions}) == 1


def test_a_card_is_saved_only_if_that_is_asked_for(open_shop: Shop, customer: Apiframe) -> None:
    saving = open_shop.fake.objects[open_shop.order(customer, saves_card=True)]
    assert saving["_intent"]["setup_future_usage"] == "off_session"
    other = open_shop.fake.objects[open_shop.order(customer)]
    assert "setup_future_usage" not in other["_intent"]


def test_the_portal_is_the_accounts_own(open_shop: Shop, customer: Apiframe) -> None:
    session = open_shop.fake.objects[open_shop.order(customer)]
    answer = customer.post("/billing/portal", json={"returnUrl": "https://shop.example"})
    assert (answer.status_code, answer.json()) == (200, {"url": f"{open_shop.fake.url}/portal"})
    portal = open_shop.fake.all_of("billing_portal.session")[-1]
    assert portal["customer"] == session["customer"]


def test_what_is_sold_can_be_seen(customer: Apiframe) -> None:
    packs = customer.get("/billing/packs").json()["packs"]
    assert packs[0] == {
        "id": "small",
        "name": "A thousand",
        "credits": 1000,
        "amountMinor": 1000,
        "currency": "usd",
        "every": None,
        "plan": None,
    }
    assert [each["id"] for each in packs] == ["small", "yen", "monthly", "yearly"]
    assert (packs[2]["every"], packs[2]["plan"]) == ("month", "pro")


def test_what_was_bought_can_be_seen(open_shop: Shop, customer: Apiframe) -> None:
    session_id = open_shop.bought(customer)
    open_shop.send(open_shop.fake.refund(session_id, 400))
    open_shop.order(customer, "yen")
    shown = customer.get("/billing/purchases").json()["purchases"]
    by_pack = {each["pack"]: each for each in shown}
    small = by_pack["small"]
    assert (small["state"], small["creditsKept"], small["refundedMinor"]) == ("reduced", 600, 400)
    assert (by_pack["yen"]["state"], by_pack["yen"]["creditsKept"]) == ("pending", 0)


@pytest.mark.parametrize(
    ("change", "member"),
    [
        ({"successUrl": "javascript:alert(1)"}, "successUrl"),
        ({"successUrl": "ftp://shop.example"}, "successUrl"),
        ({"cancelUrl": "/cart"}, "cancelUrl"),
        ({"cancelUrl": " https://shop.example"}, "cancelUrl"),
        ({"cancelUrl": "https://shop.example/\ncart"}, "cancelUrl"),
        ({"cancelUrl": "https://shop.example/\0"}, "cancelUrl"),
        ({"cancelUrl": "https://shop.example/" + "a" * 2000}, "cancelUrl"),
        ({"pack": None}, "pack"),
        ({"credits": 5}, "credits"),
        ({"saveCard": "yes"}, "saveCard"),
    ],
)
def test_a_bad_order_is_refused_by_its_member(
    open_shop: Shop, customer: Apiframe, change: dict[str, Any], member: str
) -> None:
    asked = len(open_shop.fake.requests)
    answer = customer.post("/billing/checkout", json={"pack": "small", **PAGES, **change})
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [member]
    assert len(open_shop.fake.requests) == asked


def test_an_unknown_pack_is_refused_with_those_that_there_are(customer: Apiframe) -> None:
    answer = customer.post("/billing/checkout", json={"pack": "free", **PAGES})
    assert answer.status_code == 400
    assert answer.json()["error"] == "There is no such pack; there are small, yen, monthly, yearly"


@pytest.mark.parametrize("limit", ["0", "101", "1.5"])
def test_an_absurd_page_of_purchases_is_refused(customer: Apiframe, limit: str) -> None:
    assert customer.get("/billing/purchases", limit=limit).status_code == 400


@pytest.mark.parametrize("status", [401, 429, 500])
def test_stripes_refusals_are_ours_and_name_no_key(
    open_shop: Shop, customer: Apiframe, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    open_shop.fake.fails_with = status
    answer = customer.post("/billing/checkout", json={"pack": "small", **PAGES})
    assert answer.status_code == 503
    assert KEY not in answer.text + caplog.text
    assert f"status {status}" in caplog.text


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service without Stripe's key."""
    with running(tmp_path_factory.mktemp("closed")) as service:
        yield service


def test_without_stripes_key_nothing_is_sold_and_the_rest_works(closed: Running) -> None:
    customer = Apiframe(closed, closed.account())
    refused = [
        customer.get("/billing/packs"),
        customer.post("/billing/checkout", json={"pack": "small", **PAGES}),
        customer.post("/billing/portal", json={"returnUrl": "https://shop.example"}),
        closed.http.post("/stripe/events", content=b"{}"),
    ]
    assert [answer.status_code for answer in refused] == [503] * 4
    assert {answer.json()["error"] for answer in refused} == {"Payments are not set up here"}
    assert customer.get("/billing/purchases").json() == {"purchases": []}
    assert customer.get("/me").json()["team"]["credits"] == 1000
