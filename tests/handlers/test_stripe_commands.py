"""`enlarger stripe reconcile`: what was paid and not heard of is credited; the rest is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import local_app
from billing.accounts import find_account
from billing.administration import open_account
from billing.payments import Checkout, Payments
from billing.stripe_client import Stripe
from billing.verification import verify
from handlers import wiring
from handlers.cli import create_cli
from jobs.ids import system_clock
from storage.kv import KeyValue
from storage.sqlite import SqliteKeyValue
from tests.handlers.selling import PACKS
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
    return Payments(kv, stripe, clock=system_clock, packs=PACKS)


@pytest.fixture
def account_id(kv: KeyValue) -> str:
    return open_account(kv, "Ada", credits=0, now_ms=1).account.id


@pytest.fixture
def run(tmp_path: Path, fake: StripeFake, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def run_command(*words: str, key: str | None = KEY) -> tuple[int, str]:
        environment = {"ENLARGER_DATA": str(tmp_path), "ENLARGER_STRIPE_API": fake.url}
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


def order(payments: Payments, account_id: str) -> Checkout:
    return payments.checkout(account_id, "small", success_url=PAGE, cancel_url=PAGE)


def available(kv: KeyValue, account_id: str) -> int:
    assert list(verify(kv)) == []
    return find_account(kv, account_id)[1].available


def test_what_was_paid_and_not_heard_of_is_credited_once(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    unheard, heard, unpaid = (order(payments, account_id) for _ in range(3))
    late = fake.pay(unheard.session_id)
    payments.hear(*signed(fake.pay(heard.session_id)))
    status, told = run("stripe", "reconcile")
    assert status == 0
    assert "3 sessions in 3 days, 0 that could not be put right" in told
    for made, outcome in ((unheard, "credited now"), (heard, "credited"), (unpaid, "unpaid")):
        (row,) = [line for line in told.splitlines() if made.session_id in line]
        assert row.endswith(outcome)
    assert available(kv, account_id) == 2000
    payments.hear(*signed(late))
    assert "credited now" not in run("stripe", "reconcile")[1]
    assert available(kv, account_id) == 2000


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"amount_total": 1}, "paid, but not what was to be paid"),
        ({"metadata": {}}, "paid, but sells nothing of ours"),
        ({"metadata": {"enlarger_purchase": "pur_0"}}, "paid, but sells nothing of ours"),
    ],
)
def test_what_cannot_be_put_right_is_told_by_the_exit_status(
    kv: KeyValue,
    payments: Payments,
    account_id: str,
    fake: StripeFake,
    run: Run,
    change: dict[str, object],
    outcome: str,
) -> None:
    made = order(payments, account_id)
    fake.pay(made.session_id)
    fake.objects[made.session_id] |= change
    status, told = run("stripe", "reconcile", "--days", "1")
    assert (status, outcome in told) == (1, True)
    assert available(kv, account_id) == 0


def test_sessions_from_before_are_left_alone(
    kv: KeyValue, payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    made = order(payments, account_id)
    fake.pay(made.session_id)
    fake.objects[made.session_id]["created"] -= 2 * 24 * 3600
    assert "0 sessions in 1 days" in run("stripe", "reconcile", "--days", "1")[1]
    assert available(kv, account_id) == 0


def test_every_page_of_sessions_is_read(
    payments: Payments, account_id: str, fake: StripeFake, run: Run
) -> None:
    made = order(payments, account_id)
    session = fake.objects[made.session_id]
    for number in range(249):
        fake.objects[f"cs_{number}"] = session | {"id": f"cs_{number}"}
    assert "250 sessions" in run("stripe", "reconcile")[1]


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
