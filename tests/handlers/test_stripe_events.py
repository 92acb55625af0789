"""Stripe's events: which are believed, what follows from each, and when they are sent again."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stripe import WebhookSignature

from billing import ledger
from billing.accounts import find_account
from billing.ledger import Split
from storage.kv import Change, Unavailable
from storage.sqlite import SqliteKeyValue
from tests.handlers.clients import Apiframe, VicSee, assert_refused
from tests.handlers.selling import Shop, shop
from tests.jobs.machine import PICTURE_URI
from tests.running import Clock
from tests.stripe_fake import WEBHOOK_SECRET, Object, Signed, signed


class Failing(SqliteKeyValue):
    """A store whose commits can be made to fail."""

    writing: Exception | None = None

    def commit(self, *changes: Change) -> None:
        if self.writing is not None:
            raise self.writing
        super().commit(*changes)


@pytest.fixture(scope="module")
def kv(tmp_path_factory: pytest.TempPathFactory) -> Failing:
    return Failing(tmp_path_factory.mktemp("shop") / "store.sqlite", clock=Clock())


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory, kv: Failing) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    with shop(folder, kv=kv) as opened:
        yield opened


@pytest.fixture
def customer(open_shop: Shop) -> Apiframe:
    """A new customer without credits."""
    return open_shop.customer()


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


def test_a_paid_session_brings_its_credits_once(open_shop: Shop, customer: Apiframe) -> None:
    event = open_shop.fake.pay(open_shop.order(customer))
    answers = [open_shop.send(event) for _ in range(3)]
    assert [(each.status_code, each.json()) for each in answers] == [(200, {"received": True})] * 3
    assert open_shop.balance(customer).available == 1000


def test_another_event_of_the_same_session_brings_nothing(
    open_shop: Shop, customer: Apiframe
) -> None:
    session_id = open_shop.bought(customer)
    again = open_shop.fake.event("checkout.session.completed", open_shop.fake.objects[session_id])
    assert open_shop.send(again).status_code == 200
    assert open_shop.balance(customer).available == 1000


def test_a_delayed_payment_is_waited_for(open_shop: Shop, customer: Apiframe) -> None:
    session_id = open_shop.order(customer)
    assert open_shop.send(open_shop.fake.pay(session_id, is_delayed=True)).status_code == 200
    assert open_shop.balance(customer).available == 0
    assert open_shop.send(open_shop.fake.arrive(session_id)).status_code == 200
    assert open_shop.balance(customer).available == 1000


def test_a_delayed_payment_that_fails_brings_nothing(open_shop: Shop, customer: Apiframe) -> None:
    session_id = open_shop.order(customer)
    open_shop.send(open_shop.fake.pay(session_id, is_delayed=True))
    session = open_shop.fake.objects[session_id]
    failed = open_shop.fake.event("checkout.session.async_payment_failed", session)
    assert open_shop.send(failed).status_code == 200
    assert open_shop.balance(customer).available == 0


def test_refunds_are_taken_back_by_their_sum(open_shop: Shop, customer: Apiframe) -> None:
    session_id = open_shop.bought(customer)
    first, second = (open_shop.fake.refund(session_id, amount) for amount in (300, 200))
    for event in (second, first, second):
        assert open_shop.send(event).status_code == 200
    assert open_shop.balance(customer).available == 500


def test_a_dispute_takes_and_its_end_gives_back(open_shop: Shop, customer: Apiframe) -> None:
    session_id = open_shop.bought(customer)
    created = open_shop.fake.dispute(session_id, 1000)
    open_shop.send(created)
    assert open_shop.balance(customer).available == 0
    dispute_id = created["data"]["object"]["id"]
    open_shop.send(open_shop.fake.rule(dispute_id, "won"))
    open_shop.send(open_shop.fake.rule(dispute_id, "won", kind="funds_reinstated"))
    assert open_shop.balance(customer).available == 1000


def test_a_dispute_before_the_payments_own_event_finds_its_purchase_at_stripe(
    open_shop: Shop, customer: Apiframe
) -> None:
    session_id = open_shop.order(customer)
    paid = open_shop.fake.pay(session_id)
    assert open_shop.send(open_shop.fake.dispute(session_id, 400)).status_code == 200
    assert open_shop.balance(customer).available == 0
    assert open_shop.send(paid).status_code == 200
    assert open_shop.balance(customer).available == 600


def test_a_refund_before_the_payments_own_event_counts(open_shop: Shop, customer: Apiframe) -> None:
    session_id = open_shop.order(customer)
    paid = open_shop.fake.pay(session_id)
    open_shop.send(open_shop.fake.refund(session_id, 1000))
    open_shop.send(paid)
    assert open_shop.balance(customer).available == 0


def test_who_owes_is_told_so_in_either_dialect_until_it_is_paid(
    open_shop: Shop, customer: Apiframe
) -> None:
    kv = open_shop.service.services.kv
    session_id = open_shop.bought(customer)
    account, _ = find_account(kv, customer.customer.id)
    kv.commit(*ledger.hold(account, "a-job", split=Split(0, 900), now_ms=1))
    open_shop.send(open_shop.fake.refund(session_id, 1000))
    message = "This account owes 900 credits of payments that were taken back: buy at least that"
    refused = customer.topaz(PICTURE_URI)
    assert refused.status_code == 402
    assert refused.json() == {"error": message, "creditsRequired": 8, "creditsAvailable": 0}
    same = VicSee(customer.service, customer.customer)
    assert_refused(same.upscale(image_url=PICTURE_URI), 402, "INSUFFICIENT_CREDITS", message)
    open_shop.bought(customer)
    assert customer.topaz(PICTURE_URI).status_code == 202


@pytest.mark.parametrize("kind", ["invoice.created", "customer.created", "something.new"])
def test_an_event_from_which_nothing_follows_is_acknowledged(open_shop: Shop, kind: str) -> None:
    event = open_shop.fake.event(kind, {"id": "in_1", "object": "invoice"})
    assert open_shop.send(event).status_code == 200


@pytest.mark.parametrize("foreign", ["no purchase", "another service's", "an unknown one"])
def test_a_foreign_session_is_acknowledged_and_an_alarm(
    open_shop: Shop, customer: Apiframe, foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = open_shop.order(customer)
    event = open_shop.fake.pay(session_id)
    metadata = {
        "no purchase": {},
        "another service's": {"order": "17"},
        "an unknown one": {"enlarger_purchase": "pur_unknown"},
    }[foreign]
    event["data"]["object"]["metadata"] = metadata
    assert open_shop.send(event).status_code == 200
    assert open_shop.balance(customer).available == 0
    assert len(alarms(caplog)) == 1


def test_a_second_session_for_the_same_purchase_is_an_alarm(
    open_shop: Shop, customer: Apiframe, caplog: pytest.LogCaptureFixture
) -> None:
    event = open_shop.fake.pay(open_shop.order(customer))
    event["data"]["object"]["id"] = "cs_of_somebody_else"
    assert open_shop.send(event).status_code == 200
    assert open_shop.balance(customer).available == 0
    assert "is not the session that sells it" in alarms(caplog)[0]


@pytest.mark.parametrize("change", [{"amount_total": 999}, {"currency": "eur"}])
def test_a_wrong_amount_or_currency_credits_nothing_and_is_an_alarm(
    open_shop: Shop,
    customer: Apiframe,
    change: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = open_shop.fake.pay(open_shop.order(customer))
    event["data"]["object"] |= change
    assert open_shop.send(event).status_code == 200
    assert open_shop.balance(customer).available == 0
    assert "sold for 1000 usd" in alarms(caplog)[0]


@pytest.mark.parametrize("payment", [None, "pi_unknown"])
def test_a_refund_of_a_foreign_charge_is_acknowledged_and_an_alarm(
    open_shop: Shop, payment: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    charge = {
        "id": "ch_1",
        "object": "charge",
        "amount_refunded": 5,
        "currency": "usd",
        "payment_intent": payment,
    }
    assert open_shop.send(open_shop.fake.event("charge.refunded", charge)).status_code == 200
    assert "has paid for nothing of ours" in alarms(caplog)[0]


def test_a_refund_that_failed_is_an_alarm(
    open_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    event = open_shop.fake.event("refund.failed", {"id": "re_1", "object": "refund"})
    assert open_shop.send(event).status_code == 200
    assert "a refund failed" in alarms(caplog)[0]


def forged(event: Object) -> Iterator[tuple[str, Signed]]:
    right = signed(event)
    yield "another secret", signed(event, secret="whsec_another_secret")
    yield "stale", signed(event, at_s=int(time.time()) - 400)
    yield "changed", Signed(right.body.replace(b"1000", b"9000"), right.signature)
    yield "no signature", Signed(right.body, "")
    yield "nonsense", Signed(right.body, "t=now,v1=abc")
    yield "an older scheme", Signed(right.body, right.signature.replace("v1=", "v0="))
    yield "not text", Signed(b"\xff\xfe", right.signature)


def test_a_forged_or_stale_event_is_refused_and_credits_nothing(
    open_shop: Shop, customer: Apiframe
) -> None:
    event = open_shop.fake.pay(open_shop.order(customer))
    for why, said in forged(event):
        answer = open_shop.send(said)
        assert (why, answer.status_code) == (why, 400)
        assert WEBHOOK_SECRET not in answer.text
    assert open_shop.balance(customer).available == 0


def test_an_event_without_the_header_is_refused(open_shop: Shop) -> None:
    assert open_shop.service.http.post("/stripe/events", content=b"{}").status_code == 400


@pytest.mark.parametrize(
    "header", [b"t=1,v1=\xe9", b"t=1,v1=", b"t=%s,v1=00" % (b"9" * 5000), b"="]
)
def test_a_signature_that_is_none_is_refused(open_shop: Shop, header: bytes) -> None:
    answer = open_shop.service.http.post(
        "/stripe/events", content=b"{}", headers=[(b"Stripe-Signature", header)]
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("body", [{}, [], {"object": "event", "id": "evt_1"}, "[" * 99_999])
def test_what_is_signed_and_no_event_is_refused(open_shop: Shop, body: object) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    header = WebhookSignature.generate_signature_header(text, WEBHOOK_SECRET)
    assert open_shop.send(Signed(text.encode(), header)).status_code == 400


def test_an_event_is_no_longer_than_events_are(open_shop: Shop) -> None:
    event = open_shop.fake.event("a.kind", {"id": "x", "much": "a" * 1024 * 1024})
    assert open_shop.send(event).status_code == 400


def test_an_event_that_could_not_be_committed_is_sent_again(
    open_shop: Shop, customer: Apiframe, kv: Failing
) -> None:
    event = open_shop.fake.pay(open_shop.order(customer))
    kv.writing = Unavailable("no connection")
    try:
        assert open_shop.send(event).status_code == 503
    finally:
        kv.writing = None
    assert open_shop.balance(customer).available == 0
    assert open_shop.send(event).status_code == 200
    assert open_shop.balance(customer).available == 1000


def test_an_event_for_which_stripe_cannot_be_asked_is_sent_again(
    open_shop: Shop, customer: Apiframe
) -> None:
    session_id = open_shop.order(customer)
    open_shop.fake.pay(session_id)
    event = open_shop.fake.dispute(session_id, 1000)
    open_shop.fake.fails_with = 500
    try:
        assert open_shop.send(event).status_code == 503
    finally:
        open_shop.fake.fails_with = None
    assert open_shop.send(event).status_code == 200


def test_a_payment_of_a_session_waits_for_the_sessions_own_event(
    open_shop: Shop, customer: Apiframe
) -> None:
    session_id = open_shop.order(customer)
    open_shop.fake.pay(session_id)
    intent = open_shop.fake.objects[open_shop.fake.objects[session_id]["payment_intent"]]
    assert open_shop.send(open_shop.fake.event("payment_intent.succeeded", intent)).is_success
    assert open_shop.balance(customer).available == 0
