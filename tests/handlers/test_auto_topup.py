"""Automatic top-ups over HTTP, and that the sweeper sees to them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.handlers.clients import Apiframe
from tests.handlers.selling import Shop, shop

PATH = "/billing/auto-topup"
WANTED = {"threshold": 100, "pack": "small"}


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("shop")) as opened:
        yield opened


@pytest.fixture
def customer(open_shop: Shop) -> Apiframe:
    """A new customer with 50 credits."""
    return open_shop.customer(credits=50)


def ask(customer: Apiframe, method: str, body: Any = None) -> Any:
    """Any method, with the key."""
    return customer.service.http.request(method, f"/v2{PATH}", headers=customer.headers, json=body)


def test_a_saved_card_is_charged_by_the_sweeper(open_shop: Shop, customer: Apiframe) -> None:
    session_id = open_shop.order(customer, saves_card=True)
    event = open_shop.fake.pay(session_id)
    answer = ask(customer, "PUT", WANTED)
    assert (answer.status_code, answer.json()["state"]) == (200, "armed")
    for _ in range(3):  # to order, to charge, and to look again
        open_shop.service.services.sweeper.sweep()
    assert open_shop.balance(customer).available == 1050
    assert ask(customer, "GET").json() == {**WANTED, "state": "armed", "problem": None}
    open_shop.send(event)
    assert open_shop.balance(customer).available == 2050


def test_without_a_saved_card_it_is_refused(open_shop: Shop, customer: Apiframe) -> None:
    open_shop.bought(customer)
    answer = ask(customer, "PUT", WANTED)
    assert answer.status_code == 400
    assert answer.json() == {"error": "There is no saved card; buy a pack with saveCard first"}
    assert ask(customer, "GET").json()["state"] == "off"


def test_it_can_be_turned_off(open_shop: Shop, customer: Apiframe) -> None:
    open_shop.fake.pay(open_shop.order(customer, saves_card=True))
    ask(customer, "PUT", WANTED)
    assert ask(customer, "DELETE").json()["state"] == "off"
    open_shop.service.services.sweeper.sweep()
    assert open_shop.balance(customer).available == 50


def test_a_stripe_that_hangs_holds_up_a_sweep_once(open_shop: Shop) -> None:
    customers = [open_shop.customer(credits=50) for _ in range(3)]
    for each in customers:
        open_shop.fake.pay(open_shop.order(each, saves_card=True))
        ask(each, "PUT", WANTED)
    clock = open_shop.clock
    asked = len(open_shop.fake.requests)
    open_shop.fake.fails_with, open_shop.fake.asked = 500, lambda: clock.advance(seconds=10)
    try:
        open_shop.service.services.sweeper.sweep()
    finally:
        open_shop.fake.fails_with, open_shop.fake.asked = None, lambda: None
    assert len(open_shop.fake.requests) == asked + 1
    clock.advance(seconds=60)
    for _ in range(3):
        open_shop.service.services.sweeper.sweep()
    assert [open_shop.balance(each).available for each in customers] == [1050] * 3


@pytest.mark.parametrize(
    "change", [{"threshold": 0}, {"threshold": -5}, {"threshold": 1.5}, {"pack": "free"}, {"x": 1}]
)
def test_a_bad_setting_is_refused(customer: Apiframe, change: dict[str, Any]) -> None:
    assert ask(customer, "PUT", WANTED | change).status_code == 400
