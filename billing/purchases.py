"""Purchases: credits bought for money, and all that becomes of the money afterwards.

    purchase#<id>, purchase           what was ordered, and what is known of its payment
    purchases#<account>, <time>#<id>  the account's list
    payment#<payment intent>          which purchase a refund or a dispute is about

What is known of a payment only ever grows: it is paid or not yet, a cumulative figure is refunded,
each dispute has got so far. Facts merge into that in any order and however often, and from it
follows how many credits the purchase stands for. The ledger gets the difference to what it stood
for before, in the commit that writes the purchase at its version.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from billing.ledger import EntryKind, Move, move_purchase
from billing.packs import Pack
from storage.kv import MAX_PAGE, Change, Conflict, Key, KeyValue, Put, Unavailable, Unknown
from storage.record import Part, Record

MAX_DISPUTES = 100
"""Of one purchase; Stripe knows a few at the most."""

_TRIES = 20

_RANKS: Mapping[str, int] = {
    "warning_needs_response": 0,  # an inquiry: nothing has been taken
    "warning_under_review": 0,
    "warning_closed": 0,
    "prevented": 0,  # settled by a refund, which tells by itself
    "needs_response": 1,
    "under_review": 1,
    "lost": 2,
    "appeal_needs_response": 3,  # an appeal follows upon a loss
    "appeal_under_review": 3,
    "won": 4,
}
"""How far a dispute has got; what is won stays won. From 1 on the money is gone, until then."""

_UNKNOWN_RANK, _TAKEN_RANK, _WON_RANK = 1, 1, 4


class Paid(NamedTuple):
    """The whole amount has been paid."""

    amount_minor: int
    currency: str
    session_id: str | None
    payment: str | None


class Refunded(NamedTuple):
    """So much of a payment has been given back until now, in all."""

    refunded_minor: int
    currency: str
    payment: str


class Disputed(NamedTuple):
    """A customer's bank wants so much of a payment back, or did."""

    dispute_id: str
    status: str
    amount_minor: int
    currency: str
    payment: str


Fact = Paid | Refunded | Disputed
"""What is heard of a payment. `payment` is the id of Stripe's payment intent."""


class FactRefused(Exception):
    """A fact that cannot be about this purchase; nothing was credited or taken back."""


class Dispute(Part):
    """A dispute as far as it is known."""

    id: str
    rank: int
    amount_minor: int

    @property
    def takes_minor(self) -> int:
        """What it has taken away."""
        return self.amount_minor if _TAKEN_RANK <= self.rank < _WON_RANK else 0


class Purchase(Record):
    """What was ordered, what is known of the payment, and what of it the ledger knows.

    `stands_for` is how many credits it has brought the account until now, after `moves` movements.
    `is_automatic` ones are charged without a customer who looks on; one with a `subscription_id` is
    an invoice of that subscription, and has the invoice's id.
    """

    id: str
    account_id: str
    pack_id: str
    credits: int
    amount_minor: int
    currency: str
    created_at_ms: int
    is_automatic: bool = False
    subscription_id: str | None = None
    session_id: str | None = None
    payment: str | None = None
    is_paid: bool = False
    refunded_minor: int = 0
    disputes: tuple[Dispute, ...] = ()
    stands_for: int = 0
    moves: int = 0

    @property
    def target(self) -> int:
        """The credits that it should stand for: no more than what stays paid, rounded down."""
        gone_minor = self.refunded_minor + sum(each.takes_minor for each in self.disputes)
        kept_minor = max(self.amount_minor - gone_minor, 0) if self.is_paid else 0
        return self.credits * kept_minor // self.amount_minor

    @property
    def state(self) -> Literal["pending", "paid", "reduced"]:
        """In a word: `reduced` if some of it was taken back."""
        if not self.is_paid:
            return "pending"
        return "paid" if self.target == self.credits else "reduced"


class Kept(NamedTuple):
    """A purchase as read, and its version."""

    purchase: Purchase
    version: int


def ordered(
    account_id: str, pack_id: str, pack: Pack, *, purchase_id: str, now_ms: int, is_automatic: bool
) -> Purchase:
    """A purchase of which nothing is known yet but what it is to cost."""
    return Purchase(
        id=purchase_id,
        account_id=account_id,
        pack_id=pack_id,
        credits=pack.credits,
        amount_minor=pack.amount_minor,
        currency=pack.currency,
        created_at_ms=now_ms,
        is_automatic=is_automatic,
    )


def first_puts(purchase: Purchase) -> tuple[Put, ...]:
    """The changes that record a new purchase."""
    row = Key(f"purchases#{purchase.account_id}", f"{purchase.created_at_ms:015}#{purchase.id}")
    return Put(_key(purchase.id), purchase.model_dump()), Put(row, {"id": purchase.id})


def find_purchase(kv: KeyValue, purchase_id: str) -> Kept | None:
    """The purchase of that id."""
    item = kv.get(_key(purchase_id))
    return None if item is None else Kept(Purchase.model_validate(item.value), item.version)


def purchase_of(kv: KeyValue, payment: str) -> str | None:
    """The id of the purchase that was paid by that payment intent, if that is known."""
    item = kv.get(_payment_key(payment))
    return None if item is None else str(item.value["id"])


def purchases_of(kv: KeyValue, account_id: str, *, limit: int = MAX_PAGE) -> list[Purchase]:
    """Up to `limit` of an account's purchases, newest first."""
    rows = kv.query(f"purchases#{account_id}", limit=limit, newest_first=True)
    found = [find_purchase(kv, row.value["id"]) for row in rows]
    return [kept.purchase for kept in found if kept is not None]


def note_session(kv: KeyValue, purchase_id: str, *, session_id: str, now_ms: int) -> None:
    """Record which Checkout Session sells the purchase; `FactRefused` if another one does."""
    _committed(kv, purchase_id, lambda purchase: _with_session(purchase, session_id), now_ms=now_ms)


def note_fact(kv: KeyValue, purchase_id: str, fact: Fact, *, now_ms: int) -> Purchase | None:
    """Merge a fact into a purchase and move its credits; the purchase afterwards, None if unknown.

    To do so again changes nothing. Raises `FactRefused` if it is not about this purchase.
    """
    return _committed(kv, purchase_id, lambda purchase: merged(purchase, fact), now_ms=now_ms)


def merged(purchase: Purchase, fact: Fact) -> Purchase:
    """The purchase with a fact more; any order of facts comes to the same."""
    match fact:
        case Paid():
            return _paid(purchase, fact)
        case Refunded():
            if fact.currency != purchase.currency:
                raise FactRefused(f"refunded in {fact.currency}, sold in {purchase.currency}")
            return _known_by(purchase, fact.payment).model_copy(
                update={"refunded_minor": max(purchase.refunded_minor, fact.refunded_minor)}
            )
        case Disputed():
            disputes = _disputed(purchase, fact)
            return _known_by(purchase, fact.payment).model_copy(update={"disputes": disputes})


def _paid(purchase: Purchase, fact: Paid) -> Purchase:
    said = (fact.amount_minor, fact.currency)
    if said != (purchase.amount_minor, purchase.currency):
        raise FactRefused(
            f"paid {fact.amount_minor} {fact.currency}, "
            f"sold for {purchase.amount_minor} {purchase.currency}"
        )
    purchase = _with_session(purchase, fact.session_id)
    return _known_by(purchase, fact.payment).model_copy(update={"is_paid": True})


def _with_session(purchase: Purchase, session_id: str | None) -> Purchase:
    if session_id is not None and purchase.session_id not in (None, session_id):
        raise FactRefused(f"{session_id} is not the session that sells it")
    return purchase.model_copy(update={"session_id": session_id or purchase.session_id})


def _known_by(purchase: Purchase, payment: str | None) -> Purchase:
    if payment is not None and purchase.payment not in (None, payment):
        raise FactRefused(f"{payment} is not the payment that was made for it")
    return purchase.model_copy(update={"payment": payment or purchase.payment})


def _disputed(purchase: Purchase, fact: Disputed) -> tuple[Dispute, ...]:
    is_ours = fact.currency == purchase.currency
    new = Dispute(
        id=fact.dispute_id,
        rank=_RANKS.get(fact.status, _UNKNOWN_RANK),
        # In another currency there is no telling how much of it: then it is all of it.
        amount_minor=fact.amount_minor if is_ours else purchase.amount_minor,
    )
    known = {each.id: each for each in purchase.disputes}
    old = known.get(new.id, new)
    known[new.id] = max(old, new, key=lambda each: (each.rank, each.amount_minor))
    if len(known) > MAX_DISPUTES:
        raise FactRefused(f"it has more than {MAX_DISPUTES} disputes")
    return tuple(known[dispute_id] for dispute_id in sorted(known))


def _committed(
    kv: KeyValue, purchase_id: str, change: Callable[[Purchase], Purchase], *, now_ms: int
) -> Purchase | None:
    for _ in range(_TRIES):
        kept = find_purchase(kv, purchase_id)
        if kept is None:
            return None
        new = change(kept.purchase)
        if new == kept.purchase:
            return new
        try:
            kv.commit(*_changes(kept, new, now_ms=now_ms))
        except (Conflict, Unknown):
            if new.payment and purchase_of(kv, new.payment) not in (None, new.id):
                raise FactRefused(f"{new.payment} has paid for another purchase") from None
            continue  # what is there now is read anew: a fact that is in it changes nothing
        return _moved(new)
    raise Unavailable("the purchase could not be written")


def _changes(kept: Kept, new: Purchase, *, now_ms: int) -> tuple[Change, ...]:
    """The purchase as it is now, what that does to the ledger, and how to find it by payment."""
    changes: list[Change] = [Put(_key(new.id), _moved(new).model_dump(), replaces=kept.version)]
    if new.payment is not None and kept.purchase.payment is None:
        changes.append(Put(_payment_key(new.payment), {"id": new.id}))
    changes += move_purchase(new.account_id, new.id, moves=_moves(new), now_ms=now_ms)
    return tuple(changes)


def _moves(purchase: Purchase) -> list[Move]:
    """What the ledger has yet to do. The first time it is all that was bought, whatever became of
    it meanwhile: that is a movement of its own."""
    number, stands_for = purchase.moves, purchase.stands_for
    moves: list[Move] = []
    if purchase.is_paid and not number:
        moves.append(Move(EntryKind.TOPUP, purchase.credits, number))
        stands_for = purchase.credits
    difference = purchase.target - stands_for
    if difference:
        kind = EntryKind.CLAWBACK if difference < 0 else EntryKind.REINSTATE
        moves.append(Move(kind, difference, number + len(moves)))
    return moves


def _moved(purchase: Purchase) -> Purchase:
    moves = purchase.moves + len(_moves(purchase))
    return purchase.model_copy(update={"stands_for": purchase.target, "moves": moves})


def _key(purchase_id: str) -> Key:
    return Key(f"purchase#{purchase_id}", "purchase")


def _payment_key(payment: str) -> Key:
    return Key(f"payment#{payment}", "payment")
