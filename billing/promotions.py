"""Promotions: credits that are given for nothing, spent first, and that may expire.

    promo#<account>, <expires_at_ms>#<cause>    a promotion that is not over: how many, until when

Promotional credits are one counter. What is still unspent of a promotion when it expires follows
from spending whatever expires first: all that the promotions which last longer do not account for.
"""

from billing import ledger
from billing.accounts import find_account
from storage.kv import (
    MAX_INTEGER,
    MAX_PAGE,
    Change,
    Conflict,
    Delete,
    Due,
    Item,
    Key,
    KeyValue,
    Put,
)
from storage.record import Record

PROMOTIONS = "promotions"
"""The queue of promotions, due when they expire."""

MAX_PROMOTIONS = 100
"""How many an account may have at a time."""

_TRIES = 10


class Promotion(Record):
    """Credits that were given once; `expires_at_ms` is None if they last."""

    account_id: str
    cause: str
    credits: int
    expires_at_ms: int | None = None

    @property
    def key(self) -> Key:
        """Where it is kept: in the order of expiry, those that last at the end."""
        until_ms = MAX_INTEGER if self.expires_at_ms is None else self.expires_at_ms
        return Key(f"promo#{self.account_id}", f"{until_ms:016}#{self.cause}")


def promoted(promotion: Promotion, *, now_ms: int) -> tuple[Change, ...]:
    """The changes that give the credits; the same cause gives them once."""
    until_ms = promotion.expires_at_ms
    if until_ms is not None and until_ms <= now_ms:
        raise ValueError("a promotion must not have expired when it is given")
    return (
        *ledger.promote(
            promotion.account_id, promotion.cause, credits=promotion.credits, now_ms=now_ms
        ),
        Put(
            promotion.key,
            promotion.model_dump(),
            due=None if until_ms is None else Due(PROMOTIONS, until_ms),
        ),
    )


def promotions_of(kv: KeyValue, account_id: str) -> list[Promotion]:
    """An account's promotions that are not over, those that expire first at the front."""
    items = kv.query(f"promo#{account_id}", limit=MAX_PAGE)
    return [Promotion.model_validate(item.value) for item in items]


def expire(kv: KeyValue, item: Item, *, now_ms: int) -> None:
    """Take what is unspent of a promotion whose time is over; quiet if somebody else did."""
    promotion = Promotion.model_validate(item.value)
    for _ in range(_TRIES):
        if kv.get(item.key) is None:
            return
        try:
            kv.commit(*_expired(kv, promotion, replaces=item.version, now_ms=now_ms))
            return
        except Conflict:
            continue  # credits were spent or given meanwhile; the next sweep comes anyway


def _expired(
    kv: KeyValue, promotion: Promotion, *, replaces: int, now_ms: int
) -> tuple[Change, ...]:
    _, balance = find_account(kv, promotion.account_id)
    lasting = sum(
        each.credits for each in promotions_of(kv, promotion.account_id) if each.key > promotion.key
    )
    unspent = min(max(balance.promo - lasting, 0), promotion.credits)
    over = Delete(promotion.key, replaces=replaces)
    if not unspent:
        return (over,)
    left = balance.promo - unspent
    return (
        *ledger.expire(
            promotion.account_id, promotion.cause, credits=unspent, left=left, now_ms=now_ms
        ),
        over,
    )
