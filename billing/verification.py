"""Verification: whether the entries of the ledger explain the balances, to the credit."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from billing.accounts import Balance, all_account_ids, find_account
from billing.ledger import Entry, EntryKind, entries
from storage.kv import KeyValue

_VERIFY_TRIES = 20
_VERIFY_ROWS = 50_000
"""A busy account is read so often at least, and a small one until so many entries were read."""


class Discrepancy(NamedTuple):
    """A row of the ledger's verification that is off."""

    account_id: str
    what: str


def verify(kv: KeyValue) -> Iterator[Discrepancy]:
    """Every contradiction between the entries and the balances; nothing when all is well.

    It may run beside a serving process: an account that moves while it is read is read again, and
    so is one with a contradiction, for a store may show half of a commit for a moment.
    """
    for account_id in all_account_ids(kv):
        yield from _verify_account(kv, account_id)


def _verify_account(kv: KeyValue, account_id: str) -> list[Discrepancy]:
    rows = dict(entries(kv, account_id))
    tries, rows_read = 0, 0
    seen: list[str] = []
    while tries < _VERIFY_TRIES or rows_read < _VERIFY_ROWS:
        _, balance = find_account(kv, account_id)
        again = dict(entries(kv, account_id))
        # Entries are only ever added. If there are no new ones, none came while the balance was
        # read; the balance alone would not tell, for a hold and its release leave it as it was.
        # That holds where a query is a snapshot. Where it is none, as on DynamoDB, it may miss an
        # entry whose commit the balance has seen: what is wrong must be so a second time.
        found = list(_contradictions(balance, rows)) if again == rows else []
        if again == rows and found == seen:
            return [Discrepancy(account_id, what) for what in found]
        rows, seen = again, found
        tries, rows_read = tries + 1, rows_read + len(rows)
    return [Discrepancy(account_id, "is too busy to be read consistently; try again")]


def _contradictions(balance: Balance, rows: dict[str, Entry]) -> Iterator[str]:
    holds = {e.job_id: e for e in rows.values() if e.kind is EntryKind.HOLD}
    settles = {e.job_id: e for e in rows.values() if e.kind in _SETTLING}
    sums = {
        "available": sum(entry.credits for entry in rows.values()),
        "promo": sum(entry.promo for entry in rows.values()),
        "held": sum(entry.held for entry in rows.values()),
        "spent": sum(-e.held for e in settles.values() if e.kind is EntryKind.CAPTURE),
        "in_flight": len(holds.keys() - settles.keys()),
    }
    taken_back = sum(e.credits for e in rows.values() if e.kind is EntryKind.CLAWBACK)
    for counter, total in sums.items():
        stored = getattr(balance, counter)
        if stored != total:
            yield f"{counter} is {stored}, its entries say {total}"
        if stored < (taken_back if counter == "available" else 0):
            yield f"{counter} is {stored}, below zero"
    for job_id, settle in settles.items():
        hold = holds.get(job_id)
        if hold is None or not _resolves(settle, hold):
            yield f"settle:{job_id} does not resolve its hold: {settle}, {hold}"
    yield from _wrong_purchases(rows)
    for name, entry in rows.items():
        if not _is_sound(name, entry):
            yield f"{name} is not an entry that the ledger writes: {entry}"


def _wrong_purchases(rows: Mapping[str, Entry]) -> Iterator[str]:
    """Purchases of which more was taken back than was topped up, or more was given."""
    moved: dict[str, int] = defaultdict(int)
    for entry in rows.values():
        if entry.purchase_id is not None:
            moved[entry.purchase_id] += entry.credits
    for purchase_id, credits in moved.items():
        topup = rows.get(f"{EntryKind.TOPUP}:{purchase_id}")
        bought = 0 if topup is None else topup.credits
        if not 0 <= credits <= bought:
            yield f"purchase {purchase_id} of {bought} credits stands for {credits}"


def _is_sound(name: str, entry: Entry) -> bool:
    """Whether an entry moves credits the way its kind does, under the name its kind has.

    A job of the sandbox holds, and settles, nothing.
    """
    match entry.kind:
        case EntryKind.GRANT:
            return name.startswith("grant:") and entry.credits > 0 == entry.held == entry.promo
        case EntryKind.HOLD:
            taken = entry.credits + entry.promo
            is_taken = max(entry.credits, entry.promo) <= 0 <= entry.held == -taken
            return name == f"hold:{entry.job_id}" and is_taken
        case EntryKind.CAPTURE:
            is_spent = entry.held <= 0 == entry.credits == entry.promo
            return name == f"settle:{entry.job_id}" and is_spent
        case EntryKind.RELEASE:
            given = entry.credits + entry.promo
            is_given = entry.held == -given <= 0 <= min(entry.credits, entry.promo)
            return name == f"settle:{entry.job_id}" and is_given
        case EntryKind.PROMO:
            return name.startswith("promo:") and entry.promo > 0 == entry.held == entry.credits
        case EntryKind.EXPIRY:
            return name.startswith("expiry:") and entry.promo < 0 == entry.held == entry.credits
        case EntryKind.TOPUP:
            is_given = entry.credits > 0 == entry.held == entry.promo
            return name == f"topup:{entry.purchase_id}" and is_given
        case EntryKind.CLAWBACK:
            is_taken = entry.credits < 0 == entry.held == entry.promo
            return name.startswith(f"clawback:{entry.purchase_id}#") and is_taken
        case EntryKind.REINSTATE:
            is_given = entry.credits > 0 == entry.held == entry.promo
            return name.startswith(f"reinstate:{entry.purchase_id}#") and is_given


def _resolves(settle: Entry, hold: Entry) -> bool:
    """Whether a settling entry ends just that hold: spent, or given back to where it came from."""
    if settle.kind is EntryKind.RELEASE:
        return (settle.credits, settle.promo) == (-hold.credits, -hold.promo)
    return settle.held == -hold.held


_SETTLING = (EntryKind.CAPTURE, EntryKind.RELEASE)
