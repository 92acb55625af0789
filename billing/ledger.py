"""The ledger: every movement of credits is one immutable entry, named after its cause.

Credits leave the balance at submission (a hold) and become spent (a capture) or come back (a
release) when the job ends. Capture and release share the name `settle:<job>`, so that a hold is
resolved at most once is the uniqueness of a key; and they look at the hold's own counter, so that
only a hold that exists is resolved, and in full. Each function returns changes for its caller to
commit beside its own; the counters move in the same commit, so the sum of an account's entries is
its balance, always.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple

from billing.accounts import Account, Balance, account_key, all_account_ids, find_account, opened
from storage.kv import MAX_PAGE, Add, Change, Key, KeyValue, Put
from storage.record import Record

_VERIFY_TRIES = 20
_VERIFY_ROWS = 50_000
"""A busy account is read so often at least, and a small one until so many entries were read."""


class EntryKind(StrEnum):
    """Why credits moved."""

    GRANT = "grant"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    PROMO = "promo"
    EXPIRY = "expiry"
    TOPUP = "topup"
    CLAWBACK = "clawback"
    REINSTATE = "reinstate"


class Entry(Record):
    """One movement: what it did to the paid credits, to the promotional ones and to the holds."""

    SCHEMA: ClassVar[int] = 2  # the first one knew no promotions and no purchases

    kind: EntryKind
    credits: int
    promo: int = 0
    held: int = 0
    at_ms: int
    job_id: str | None = None
    purchase_id: str | None = None


def opening(account: Account, *, credits: int, now_ms: int) -> tuple[Change, ...]:
    """Open an account with that many credits, which may be none."""
    if credits < 0:
        raise ValueError(f"an account cannot open with {credits} credits")
    changes = opened(account, credits=credits)
    if not credits:
        return changes
    entry = Entry(kind=EntryKind.GRANT, credits=credits, at_ms=now_ms)
    return *changes, *_entry(account.id, "grant:opening", entry=entry)


def grant(account_id: str, cause: str, *, credits: int, now_ms: int) -> tuple[Change, ...]:
    """Give credits to an account; the same `cause` gives them once."""
    if credits < 1:
        raise ValueError(f"a grant must be of at least 1 credit, not {credits}")
    entry = Entry(kind=EntryKind.GRANT, credits=credits, at_ms=now_ms)
    return _moved(account_id, f"grant:{cause}", entry=entry)


class Split(NamedTuple):
    """Which credits a job holds: promotional ones first, paid ones for the rest."""

    promo: int
    paid: int

    @property
    def credits(self) -> int:
        """Both together: the job's price."""
        return self.promo + self.paid


def split_of(balance: Balance, *, credits: int) -> Split:
    """How that many credits are taken from a balance that covers them."""
    promo = min(balance.promo, credits)
    return Split(promo, credits - promo)


def hold(account: Account, job_id: str, *, split: Split, now_ms: int) -> tuple[Change, ...]:
    """Take a job's price out of the balance, and count the job as unfinished.

    The commit is refused if either kind of credits does not cover its part, if anything is owed,
    or if too many jobs are unfinished.
    """
    add = Add(
        account_key(account.id),
        {"available": -split.paid, "promo": -split.promo, "held": split.credits, "in_flight": 1},
        floors={"available": 0, "promo": 0},
        ceilings={"in_flight": account.max_in_flight},
    )
    entry = Entry(
        kind=EntryKind.HOLD,
        credits=-split.paid,
        promo=-split.promo,
        held=split.credits,
        at_ms=now_ms,
        job_id=job_id,
    )
    counters = {"held": split.credits, "promo": split.promo}
    return add, *_entry(account.id, f"hold:{job_id}", entry=entry, counters=counters)


def capture(account_id: str, job_id: str, *, split: Split, now_ms: int) -> tuple[Change, ...]:
    """Turn a job's hold into credits spent; refused unless there is a hold of just that."""
    entry = Entry(
        kind=EntryKind.CAPTURE, credits=0, held=-split.credits, at_ms=now_ms, job_id=job_id
    )
    return (
        *_moved(account_id, f"settle:{job_id}", entry=entry, spent=split.credits, in_flight=-1),
        _is_held(account_id, job_id, split=split),
    )


def release(account_id: str, job_id: str, *, split: Split, now_ms: int) -> tuple[Change, ...]:
    """Give a job's hold back to where it came from; refused unless there is a hold of just that."""
    entry = Entry(
        kind=EntryKind.RELEASE,
        credits=split.paid,
        promo=split.promo,
        held=-split.credits,
        at_ms=now_ms,
        job_id=job_id,
    )
    return (
        *_moved(account_id, f"settle:{job_id}", entry=entry, in_flight=-1),
        _is_held(account_id, job_id, split=split),
    )


def promote(account_id: str, cause: str, *, credits: int, now_ms: int) -> tuple[Change, ...]:
    """Give promotional credits; the same `cause` gives them once."""
    if credits < 1:
        raise ValueError(f"a promotion must be of at least 1 credit, not {credits}")
    entry = Entry(kind=EntryKind.PROMO, credits=0, promo=credits, at_ms=now_ms)
    return _moved(account_id, f"promo:{cause}", entry=entry)


def expire(
    account_id: str, cause: str, *, credits: int, left: int, now_ms: int
) -> tuple[Change, ...]:
    """Take what is unspent of a promotion; refused if fewer than `left` promotional credits would
    stay, for then others have spent some meanwhile."""
    entry = Entry(kind=EntryKind.EXPIRY, credits=0, promo=-credits, at_ms=now_ms)
    return _moved(account_id, f"expiry:{cause}", entry=entry, floors={"promo": left})


class Move(NamedTuple):
    """What happens to the credits of a purchase: a top-up, a clawback (below zero) or its undoing.

    `number` tells a purchase's moves apart.
    """

    kind: EntryKind
    credits: int
    number: int


def move_purchase(
    account_id: str, purchase_id: str, *, moves: Sequence[Move], now_ms: int
) -> tuple[Change, ...]:
    """Add what was bought, or take it back, though the balance fall below zero: that is owed.

    A purchase is topped up once, and each of its numbers moves credits once.
    """
    changes: list[Change] = []
    for move in moves:
        entry = Entry(kind=move.kind, credits=move.credits, at_ms=now_ms, purchase_id=purchase_id)
        number = "" if move.kind is EntryKind.TOPUP else f"#{move.number}"
        changes += _entry(account_id, f"{move.kind}:{purchase_id}{number}", entry=entry)
    net = sum(move.credits for move in moves)
    if net:
        changes.append(Add(account_key(account_id), {"available": net}))
    return tuple(changes)


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


def entries(kv: KeyValue, account_id: str) -> Iterator[tuple[str, Entry]]:
    """An account's entries with their names, in the order of their names."""
    after: str | None = None
    while page := kv.query(f"ledger#{account_id}", after=after, limit=MAX_PAGE):
        for item in page:
            yield item.key.sort, Entry.model_validate(item.value)
        after = page[-1].key.sort


class Line(NamedTuple):
    """A line of a statement: where it stands in it, the entry's name, and the entry."""

    place: str
    name: str
    entry: Entry


def statement(kv: KeyValue, account_id: str, *, before: str | None, limit: int) -> list[Line]:
    """Up to `limit` of an account's entries, newest first, that stand before a place."""
    items = kv.query(f"statement#{account_id}", after=before, limit=limit, newest_first=True)
    return [
        Line(item.key.sort, item.value["name"], Entry.model_validate(item.value)) for item in items
    ]


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
    """Whether an entry moves credits the way its kind does, under the name its kind has."""
    match entry.kind:
        case EntryKind.GRANT:
            return name.startswith("grant:") and entry.credits > 0 == entry.held == entry.promo
        case EntryKind.HOLD:
            taken = entry.credits + entry.promo
            is_taken = max(entry.credits, entry.promo) <= 0 < entry.held == -taken
            return name == f"hold:{entry.job_id}" and is_taken
        case EntryKind.CAPTURE:
            is_spent = entry.held < 0 == entry.credits == entry.promo
            return name == f"settle:{entry.job_id}" and is_spent
        case EntryKind.RELEASE:
            given = entry.credits + entry.promo
            is_given = entry.held == -given < 0 <= min(entry.credits, entry.promo)
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


def _moved(
    account_id: str,
    name: str,
    *,
    entry: Entry,
    spent: int = 0,
    in_flight: int = 0,
    floors: Mapping[str, int] | None = None,
) -> tuple[Change, ...]:
    amounts = {
        "available": entry.credits,
        "promo": entry.promo,
        "held": entry.held,
        "spent": spent,
        "in_flight": in_flight,
    }
    add = Add(
        account_key(account_id),
        {counter: amount for counter, amount in amounts.items() if amount},
        floors={counter: 0 for counter, amount in amounts.items() if amount < 0}
        | dict(floors or {}),
    )
    return add, *_entry(account_id, name, entry=entry)


def _is_held(account_id: str, job_id: str, *, split: Split) -> Add:
    hold = Key(f"ledger#{account_id}", f"hold:{job_id}")
    exactly = {"held": split.credits, "promo": split.promo}
    return Add(hold, {}, floors=exactly, ceilings=exactly)


def _entry(
    account_id: str, name: str, *, entry: Entry, counters: Mapping[str, int] | None = None
) -> tuple[Put, Put]:
    """The entry under its name, which makes it happen once, and again by its time, for reading."""
    value = entry.model_dump(mode="json")
    moment = f"{entry.at_ms:015}#{name}"
    return (
        Put(Key(f"ledger#{account_id}", name), value, counters=counters or {}),
        Put(Key(f"statement#{account_id}", moment), value | {"name": name}),
    )
