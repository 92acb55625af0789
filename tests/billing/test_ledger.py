"""The ledger: what each movement does, and that its verification tells every kind of error."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement, count

import pytest

from billing import ledger
from billing.accounts import Account, Balance, account_key, find_account
from billing.ledger import Entry, EntryKind, Split
from billing.verification import Discrepancy, verify
from storage.kv import MAX_PAGE, Add, Change, Conflict, Delete, Item, Key, KeyValue, Put
from tests.running import Clock
from tests.watched import WatchedStore

NOW_MS = 5

Settle = Callable[..., tuple[Change, ...]]


@pytest.fixture
def busy(kv: KeyValue, account: Account) -> Account:
    """The account after job a was paid, job b given back and job c left on hold, at 10 each."""
    for job in "abc":
        kv.commit(*ledger.hold(account, job, split=Split(0, 10), now_ms=NOW_MS))
    kv.commit(*ledger.capture(account.id, "a", split=Split(0, 10), now_ms=NOW_MS))
    kv.commit(*ledger.release(account.id, "b", split=Split(0, 10), now_ms=NOW_MS))
    return account


def balance_of(kv: KeyValue, account: Account) -> Balance:
    return find_account(kv, account.id)[1]


def is_refused(kv: KeyValue, changes: tuple[Change, ...]) -> bool:
    try:
        kv.commit(*changes)
    except Conflict:
        return True
    return False


def found(kv: KeyValue) -> list[str]:
    """What the verification has to say."""
    return [what for _, what in verify(kv)]


def ledger_key(account: Account, name: str) -> Key:
    return Key(f"ledger#{account.id}", name)


def rewrite(kv: KeyValue, account: Account, name: str, **fields: object) -> None:
    """Change an entry behind the ledger's back."""
    item = kv.get(ledger_key(account, name))
    assert item is not None
    kv.commit(Put(item.key, {**item.value, **fields}, replaces=item.version))


def test_a_hold_takes_credits_and_counts_the_job(kv: KeyValue, account: Account) -> None:
    kv.commit(*ledger.hold(account, "a", split=Split(0, 30), now_ms=NOW_MS))
    assert balance_of(kv, account) == Balance(available=70, held=30, in_flight=1)


def test_a_capture_turns_the_hold_into_credits_spent(kv: KeyValue, account: Account) -> None:
    kv.commit(*ledger.hold(account, "a", split=Split(0, 30), now_ms=NOW_MS))
    kv.commit(*ledger.capture(account.id, "a", split=Split(0, 30), now_ms=NOW_MS))
    assert balance_of(kv, account) == Balance(available=70, spent=30)


def test_a_release_gives_the_hold_back(kv: KeyValue, account: Account) -> None:
    kv.commit(*ledger.hold(account, "a", split=Split(0, 30), now_ms=NOW_MS))
    kv.commit(*ledger.release(account.id, "a", split=Split(0, 30), now_ms=NOW_MS))
    assert balance_of(kv, account) == Balance(available=100)


def test_the_last_credit_can_be_held_and_no_more(kv: KeyValue, account: Account) -> None:
    assert is_refused(kv, ledger.hold(account, "a", split=Split(0, 101), now_ms=NOW_MS))
    kv.commit(*ledger.hold(account, "a", split=Split(0, 100), now_ms=NOW_MS))
    assert is_refused(kv, ledger.hold(account, "b", split=Split(0, 1), now_ms=NOW_MS))
    assert balance_of(kv, account) == Balance(held=100, in_flight=1)


def test_no_more_jobs_are_in_flight_than_the_account_may_have(
    kv: KeyValue, account: Account
) -> None:
    for job in "abcde":
        kv.commit(*ledger.hold(account, job, split=Split(0, 1), now_ms=NOW_MS))
    assert is_refused(kv, ledger.hold(account, "f", split=Split(0, 1), now_ms=NOW_MS))
    kv.commit(*ledger.release(account.id, "a", split=Split(0, 1), now_ms=NOW_MS))
    kv.commit(*ledger.hold(account, "f", split=Split(0, 1), now_ms=NOW_MS))
    assert balance_of(kv, account).in_flight == 5


@pytest.mark.parametrize("first", [ledger.capture, ledger.release])
@pytest.mark.parametrize("second", [ledger.capture, ledger.release])
def test_a_hold_is_resolved_once(
    kv: KeyValue, account: Account, first: Settle, second: Settle
) -> None:
    for job in "ab":  # b's hold would pay for a's second settlement, if one were allowed
        kv.commit(*ledger.hold(account, job, split=Split(0, 10), now_ms=NOW_MS))
    kv.commit(*first(account.id, "a", split=Split(0, 10), now_ms=NOW_MS))
    before = balance_of(kv, account)
    assert is_refused(kv, second(account.id, "a", split=Split(0, 10), now_ms=NOW_MS))
    assert balance_of(kv, account) == before
    assert found(kv) == []


@pytest.mark.parametrize("settle", [ledger.capture, ledger.release])
@pytest.mark.parametrize(("job", "credits"), [("unknown", 10), ("a", 9), ("a", 11)])
def test_only_a_hold_that_exists_is_resolved_and_only_in_full(
    kv: KeyValue, account: Account, settle: Settle, job: str, credits: int
) -> None:
    for each in "ab":
        kv.commit(*ledger.hold(account, each, split=Split(0, 10), now_ms=NOW_MS))
    assert is_refused(kv, settle(account.id, job, split=Split(0, credits), now_ms=NOW_MS))
    assert balance_of(kv, account) == Balance(available=80, held=20, in_flight=2)


def test_a_grant_with_the_same_cause_is_given_once(kv: KeyValue, account: Account) -> None:
    kv.commit(*ledger.grant(account.id, "payment-1", credits=50, now_ms=NOW_MS))
    assert is_refused(kv, ledger.grant(account.id, "payment-1", credits=50, now_ms=NOW_MS))
    kv.commit(*ledger.grant(account.id, "payment-2", credits=50, now_ms=NOW_MS))
    assert balance_of(kv, account).available == 200


def test_the_entries_tell_the_whole_story(kv: KeyValue, busy: Account) -> None:
    assert {name: (e.kind, e.credits, e.held) for name, e in ledger.entries(kv, busy.id)} == {
        "grant:opening": (EntryKind.GRANT, 100, 0),
        "hold:a": (EntryKind.HOLD, -10, 10),
        "hold:b": (EntryKind.HOLD, -10, 10),
        "hold:c": (EntryKind.HOLD, -10, 10),
        "settle:a": (EntryKind.CAPTURE, 0, -10),
        "settle:b": (EntryKind.RELEASE, 10, -10),
    }
    assert balance_of(kv, busy) == Balance(available=80, held=10, spent=10, in_flight=1)


def test_a_sound_ledger_verifies_in_silence(kv: KeyValue, busy: Account) -> None:
    assert balance_of(kv, busy).in_flight == 1
    assert found(kv) == []


@pytest.mark.parametrize("counter", list(Balance.model_fields))
@pytest.mark.parametrize("amount", [1, -1, -1000])
def test_a_changed_counter_is_found(kv: KeyValue, busy: Account, counter: str, amount: int) -> None:
    kv.commit(Add(account_key(busy.id), {counter: amount}))
    stored = getattr(balance_of(kv, busy), counter)
    expected = [f"{counter} is {stored}, its entries say {stored - amount}"]
    expected += [f"{counter} is {stored}, below zero"] if stored < 0 else []
    assert found(kv) == expected


@pytest.mark.parametrize("name", ["grant:opening", "hold:a", "hold:b", "hold:c", "settle:a"])
def test_a_missing_entry_is_found(kv: KeyValue, busy: Account, name: str) -> None:
    item = kv.get(ledger_key(busy, name))
    assert item is not None
    kv.commit(Delete(item.key, replaces=item.version))
    assert found(kv)


@pytest.mark.parametrize("kind", [EntryKind.CAPTURE, EntryKind.RELEASE])
def test_a_settlement_without_a_hold_is_found(kv: KeyValue, busy: Account, kind: EntryKind) -> None:
    back = 10 if kind is EntryKind.RELEASE else 0
    entry = Entry(kind=kind, credits=back, held=-10, at_ms=NOW_MS, job_id="x")
    spent = {"spent": 10} if kind is EntryKind.CAPTURE else {"available": 10}
    kv.commit(
        Put(ledger_key(busy, "settle:x"), entry.model_dump(mode="json")),
        Add(account_key(busy.id), {"held": -10, **spent}),
    )
    assert any(what.startswith("settle:x does not resolve its hold") for what in found(kv))


@pytest.mark.parametrize("kind", [EntryKind.CAPTURE, EntryKind.RELEASE])
def test_a_second_settlement_under_another_name_is_found(
    kv: KeyValue, busy: Account, kind: EntryKind
) -> None:
    back = 10 if kind is EntryKind.RELEASE else 0
    entry = Entry(kind=kind, credits=back, held=-10, at_ms=NOW_MS, job_id="a")
    spent = {"spent": 10} if kind is EntryKind.CAPTURE else {"available": 10}
    kv.commit(
        Put(ledger_key(busy, "settle:a:again"), entry.model_dump(mode="json")),
        Add(account_key(busy.id), {"held": -10, **spent}),
    )
    assert any(what.startswith("settle:a:again is not an entry") for what in found(kv))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("grant:opening", {"credits": 99}),
        ("grant:opening", {"kind": "hold"}),
        ("hold:c", {"credits": -9}),
        ("hold:c", {"credits": -9, "held": 9}),
        ("hold:a", {"job_id": "z"}),
        ("settle:a", {"held": -9}),
        ("settle:a", {"kind": "release"}),
        ("settle:b", {"credits": 9}),
        ("settle:b", {"credits": 0, "kind": "capture"}),
    ],
)
def test_a_wrong_entry_is_found(
    kv: KeyValue, busy: Account, name: str, fields: dict[str, object]
) -> None:
    rewrite(kv, busy, name, **fields)
    assert found(kv)


@pytest.mark.parametrize(
    ("name", "fields", "amounts"),
    [
        ("hold:c", {"credits": -9}, {"available": 1}),
        ("settle:a", {"credits": 4}, {"available": 4}),
        ("settle:b", {"credits": 12}, {"available": 2}),
        ("settle:a", {"held": -9}, {"held": 1, "spent": -1}),
    ],
)
def test_a_wrong_amount_is_found_though_the_balance_agrees_with_it(
    kv: KeyValue,
    busy: Account,
    name: str,
    fields: dict[str, object],
    amounts: dict[str, int],
) -> None:
    rewrite(kv, busy, name, **fields)
    kv.commit(Add(account_key(busy.id), amounts))
    assert not any("its entries say" in what for what in found(kv))
    assert found(kv)


def test_every_account_is_verified(kv: KeyValue, busy: Account) -> None:
    other = busy.model_copy(update={"id": "acc_zz"})
    kv.commit(*ledger.opening(other, credits=5, now_ms=NOW_MS))
    kv.commit(Add(account_key(other.id), {"available": 1}))
    assert list(verify(kv)) == [
        Discrepancy("acc_zz", "available is 6, its entries say 5"),
    ]


def test_a_ledger_of_more_than_a_page_is_read_to_its_end(kv: KeyValue, account: Account) -> None:
    rows = [
        Put(
            ledger_key(account, f"grant:{number:05}"),
            Entry(kind=EntryKind.GRANT, credits=1, at_ms=NOW_MS).model_dump(mode="json"),
        )
        for number in range(1008)
    ]
    for start in range(0, len(rows), 24):
        some = rows[start : start + 24]
        kv.commit(*some, Add(account_key(account.id), {"available": len(some)}))
    assert sum(entry.credits for _, entry in ledger.entries(kv, account.id)) == 1108
    assert found(kv) == []


def movements(account: Account) -> Iterator[tuple[Change, ...]]:
    """Holds and their settlements, one job after another, each leaving what it found or less."""
    for number in count():
        job = f"{number}"
        settle = ledger.release if number % 3 else ledger.capture
        yield ledger.hold(account, job, split=Split(0, 1), now_ms=NOW_MS)
        yield settle(account.id, job, split=Split(0, 1), now_ms=NOW_MS)


def test_a_hold_and_its_settlement_between_any_two_reads_are_no_contradiction(
    kv: KeyValue, busy: Account
) -> None:
    left = movements(busy)
    for moments in combinations_with_replacement(range(12), 2):

        def move(call: int, moments: tuple[int, ...] = moments) -> None:
            for _ in range(moments.count(call)):
                kv.commit(*next(left))

        assert found(WatchedStore(kv, before=move)) == [], moments


class HalfShown(WatchedStore):
    """A store whose queries do not show one item of a commit before they have been made `times`."""

    def __init__(self, kv: KeyValue, hidden: Key, *, times: int) -> None:
        super().__init__(kv)
        self._hidden = hidden
        self._times = times

    def query(
        self,
        partition: str,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
        newest_first: bool = False,
    ) -> list[Item]:
        page = super().query(partition, after=after, limit=limit, newest_first=newest_first)
        if partition != self._hidden.partition or after is not None:
            return page
        self._times -= 1
        return page if self._times < 0 else [item for item in page if item.key != self._hidden]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", ["hold:c", "settle:a"])
def test_half_of_a_commit_that_is_shown_for_a_moment_is_no_contradiction(
    kv: KeyValue, busy: Account, name: str, times: int
) -> None:
    assert found(HalfShown(kv, ledger_key(busy, name), times=times)) == []


def test_a_contradiction_that_stays_is_found(kv: KeyValue, busy: Account) -> None:
    assert found(HalfShown(kv, ledger_key(busy, "settle:a"), times=1000))


def test_an_account_that_never_rests_is_said_to_be_too_busy(kv: KeyValue, busy: Account) -> None:
    kv.commit(*ledger.grant(busy.id, "enough", credits=100_000, now_ms=NOW_MS))
    left = movements(busy)
    watched = WatchedStore(kv, before=lambda _: kv.commit(*next(left)))
    assert found(watched) == ["is too busy to be read consistently; try again"]


def test_verification_beside_a_working_thread_is_silent(
    kv: KeyValue, busy: Account, clock: Clock
) -> None:
    def work() -> None:
        for number in range(40):
            kv.commit(*ledger.hold(busy, f"{number}", split=Split(0, 1), now_ms=clock()))
            kv.commit(*ledger.release(busy.id, f"{number}", split=Split(0, 1), now_ms=clock()))

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        said = found(kv)
        while not working.done():
            said += found(kv)
        working.result()
    assert said == []
    assert balance_of(kv, busy) == Balance(available=80, held=10, spent=10, in_flight=1)
