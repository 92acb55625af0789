"""Subscribing: what a customer is told, what Stripe is told, and what is seen of it afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.handlers.clients import Apiframe
from tests.handlers.selling import PAGES, Shop, shop


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("shop")) as opened:
        yield opened


@pytest.fixture
def customer(open_shop: Shop) -> Apiframe:
    """A new customer without credits."""
    return open_shop.customer()


def seen(customer: Apiframe) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = customer.get("/billing/subscriptions").json()["subscriptions"]
    return shown


def begun(open_shop: Shop, customer: Apiframe, pack: str = "monthly") -> str:
    """The invoice with which a subscription has begun."""
    session_id = open_shop.order(customer, pack)
    invoice_id = open_shop.fake.invoice_of(open_shop.fake.pay(session_id))
    assert open_shop.send(open_shop.fake.billed(invoice_id)).status_code == 200
    return invoice_id


def test_a_checkout_answers_where_to_subscribe_for_how_much(
    open_shop: Shop, customer: Apiframe
) -> None:
    made = customer.post("/billing/checkout", json={"pack": "monthly", **PAGES}).json()
    session = open_shop.fake.objects[made["sessionId"]]
    assert (made["credits"], made["amountMinor"], made["currency"]) == (2000, 1500, "usd")
    assert made["purchaseId"] is None
    assert made["url"] == session["url"]
    assert session["mode"] == "subscription"
    assert session["_price"]["recurring"] == {"interval": "month"}
    assert session["metadata"] == {"enlarger_subscription": made["subscriptionId"]}
    assert session["_subscription"]["metadata"] == session["metadata"]


def test_what_a_subscription_is_to_bring_is_recorded_before_stripe_is_asked(
    open_shop: Shop, customer: Apiframe
) -> None:
    customer.post("/billing/portal", json={"returnUrl": "https://shop.example"})
    open_shop.fake.fails_with = 500
    try:
        answer = customer.post("/billing/checkout", json={"pack": "monthly", **PAGES})
    finally:
        open_shop.fake.fails_with = None
    assert answer.status_code == 503
    assert [(each["state"], each["credits"]) for each in seen(customer)] == [("pending", 2000)]


def test_a_paid_invoice_brings_credits_and_the_limits_of_the_plan(
    open_shop: Shop, customer: Apiframe
) -> None:
    begun(open_shop, customer)
    assert open_shop.balance(customer).available == 2000
    team = customer.get("/me").json()["team"]
    assert (team["plan"], team["maxConcurrentJobs"]) == ("pro", 77)


def test_what_is_subscribed_can_be_seen_until_it_ends(open_shop: Shop, customer: Apiframe) -> None:
    invoice_id = begun(open_shop, customer)
    (running,) = seen(customer)
    assert running.pop("id").startswith("subs_")
    assert running.pop("createdAt") < running.pop("paidUntil")
    assert running == {
        "pack": "monthly",
        "state": "running",
        "credits": 2000,
        "amountMinor": 1500,
        "currency": "usd",
        "every": "month",
        "plan": "pro",
    }
    stripe_id = open_shop.fake.subscription_of(invoice_id)
    assert open_shop.send(open_shop.fake.cancel(stripe_id)).status_code == 200
    assert [each["state"] for each in seen(customer)] == ["ended"]
    assert customer.get("/me").json()["team"]["plan"] == "self-hosted"


def test_an_invoice_is_among_the_purchases(open_shop: Shop, customer: Apiframe) -> None:
    invoice_id = begun(open_shop, customer)
    (shown,) = customer.get("/billing/purchases").json()["purchases"]
    assert (shown["id"], shown["state"], shown["creditsKept"]) == (invoice_id, "paid", 2000)
    assert shown["subscriptionId"] == seen(customer)[0]["id"]


def test_one_without_a_plan_brings_credits_alone(open_shop: Shop, customer: Apiframe) -> None:
    begun(open_shop, customer, "yearly")
    assert open_shop.balance(customer).available == 20_000
    assert customer.get("/me").json()["team"]["plan"] == "self-hosted"


def test_what_runs_already_is_not_subscribed_to_again(open_shop: Shop, customer: Apiframe) -> None:
    begun(open_shop, customer)
    answer = customer.post("/billing/checkout", json={"pack": "monthly", **PAGES})
    assert answer.status_code == 409
    assert answer.json()["error"].startswith("This account has that subscription already")
    assert open_shop.order(customer, "yearly")


def test_no_automatic_top_up_buys_a_subscription(customer: Apiframe) -> None:
    answer = customer.service.http.put(
        "/v2/billing/auto-topup",
        headers=customer.headers,
        json={"threshold": 5, "pack": "monthly"},
    )
    assert answer.status_code == 400
    assert "is a subscription" in answer.json()["error"]


def test_stripe_is_to_ask_for_no_other_currency(open_shop: Shop, customer: Apiframe) -> None:
    for pack in ("small", "monthly"):
        session = open_shop.fake.objects[open_shop.order(customer, pack)]
        assert session["_adaptive_pricing"] == {"enabled": "false"}


def test_others_subscriptions_are_not_seen(open_shop: Shop, customer: Apiframe) -> None:
    begun(open_shop, customer)
    assert seen(open_shop.customer()) == []


@pytest.mark.parametrize("limit", ["0", "101", "1.5"])
def test_an_absurd_page_of_subscriptions_is_refused(customer: Apiframe, limit: str) -> None:
    assert customer.get("/billing/subscriptions", limit=limit).status_code == 400
