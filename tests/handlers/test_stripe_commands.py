"""`enlarger stripe reconcile`: what was paid and not heard of is credited; the rest is told."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import local_app
from billing.accounts import find_account
from billing.administration import open_account
from billing.payments import Checkout, Pages, Payments
from billing.stripe_client import Stripe
from billing.verification import verify
from handlers import wiring
from handlers.cli import create_cli
from jobs.ids import system_clock
from storage.kv import KeyValue
from storage.sqlite import SqliteKeyValue
from tests.handlers.selling import PACKS, PLANS
from tests.stripe_fake import KEY, WEBHOOK_SECRET, StripeFake, signed

PAGE = "https://shop.example"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def fake() -> Iterator[StripeFake]:
    with StripeFake(now_s=system_clock() // 1000).serving() as fake:
        yield fake


@pytest.fixture
def kv(tmp_path: Path) -> Iterator[KeyValue]:
    store = SqliteKeyValue(tmp_path / "enlarger.sqlite", clock=system_clock)
    yield store
    store.close()


@pytest.fixture
def payments(kv: KeyValue, fake: StripeFake) -> Payments:
    stripe = Stripe(KEY, webhook_secret=WEBHOOK_SECRET, api=fake.url)
    return Payments(kv, stripe, clock=system_clock, packs=PACKS, plans=PLANS)


@pytest.fixture
def account_id(kv: KeyValue) -> str:
    return open_account(kv, "Ada", credits=0, now_ms=1).account.id


@pytest.fixture
def run(tmp_path: Path, fake: StripeFake, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def run_command(*words: str, key: str | None = KEY) -> tuple[int, str]:
        plans = tmp_path / "plans.json"
        plans.write_text(json.dumps(PLANS.model_dump()["plans"]))
        environment = {
            "ENLARGER_DATA": str(tmp_path),
            "ENLARGER_STRIPE_API": fake.url,
            "ENLARGER_PLANS": str(plans),
        }
        cli = create_cli(
            environment=environment | ({"ENLARGER_STRIPE_KEY": key} if key else {}),
            open_store=wiring.open_store,
            load_engine=wiring.load_engine,
            serve=local_app.serve,
        )
        with pytest.raises(SystemExit) as end:
            cli(words)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    return run_command


def order(payments: Payments, account_id: str, pack: str = "small") -> Checkout:
    return payments.checkout(account_id, pack, pages=Pages(PAGE, PAGE))


def bought(payments: Payments, account_id: str, fake: StripeFake, pack: str) -> str:
    """What was paid and heard of: a session, or the invoice of a subscription."""
    made = order(payments, account_id, pack)
    event = fake.pay(made.session_id)
    invoice_id = fake.objects[made.session_id]["invoice"]
    payments.hear(*signed(event if invoice_id is None else fake.billed(invoice_id)))
    return str(invoice_id or made.session_id)


def plan_of(kv: KeyValue, account_id: str) -> str:
    return find_account(kv, account_id)[0].plan


def available(kv: KeyValue, account_id: str) -> int:
    assert list(verify(kv)) == []
    return find_account(kv, account_id)[1].available


def row_of(told: str, what: str) -> str:
    """The outcome of the one row about an id."""
    (row,) = [line for line in told.splitlines() if what in line]
    return row.split("  ")[-1].strip()


def test_what_was_paid_and_not_heard_of_is_credited_once(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    unheard, heard, unpaid = (order(payments, account_id) for _ in range(3))
    late = fake.pay(unheard.session_id)
    payments.hear(*signed(fake.pay(heard.session_id)))
    status, told = run("stripe", "reconcile")
    assert status == 0
    assert "3 looked at, 0 that could not be put right" in told
    for made, outcome in ((unheard, "put right now"), (heard, "agrees"), (unpaid, "unpaid")):
        assert row_of(told, made.session_id) == outcome
    assert available(kv, account_id) == 2000
    payments.hear(*signed(late))
    assert "put right now" not in run("stripe", "reconcile")[1]
    assert available(kv, account_id) == 2000


def test_an_invoice_that_was_paid_and_not_heard_of_is_credited_once(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    made = order(payments, account_id, "monthly")
    fake.pay(made.session_id)
    invoice_id = fake.objects[made.session_id]["invoice"]
    assert row_of(run("stripe", "reconcile")[1], invoice_id) == "put right now"
    assert row_of(run("stripe", "reconcile")[1], invoice_id) == "agrees"
    assert (available(kv, account_id), plan_of(kv, account_id)) == (2000, "pro")


@pytest.mark.parametrize("pack", ["small", "monthly"])
def test_what_was_refunded_and_not_heard_of_is_taken_back_by_its_sum(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run, pack: str
) -> None:
    paid = bought(payments, account_id, fake, pack)
    credits = available(kv, account_id)
    half = PACKS.packs[pack].amount_minor // 2
    fake.refund(paid, half - 100)
    fake.refund(paid, 100)
    charge_id = fake.charge_of(paid)["id"]
    assert row_of(run("stripe", "reconcile")[1], charge_id) == "put right now"
    assert row_of(run("stripe", "reconcile")[1], charge_id) == "agrees"
    assert available(kv, account_id) == credits // 2


@pytest.mark.parametrize("pack", ["small", "monthly"])
def test_a_dispute_that_was_not_heard_of_is_followed_to_its_end(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run, pack: str
) -> None:
    paid = bought(payments, account_id, fake, pack)
    credits = available(kv, account_id)
    dispute = fake.dispute(paid, PACKS.packs[pack].amount_minor)["data"]["object"]["id"]
    assert row_of(run("stripe", "reconcile")[1], dispute) == "put right now"
    assert available(kv, account_id) == 0
    fake.objects[dispute]["created"] -= 80 * 24 * 3600  # it began long ago, and ends now
    fake.rule(dispute, "won")
    assert row_of(run("stripe", "reconcile")[1], dispute) == "put right now"
    assert available(kv, account_id) == credits


def test_an_event_that_could_not_be_delivered_is_taken_in(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    paid = bought(payments, account_id, fake, "monthly")
    assert plan_of(kv, account_id) == "pro"
    ended = fake.cancel(fake.subscription_of(paid))
    ended["created"] -= 29 * 24 * 3600
    fake.undelivered.append(ended)
    assert row_of(run("stripe", "reconcile", "--days", "1")[1], ended["id"]) == "put right now"
    assert row_of(run("stripe", "reconcile", "--days", "1")[1], ended["id"]) == "agrees"
    assert plan_of(kv, account_id) == "self-hosted"


def test_an_undelivered_event_that_cannot_be_read_keeps_no_other_waiting(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    paid = fake.pay(order(payments, account_id).session_id)
    for each in fake.all_of("checkout.session"):
        each["created"] -= 9 * 24 * 3600
    broken = fake.event("charge.refunded", {"id": "ch_1", "object": "charge"})
    fake.undelivered += [paid, broken]
    status, told = run("stripe", "reconcile")
    assert (status, row_of(told, broken["id"])) == (1, "not put right: see the log")
    assert row_of(told, paid["id"]) == "put right now"
    assert available(kv, account_id) == 1000


def test_a_refund_that_failed_afterwards_is_told(
    payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    paid = bought(payments, account_id, fake, "small")
    payments.hear(*signed(fake.refund(paid, 400)))
    fake.charge_of(paid)["amount_refunded"] = 0
    status, told = run("stripe", "reconcile")
    assert (status, row_of(told, fake.charge_of(paid)["id"])) == (1, "400 was taken back")


def test_an_undelivered_event_from_which_nothing_follows_is_well(
    payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    event = fake.pay(order(payments, account_id).session_id, is_delayed=True)
    fake.undelivered.append(event)
    status, told = run("stripe", "reconcile")
    assert (status, row_of(told, event["id"])) == (0, "nothing follows")


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ({"amount_total": 1}, "paid 1 usd, sold for 1000 usd"),
        ({"metadata": {}}, "sells nothing of ours"),
        ({"metadata": {"enlarger_purchase": "pur_0"}}, "there is no purchase pur_0"),
        ({"metadata": {"enlarger_subscription": "subs_0"}}, "there is no subscription subs_0"),
    ],
)
def test_what_cannot_be_put_right_is_told_by_the_exit_status_and_the_log(
    kv: KeyValue,
    payments: Payments,
    account_id: str,
    fake: StripeFake,
    run: Run,
    change: dict[str, object],
    alarm: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = order(payments, account_id)
    fake.pay(made.session_id)
    fake.objects[made.session_id] |= change
    status, told = run("stripe", "reconcile", "--days", "1")
    assert (status, row_of(told, made.session_id)) == (1, "not put right: see the log")
    assert alarm in caplog.text
    assert available(kv, account_id) == 0


@pytest.mark.parametrize("kind", ["invoice", "refund", "dispute"])
def test_what_is_about_nothing_of_ours_is_told_by_the_exit_status(
    payments: Payments, account_id: str, fake: StripeFake, run: Run, kind: str
) -> None:
    paid = bought(payments, account_id, fake, "monthly")
    subscription = fake.objects[fake.subscription_of(paid)]
    subscription["metadata"].clear()
    invoice_id = fake.renew(subscription["id"])["data"]["object"]["id"]
    about = {
        "invoice": lambda: invoice_id,
        "refund": lambda: fake.refund(invoice_id, 1)["data"]["object"]["id"],
        "dispute": lambda: fake.dispute(invoice_id, 1)["data"]["object"]["id"],
    }[kind]()
    status, told = run("stripe", "reconcile")
    assert (status, row_of(told, about)) == (1, "not put right: see the log")


def test_what_is_from_before_is_left_alone(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    fake.pay(order(payments, account_id).session_id)
    fake.pay(order(payments, account_id, "monthly").session_id)
    for each in fake.objects.values():
        each["created"] -= 2 * 24 * 3600
    assert "0 looked at" in run("stripe", "reconcile", "--days", "1")[1]
    assert available(kv, account_id) == 0


def test_every_page_is_read(
    payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    made = order(payments, account_id)
    session = fake.objects[made.session_id]
    for number in range(249):
        fake.objects[f"cs_{number}"] = session | {"id": f"cs_{number}"}
    assert "250 looked at" in run("stripe", "reconcile")[1]


def test_without_a_key_or_with_a_wrong_one_it_says_so_in_a_line(run: Run, kv: KeyValue) -> None:
    assert kv.query("accounts", limit=1) == []  # the store is there
    status, told = run("stripe", "reconcile", key=None)
    assert (status, told) == (2, "enlarger: ENLARGER_STRIPE_KEY is not set\n")
    status, told = run("stripe", "reconcile", key="sk_test_a_wrong_one")
    assert status == 2
    assert "cannot be reached" in told
    assert "sk_test" not in told


@pytest.mark.parametrize("days", ["0", "91", "1.5"])
def test_absurd_days_are_refused(run: Run, days: str) -> None:
    assert run("stripe", "reconcile", "--days", days)[0] == 2
