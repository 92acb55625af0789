"""Purchases: whatever the order in which Stripe tells of them, the same credits in the end."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from billing import ledger
from billing.accounts import Account, Balance, find_account
from billing.administration import open_account
from billing.ledger import EntryKind, Split
from billing.packs import Pack
from billing.purchases import (
    MAX_DISPUTES,
    Disputed,
    Fact,
    FactRefused,
    Paid,
    Purchase,
    Refunded,
    find_purchase,
    first_puts,
    merged,
    note_fact,
    note_session,
    ordered,
    purchase_of,
    purchases_of,
)
from billing.verification import verify
from storage.kv import Check, Conflict, Key, KeyValue, Unavailable, Unknown
from storage.sqlite import SqliteKeyValue
from tests.running import Clock
from tests.watched import WatchedStore

PACK = Pack(name="A thousand", credits=1000, amount_minor=900, currency="eur")
PAID = Paid(900, "eur", "cs_1", "pi_1")


def refunded(amount_minor: int, currency: str = "eur") -> Refunded:
    return Refunded(amount_minor, currency, "pi_1")


def disputed(
    status: str, amount_minor: int = 900, dispute_id: str = "du_1", currency: str = "eur"
) -> Disputed:
    return Disputed(dispute_id, status, amount_minor, currency, "pi_1")


def order(kv: KeyValue, account: Account, purchase_id: str = "pur_1") -> Purchase:
    purchase = ordered(
        account.id, "small", PACK, purchase_id=purchase_id, now_ms=1, is_automatic=False
    )
    kv.commit(*first_puts(purchase))
    return purchase


@pytest.fixture(autouse=True)
def purchase(kv: KeyValue, account: Account) -> Purchase:
    """An order of 1,000 credits for 9 euros, by an account that has 100."""
    return order(kv, account)


def hear(kv: KeyValue, *facts: Fact, purchase_id: str = "pur_1") -> Purchase:
    for fact in facts:
        after = note_fact(kv, purchase_id, fact, now_ms=2)
    assert after is not None
    return after


def balance_of(kv: KeyValue, account: Account) -> Balance:
    return find_account(kv, account.id)[1]


def entries_of(kv: KeyValue, account: Account) -> dict[str, int]:
    """What the purchases did."""
    found = dict(ledger.entries(kv, account.id))
    return {name: each.credits for name, each in found.items() if each.purchase_id is not None}


def test_a_paid_purchase_brings_its_credits_once(kv: KeyValue, account: Account) -> None:
    hear(kv, PAID, PAID)
    assert balance_of(kv, account).available == 1100
    assert entries_of(kv, account) == {"topup:pur_1": 1000}
    assert list(verify(kv)) == []


def test_an_order_alone_brings_nothing(kv: KeyValue, account: Account, purchase: Purchase) -> None:
    assert balance_of(kv, account).available == 100
    assert find_purchase(kv, purchase.id) is not None
    assert purchases_of(kv, account.id) == [purchase]
    assert purchase.state == "pending"


def test_a_purchase_is_found_by_its_payment(kv: KeyValue, purchase: Purchase) -> None:
    assert purchase_of(kv, "pi_1") is None
    hear(kv, PAID)
    assert purchase_of(kv, "pi_1") == purchase.id


def test_a_refund_takes_back_its_part_rounded_for_the_house(kv: KeyValue, account: Account) -> None:
    after = hear(kv, PAID, refunded(100))  # 8 of 9 euros stay: 888.9 credits
    assert entries_of(kv, account) == {"topup:pur_1": 1000, "clawback:pur_1#1": -112}
    assert (after.target, after.state) == (888, "reduced")


def test_refunds_are_cumulative(kv: KeyValue, account: Account) -> None:
    hear(kv, PAID, refunded(300), refunded(300), refunded(450))
    assert balance_of(kv, account).available == 600
    hear(kv, refunded(300))
    assert balance_of(kv, account).available == 600


def test_more_than_everything_takes_back_no_more_than_everything(
    kv: KeyValue, account: Account
) -> None:
    hear(kv, PAID, refunded(900), disputed("lost"))
    assert balance_of(kv, account).available == 100


def test_what_was_spent_is_owed_and_blocks_until_it_is_filled_up(
    kv: KeyValue, account: Account
) -> None:
    hear(kv, PAID)
    kv.commit(*ledger.hold(account, "a", split=Split(0, 1050), now_ms=3))
    hear(kv, refunded(900))
    balance = balance_of(kv, account)
    assert (balance.available, balance.owed, balance.spendable) == (-950, 950, 0)
    kv.commit(*ledger.promote(account.id, "gift", credits=5, now_ms=4))
    with pytest.raises(Conflict):
        kv.commit(*ledger.hold(account, "b", split=Split(5, 0), now_ms=5))
    order(kv, account, "pur_2")
    hear(kv, Paid(900, "eur", "cs_2", "pi_2"), purchase_id="pur_2")
    assert balance_of(kv, account).available == 50
    assert list(verify(kv)) == []


def test_a_release_fills_up_what_is_owed(kv: KeyValue, account: Account) -> None:
    hear(kv, PAID)
    kv.commit(*ledger.hold(account, "a", split=Split(0, 1050), now_ms=3))
    hear(kv, refunded(900))
    kv.commit(*ledger.release(account.id, "a", split=Split(0, 1050), now_ms=4))
    assert balance_of(kv, account).available == 100
    assert list(verify(kv)) == []


@pytest.mark.parametrize("status", ["needs_response", "under_review", "lost", "a new one"])
def test_a_dispute_takes_the_credits_away(kv: KeyValue, account: Account, status: str) -> None:
    hear(kv, PAID, disputed(status))
    assert balance_of(kv, account).available == 100


@pytest.mark.parametrize(
    "status", ["warning_needs_response", "warning_under_review", "warning_closed", "prevented"]
)
def test_an_inquiry_takes_nothing(kv: KeyValue, account: Account, status: str) -> None:
    hear(kv, PAID, disputed(status))
    assert balance_of(kv, account).available == 1100


def test_a_dispute_that_is_won_gives_the_credits_back(kv: KeyValue, account: Account) -> None:
    hear(kv, PAID, disputed("needs_response", 450), disputed("won", 450))
    moves = {"topup:pur_1": 1000, "clawback:pur_1#1": -500, "reinstate:pur_1#2": 500}
    assert entries_of(kv, account) == moves
    hear(kv, disputed("under_review", 450))
    assert balance_of(kv, account).available == 1100


def test_a_loss_that_is_appealed_against_takes_until_it_is_won(
    kv: KeyValue, account: Account
) -> None:
    hear(kv, PAID, disputed("lost"), disputed("appeal_under_review"), disputed("lost"))
    assert balance_of(kv, account).available == 100
    hear(kv, disputed("won"))
    assert balance_of(kv, account).available == 1100


def test_two_disputes_add_up(kv: KeyValue, account: Account) -> None:
    hear(kv, PAID, disputed("lost", 90), disputed("lost", 180, "du_2"))
    assert balance_of(kv, account).available == 800


def test_a_dispute_in_another_currency_is_about_all_of_it(kv: KeyValue, account: Account) -> None:
    hear(kv, PAID, disputed("needs_response", 9, currency="usd"))
    assert balance_of(kv, account).available == 100


def test_what_was_taken_back_before_it_was_paid_is_told_in_full(
    kv: KeyValue, account: Account
) -> None:
    hear(kv, refunded(450))
    assert entries_of(kv, account) == {}
    hear(kv, PAID)
    assert entries_of(kv, account) == {"topup:pur_1": 1000, "clawback:pur_1#1": -500}
    assert list(verify(kv)) == []


@pytest.mark.parametrize(
    "fact",
    [
        PAID._replace(amount_minor=899),
        PAID._replace(amount_minor=901),
        PAID._replace(currency="usd"),
        PAID._replace(session_id="cs_2"),
        refunded(100, "usd"),
        Refunded(100, "eur", "pi_2"),
        Disputed("du_1", "lost", 900, "eur", "pi_2"),
    ],
)
def test_a_fact_that_does_not_fit_moves_nothing(
    kv: KeyValue, purchase: Purchase, fact: Fact
) -> None:
    note_session(kv, purchase.id, session_id="cs_1", now_ms=1)
    if not isinstance(fact, Paid):
        hear(kv, PAID)
    before = find_purchase(kv, purchase.id)
    with pytest.raises(FactRefused):
        note_fact(kv, purchase.id, fact, now_ms=2)
    assert find_purchase(kv, purchase.id) == before


def test_one_payment_pays_for_one_purchase(kv: KeyValue, account: Account) -> None:
    hear(kv, PAID)
    order(kv, account, "pur_2")
    with pytest.raises(FactRefused, match="pi_1 has paid for another purchase"):
        note_fact(kv, "pur_2", PAID._replace(session_id="cs_2"), now_ms=2)
    assert entries_of(kv, account) == {"topup:pur_1": 1000}
    assert purchase_of(kv, "pi_1") == "pur_1"


def test_there_is_an_end_to_disputes(purchase: Purchase) -> None:
    for number in range(MAX_DISPUTES):
        purchase = merged(purchase, disputed("lost", 1, f"du_{number}"))
    with pytest.raises(FactRefused):
        merged(purchase, disputed("lost", 1, "du_one_more"))


def test_an_unknown_purchase_is_told_from_a_known_one(kv: KeyValue) -> None:
    assert note_fact(kv, "pur_unknown", PAID, now_ms=1) is None


def test_events_that_come_at_the_same_time_move_credits_once(
    kv: KeyValue, account: Account, purchase: Purchase
) -> None:
    facts = [PAID, refunded(300), disputed("needs_response", 300), disputed("lost", 300)] * 4
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda fact: note_fact(kv, purchase.id, fact, now_ms=2), facts))
    assert balance_of(kv, account).available == 100 + 333
    assert list(verify(kv)) == []


@pytest.mark.parametrize("lost", [Unknown("no answer"), Conflict(Check(Key("a", "b"), None))])
def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    kv: KeyValue, account: Account, lost: Exception
) -> None:
    def lose(call: int) -> None:
        if call == 1:
            raise lost

    hear(WatchedStore(kv, after=lose), PAID)
    assert entries_of(kv, account) == {"topup:pur_1": 1000}


def test_a_store_that_never_takes_it_is_told(kv: KeyValue) -> None:
    def refuse(call: int) -> None:
        if call % 3 == 1:  # the commits
            raise Unknown("no answer")

    with pytest.raises(Unavailable):
        hear(WatchedStore(kv, before=refuse), PAID)


@pytest.mark.parametrize("credits", [-1, 1])
def test_the_verification_tells_a_purchase_that_stands_for_the_wrong_credits(
    kv: KeyValue, account: Account, purchase: Purchase, credits: int
) -> None:
    hear(kv, PAID, refunded(900))
    kind = EntryKind.REINSTATE if credits > 0 else EntryKind.CLAWBACK
    for number, move in enumerate([1000 * credits, credits], start=5):
        moves = [ledger.Move(kind, move, number)]
        kv.commit(*ledger.move_purchase(account.id, purchase.id, moves=moves, now_ms=9))
    assert any("pur_1 of 1000 credits" in each.what for each in verify(kv))


HISTORIES: dict[str, Sequence[Fact]] = {
    "two partial refunds and a dispute that is won": (
        PAID, refunded(270), refunded(500), disputed("needs_response"), disputed("won"),
    ),
    "a refund of all of it and a dispute that is lost": (
        PAID, refunded(270), refunded(900), disputed("under_review"), disputed("lost"),
    ),
    "a dispute of a part, which is lost, and won on appeal": (
        PAID, refunded(270), disputed("needs_response", 301), disputed("lost", 301),
        disputed("won", 301),
    ),
    "an inquiry that becomes a dispute, beside another one": (
        PAID, disputed("warning_needs_response", 100), disputed("needs_response", 100),
        disputed("lost", 250, "du_2"), refunded(33),
    ),
}  # fmt: skip
ENDS = {
    "two partial refunds and a dispute that is won": 444,
    "a refund of all of it and a dispute that is lost": 0,
    "a dispute of a part, which is lost, and won on appeal": 700,
    "an inquiry that becomes a dispute, beside another one": 574,
}


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyValue]:
    """A store for all histories together."""
    folder: Path = tmp_path_factory.mktemp("histories")
    store = SqliteKeyValue(folder / "store.sqlite", clock=Clock())
    yield store
    store.close()


def histories(facts: Sequence[Fact]) -> Iterator[tuple[Fact, ...]]:
    """Every order of the facts, and every order of them with any one told twice."""
    yield from itertools.permutations(facts)
    for repeated in facts:
        yield from sorted(set(itertools.permutations((*facts, repeated))), key=repr)


@pytest.mark.parametrize("name", HISTORIES)
def test_every_order_of_events_with_any_one_repeated_ends_in_the_same_ledger(
    lasting: KeyValue, name: str
) -> None:
    facts = HISTORIES[name]
    account = open_account(lasting, name, credits=100, now_ms=1).account
    numbers = itertools.count()
    expected: Counter[str] = Counter()
    for history in histories(facts):
        purchase_id = f"pur_{name.replace(' ', '_')}_{next(numbers)}"
        order(lasting, account, purchase_id)
        for fact in history:
            own = fact._replace(payment=f"pi_{purchase_id}")
            after = note_fact(lasting, purchase_id, own, now_ms=2)
        assert after is not None
        assert (after.target, after.stands_for) == (ENDS[name], ENDS[name]), history
        expected[purchase_id] = ENDS[name]
    assert len(expected) == 120 + 5 * 360
    sums: Counter[str] = Counter()
    for _, entry in ledger.entries(lasting, account.id):
        sums[entry.purchase_id or "opening"] += entry.credits
    assert sums == expected | {"opening": 100}
    assert balance_of(lasting, account).available == 100 + len(expected) * ENDS[name]
    assert list(verify(lasting)) == []
