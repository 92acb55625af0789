"""The daily audit where credits are sold: what Stripe alone knew of is put right."""

import logging
from collections.abc import Iterator

import pytest

from tests.handlers.selling import Shop, shop


@pytest.fixture
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("shop")) as opened:
        yield opened


def test_what_was_not_heard_of_is_credited_by_the_next_audit(open_shop: Shop) -> None:
    customer = open_shop.customer()
    open_shop.fake.pay(open_shop.order(customer))
    open_shop.service.services.audit.run()
    assert open_shop.balance(customer).available == 1000


def test_what_cannot_be_put_right_is_an_alarm(
    open_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = open_shop.order(open_shop.customer())
    open_shop.fake.pay(session_id)
    open_shop.fake.objects[session_id]["amount_total"] = 1
    open_shop.service.services.audit.run()
    alarms = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert "of 1 compared with Stripe, 1 could not be put right" in alarms


def test_a_stripe_that_is_away_keeps_no_audit_from_its_end(
    open_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    open_shop.fake.fails_with = 500
    audit = open_shop.service.services.audit
    assert audit.run() == []
    assert audit.last() is not None
    assert "the ledger could not be compared with Stripe" in caplog.text
