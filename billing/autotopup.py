"""Automatic top-ups: when a balance falls below a threshold, a saved card is charged, once.

    autotopup#<account>, autotopup    what is to be done when, and how far that is

    armed -> charging -> resting -> armed        charging -> failed, until it is set up again

The balance is looked at every minute. The commit that sees it below the threshold orders the
purchase; its id is what Stripe is asked by, so whoever asks, and however often, makes one charge.
It is armed again only once the balance has been above the threshold. Who owes is not charged: the
customer's bank has just taken a payment back. Nor is who got all of the last purchase back: the
card would pay for it once more.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from billing.accounts import find_account
from billing.errors import CardMissing, PaymentsUnavailable
from billing.payments import Payments
from billing.purchases import Purchase, find_purchase, first_puts, ordered
from billing.settlement import charged
from billing.stripe_client import ChargeDeclined
from billing.stripe_objects import Payment
from storage.kv import Change, Conflict, Due, Item, Key, KeyValue, Put, Unavailable
from storage.record import Record

log = logging.getLogger(__name__)

LOOKS = "autotopup-looks"
CHARGES = "autotopup-charges"
"""The queues: balances to look at, and cards to charge, which takes seconds each."""

LOOK_EVERY_MS = 60_000
GIVE_UP_AFTER_MS = 23 * 60 * 60 * 1000
"""How long a charge is asked for: Stripe knows a repeated request for a day."""

_TRIES = 10


class State(StrEnum):
    """How far an automatic top-up is."""

    ARMED = "armed"
    CHARGING = "charging"
    RESTING = "resting"
    FAILED = "failed"
    OFF = "off"


class AutoTopUp(Record):
    """Below `threshold` credits of any kind a pack is bought; `problem` is why it `failed`."""

    account_id: str
    threshold: int
    pack_id: str
    state: State = State.ARMED
    purchase_id: str | None = None
    crossed_at_ms: int = 0
    card: str | None = None
    payment: str | None = None
    problem: str | None = None


class Kept(NamedTuple):
    """An automatic top-up as read, and its version."""

    setting: AutoTopUp
    version: int


@dataclass(frozen=True)
class AutoTopUps:
    """Sets them up, looks at balances, and charges. Each step claims by version."""

    kv: KeyValue
    payments: Payments
    clock: Callable[[], int]

    def set_up(self, account_id: str, *, threshold: int, pack_id: str) -> AutoTopUp:
        """Have a pack bought when the balance is below a threshold; what is under way goes on.

        Raises `PackUnknown`, for a subscription too, and `CardMissing` if there is no saved card.
        """
        self.payments.packs.single(pack_id)
        if self.payments.stripe.card_of(self.payments.customer(account_id)) is None:
            raise CardMissing
        said = {"threshold": threshold, "pack_id": pack_id}

        def changed(old: AutoTopUp | None) -> AutoTopUp:
            if old is None:
                return AutoTopUp(account_id=account_id, threshold=threshold, pack_id=pack_id)
            return old.model_copy(update=self._resumed(old) | said)

        return self._changed(account_id, changed)

    def turn_off(self, account_id: str) -> None:
        """Charge nothing more; quiet if nothing is set up."""
        if find_setting(self.kv, account_id) is not None:
            self._changed(account_id, _off)

    def look(self, item: Item) -> None:
        """Look at a balance: order a purchase if it has fallen below, arm if it has risen."""
        kept = self._due(item, queue=LOOKS)
        if kept is None:
            return
        setting = kept.setting
        _, balance = find_account(self.kv, setting.account_id)
        is_below = balance.available + balance.promo < setting.threshold
        pack = self.payments.packs.packs.get(setting.pack_id)
        if pack is None or pack.every is not None:
            self._fail(kept, f"the pack {setting.pack_id} is not sold any more")
        elif setting.state is State.ARMED and is_below and self._is_taken_back(setting):
            self._fail(kept, "the last purchase was taken back")
        elif setting.state is State.ARMED and is_below and not balance.owed:
            purchase = ordered(
                setting.account_id,
                setting.pack_id,
                pack,
                purchase_id=self.payments.new_id("pur"),
                now_ms=self.clock(),
                is_automatic=True,
            )
            self._write(
                kept,
                *first_puts(purchase),
                state=State.CHARGING,
                purchase_id=purchase.id,
                crossed_at_ms=self.clock(),
            )
        elif setting.state is State.RESTING and not is_below:
            self._write(kept, **_armed() | {"purchase_id": setting.purchase_id})
        else:
            self._write(kept)

    def charge(self, item: Item) -> None:
        """Charge the card for a purchase that a look has ordered; later, if Stripe is away."""
        kept = self._due(item, queue=CHARGES)
        if kept is None or kept.setting.purchase_id is None:
            return
        order = find_purchase(self.kv, kept.setting.purchase_id)
        if order is None:
            self._fail(kept, "its purchase is missing")
        elif order.purchase.is_paid:  # an event was faster
            self._write(kept, state=State.RESTING)
        elif self._is_over(kept.setting):
            self._fail(kept, "Stripe could not be reached for a day")
        else:
            self._charge(kept, order.purchase)

    def _charge(self, kept: Kept, purchase: Purchase) -> None:
        try:
            payment = self._payment(kept, purchase)
        except ChargeDeclined as declined:
            self._fail(kept, f"the card was declined: {declined}")
        except PaymentsUnavailable as unavailable:
            log.warning("automatic top-up of %s: %s", purchase.account_id, unavailable)
            self._write(kept)
        else:
            self._settle(kept, purchase, payment)

    def _payment(self, kept: Kept, purchase: Purchase) -> Payment | None:
        """The payment for a purchase; None if the card must be chosen first."""
        setting, stripe = kept.setting, self.payments.stripe.hurried
        if setting.payment is not None:
            payment = stripe.payment(setting.payment)
            if payment is None:
                raise ChargeDeclined(f"Stripe has no {setting.payment}")
            return payment
        customer_id = self.payments.customer(purchase.account_id)
        if setting.card is None:  # it is written down, so that a repeated request is the same one
            card = stripe.card_of(customer_id)
            if card is None:
                raise ChargeDeclined("there is no saved card")
            self._write(kept, wait_ms=0, card=card)
            return None
        return stripe.charge(purchase, customer_id=customer_id, card=setting.card)

    def _settle(self, kept: Kept, purchase: Purchase, payment: Payment | None) -> None:
        if payment is None:
            return
        if payment.status == "succeeded":
            fact = charged(payment)
            if self.payments.settlement.settle(purchase.id, fact, source=payment.id) is None:
                self._fail(kept, "what was paid is not what was ordered")
            else:
                self._write(kept, state=State.RESTING)
        elif payment.status == "processing":
            self._write(kept, payment=payment.id)
        else:
            self._fail(kept, f"the payment is {payment.status}")

    def _resumed(self, old: AutoTopUp) -> dict[str, Any]:
        """How an earlier setting goes on: a charge that may be under way is not made twice, and
        what rests rests on."""
        if old.state is State.RESTING:
            return {}
        is_done = old.state in (State.ARMED, State.FAILED)
        if is_done or old.purchase_id is None or self._is_over(old):
            return _armed()
        return {"state": State.CHARGING if old.state is State.OFF else old.state}

    def _is_taken_back(self, setting: AutoTopUp) -> bool:
        """Whether nothing is left of the purchase after which it was armed again."""
        last = find_purchase(self.kv, setting.purchase_id) if setting.purchase_id else None
        return last is not None and last.purchase.is_paid and last.purchase.target == 0

    def _is_over(self, setting: AutoTopUp) -> bool:
        """Whether it is too late to ask for a charge; one that has been made is waited for."""
        is_late = self.clock() - setting.crossed_at_ms > GIVE_UP_AFTER_MS
        return is_late and setting.payment is None

    def _fail(self, kept: Kept, problem: str) -> None:
        log.error("automatic top-up of %s is off: %s", kept.setting.account_id, problem)
        self._write(kept, state=State.FAILED, problem=problem)

    def _due(self, item: Item, *, queue: str) -> Kept | None:
        """What is due now in that queue; queues may lag behind."""
        now = self.kv.get(item.key)
        if now is None or now.due is None or now.due.queue != queue:
            return None
        if now.due.at_ms > self.clock():
            return None
        return Kept(AutoTopUp.model_validate(now.value), now.version)

    def _write(
        self, kept: Kept, *others: Change, wait_ms: int = LOOK_EVERY_MS, **changes: Any
    ) -> None:
        """Write what changed, and when to look again: at once if the state is another."""
        new = kept.setting.model_copy(update=changes)
        due_ms = self.clock() + (wait_ms if new.state is kept.setting.state else 0)
        try:
            self.kv.commit(_put(new, replaces=kept.version, due_ms=due_ms), *others)
        except Conflict:
            log.info("automatic top-up of %s: another was faster", new.account_id)

    def _changed(
        self, account_id: str, change: Callable[[AutoTopUp | None], AutoTopUp]
    ) -> AutoTopUp:
        for _ in range(_TRIES):
            kept = find_setting(self.kv, account_id)
            new = change(None if kept is None else kept.setting)
            replaces = None if kept is None else kept.version
            try:
                self.kv.commit(_put(new, replaces=replaces, due_ms=self.clock()))
            except Conflict:
                continue
            return new
        raise Unavailable("the automatic top-up could not be written")


def find_setting(kv: KeyValue, account_id: str) -> Kept | None:
    """An account's automatic top-up, if it has ever set one up."""
    item = kv.get(_key(account_id))
    return None if item is None else Kept(AutoTopUp.model_validate(item.value), item.version)


def _armed() -> dict[str, Any]:
    """What makes a setting ready for the next crossing."""
    fresh = {"purchase_id": None, "card": None, "payment": None, "problem": None}
    return fresh | {"state": State.ARMED, "crossed_at_ms": 0}


def _off(setting: AutoTopUp | None) -> AutoTopUp:
    assert setting is not None
    return setting.model_copy(update={"state": State.OFF})


def _put(setting: AutoTopUp, *, replaces: int | None, due_ms: int) -> Put:
    queues = {State.ARMED: LOOKS, State.RESTING: LOOKS, State.CHARGING: CHARGES}
    queue = queues.get(setting.state)
    due = None if queue is None else Due(queue, due_ms)
    return Put(_key(setting.account_id), setting.model_dump(), replaces=replaces, due=due)


def _key(account_id: str) -> Key:
    return Key(f"autotopup#{account_id}", "autotopup")
