"""The ledger: every movement of credits is one immutable entry, named after its cause.

Credits leave the balance at submission (a hold) and become spent (a capture) or come back (a
release) when the job ends. Capture and release share the name `settle:<job>`, so that a hold is
resolved at most once is the uniqueness of a key; and they look at the hold's own counter, so that
only a hold that exists is resolved, and in full. Each function returns changes for its caller to
commit beside its own; the counters move in the same commit, so the sum of an account's entries is
its balance, always.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple

from billing.accounts import Account, Balance, account_key, opened
from storage.kv import MAX_PAGE, Add, Change, Key, KeyValue, Put
from storage.record import Record


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
    or if too many jobs are unfinished. A price of nothing asks for no balance.
    """
    add = Add(
        account_key(account.id),
        {"available": -split.paid, "promo": -split.promo, "held": split.credits, "in_flight": 1},
        floors={"available": 0, "promo": 0} if split.credits else {},
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
) -> tuple[Put, ...]:
    """The entry under its name, which makes it happen once, and again by its time, for reading.

    One that moves nothing, as in the sandbox, is on no statement.
    """
    value = entry.model_dump(mode="json")
    moment = f"{entry.at_ms:015}#{name}"
    named = Put(Key(f"ledger#{account_id}", name), value, counters=counters or {})
    if not (entry.credits or entry.promo or entry.held):
        return (named,)
    return named, Put(Key(f"statement#{account_id}", moment), value | {"name": name})
