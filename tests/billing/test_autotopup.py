"""Automatic top-ups: one charge for each fall below the threshold, whatever breaks meanwhile."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from billing import ledger
from billing.accounts import Account, find_account
from billing.autotopup import (
    CHARGES,
    GIVE_UP_AFTER_MS,
    LOOK_EVERY_MS,
    LOOKS,
    AutoTopUp,
    AutoTopUps,
    State,
    find_setting,
)
from billing.errors import CardMissing, PackUnknown
from billing.ledger import Split
from billing.packs import Pack, Packs
from billing.payments import Payments
from billing.purchases import Refunded, note_fact, purchases_of
from billing.stripe_client import Stripe
from billing.verification import verify
from storage.kv import Item, KeyValue, Unavailable, Unknown
from tests.running import Clock
from tests.stripe_fake import KEY, WEBHOOK_SECRET, StripeFake, signed
from tests.watched import WatchedStore

PACKS = Packs(
    packs={
        "large": Pack(name="A thousand", credits=1000, amount_minor=900, currency="eur"),
        "tiny": Pack(name="Ten", credits=10, amount_minor=50, currency="eur"),
    }
)
THRESHOLD = 50


@dataclass
class World:
    """An account with 100 credits and a saved card."""

    kv: KeyValue
    account: Account
    clock: Clock
    fake: StripeFake
    topups: AutoTopUps

    def spend(self, credits: int, job: str) -> None:
        split = Split(0, credits)
        self.kv.commit(*ledger.hold(self.account, job, split=split, now_ms=self.clock()))

    def sweep(self, topups: AutoTopUps | None = None) -> None:
        """What a sweep does, until nothing is due."""
        now = topups or self.topups
        for _ in range(5):
            for queue, see_to in ((LOOKS, now.look), (CHARGES, now.charge)):
                for item in self.kv.due(queue, until_ms=self.clock(), limit=10):
                    see_to(item)

    def later(self, ms: int = LOOK_EVERY_MS) -> None:
        self.clock.now_ms += ms
        self.sweep()

    @property
    def setting(self) -> AutoTopUp:
        kept = find_setting(self.kv, self.account.id)
        assert kept is not None
        return kept.setting

    @property
    def available(self) -> int:
        assert list(verify(self.kv)) == []
        return find_account(self.kv, self.account.id)[1].available

    @property
    def charges(self) -> int:
        return len(self.fake.all_of("charge"))


@pytest.fixture
def bare(kv: KeyValue, account: Account, clock: Clock) -> Iterator[World]:
    """The same without a card."""
    with StripeFake().serving() as fake:
        stripe = Stripe(KEY, webhook_secret=WEBHOOK_SECRET, api=fake.url)
        payments = Payments(kv, stripe, clock=clock, packs=PACKS)
        yield World(kv, account, clock, fake, AutoTopUps(kv, payments, clock))


@pytest.fixture
def world(bare: World) -> World:
    customer_id = bare.topups.payments.customer(bare.account.id)
    bare.fake.objects["pm_1"] = {"id": "pm_1", "object": "payment_method", "customer": customer_id}
    bare.topups.set_up(bare.account.id, threshold=THRESHOLD, pack_id="large")
    return bare


def test_below_the_threshold_a_pack_is_bought(world: World) -> None:
    world.spend(51, "a")
    world.sweep()
    assert (world.available, world.charges) == (1049, 1)
    assert world.setting.state is State.ARMED


def test_at_the_threshold_nothing_is_bought(world: World) -> None:
    world.spend(50, "a")
    world.sweep()
    assert (world.available, world.charges) == (50, 0)


def test_a_fall_is_seen_within_a_minute(world: World) -> None:
    world.sweep()
    world.spend(90, "a")
    world.sweep()
    assert world.charges == 0
    world.later()
    assert world.charges == 1


def test_each_fall_buys_once(world: World) -> None:
    for number in range(3):
        world.spend(world.available - 10, f"job-{number}")
        world.later()
        world.later()
        assert world.charges == number + 1


def test_a_pack_that_does_not_reach_the_threshold_is_bought_once(world: World) -> None:
    world.topups.set_up(world.account.id, threshold=THRESHOLD, pack_id="tiny")
    world.spend(90, "a")
    for _ in range(3):
        world.later()
    assert (world.available, world.charges, world.setting.state) == (20, 1, State.RESTING)
    world.kv.commit(*ledger.grant(world.account.id, "gift", credits=100, now_ms=1))
    world.later()
    world.spend(100, "b")
    world.later()
    assert (world.available, world.charges) == (30, 2)


def test_who_owes_is_not_charged(world: World) -> None:
    world.spend(90, "a")
    world.sweep()
    purchase = purchases_of(world.kv, world.account.id)[0]
    assert purchase.payment is not None
    world.spend(1010, "b")
    note_fact(world.kv, purchase.id, Refunded(900, "eur", purchase.payment), now_ms=1)
    world.later()
    assert (world.available, world.charges) == (-1000, 1)


def take_back(world: World, amount_minor: int) -> None:
    """So much of the last purchase is refunded."""
    purchase = purchases_of(world.kv, world.account.id)[0]
    assert purchase.payment is not None
    note_fact(world.kv, purchase.id, Refunded(amount_minor, "eur", purchase.payment), now_ms=1)


def test_what_was_taken_back_is_not_charged_again_by_itself(world: World) -> None:
    world.spend(90, "a")
    world.sweep()
    take_back(world, 900)
    world.later()
    assert (world.available, world.charges) == (10, 1)
    assert world.setting.state is State.FAILED
    assert world.setting.problem == "the last purchase was taken back"
    world.topups.set_up(world.account.id, threshold=THRESHOLD, pack_id="large")
    world.later()
    assert (world.available, world.charges) == (1010, 2)


def test_what_was_taken_back_in_part_is_no_reason_to_stop(world: World) -> None:
    world.spend(90, "a")
    world.sweep()
    take_back(world, 90)
    world.spend(900, "b")
    world.later()
    assert (world.available, world.charges) == (1010, 2)


def test_sweeps_at_the_same_time_charge_once(world: World) -> None:
    world.spend(90, "a")
    with ThreadPoolExecutor(4) as threads:
        for sweep in [threads.submit(world.sweep) for _ in range(4)]:
            sweep.result()
    world.later()
    assert (world.available, world.charges) == (1010, 1)


@pytest.mark.parametrize("call", range(16))
@pytest.mark.parametrize("failure", [Unavailable, Unknown])
def test_a_store_that_fails_at_any_moment_costs_no_second_charge(
    world: World, call: int, failure: type[Exception]
) -> None:
    def fail(number: int) -> None:
        if number == call:
            raise failure("now")

    world.spend(90, "a")
    watched = WatchedStore(
        world.kv,
        before=fail if failure is Unavailable else lambda _: None,
        after=fail if failure is Unknown else lambda _: None,
    )
    failing = replace(world.topups, kv=watched, payments=replace(world.topups.payments, kv=watched))
    try:
        world.sweep(failing)
    except (Unavailable, Unknown):
        world.sweep()
    world.later()
    assert (world.available, world.charges) == (1010, 1)
    assert world.setting.state is State.ARMED


def test_a_declined_card_disarms_and_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.fake.declines = "insufficient_funds"
    world.spend(90, "a")
    for _ in range(3):
        world.later()
    assert len([each for each in world.fake.requests if each[1] == "/v1/payment_intents"]) == 1
    assert world.setting.state is State.FAILED
    assert world.setting.problem == "the card was declined: insufficient_funds"
    (alarm,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "insufficient_funds" in alarm.getMessage()
    world.fake.declines = None
    world.topups.set_up(world.account.id, threshold=THRESHOLD, pack_id="large")
    world.later()
    assert (world.available, world.charges) == (1010, 1)


def test_a_card_that_has_gone_disarms(world: World) -> None:
    del world.fake.objects["pm_1"]
    world.spend(90, "a")
    world.sweep()
    assert (world.setting.state, world.charges) == (State.FAILED, 0)


def test_stripe_is_asked_again_when_it_is_back(world: World) -> None:
    world.fake.fails_with = 500
    world.spend(90, "a")
    world.sweep()
    assert world.setting.state is State.CHARGING
    world.fake.fails_with = None
    world.later()
    assert (world.available, world.charges) == (1010, 1)


def test_stripe_is_not_asked_again_once_it_has_forgotten_the_first_time(world: World) -> None:
    world.fake.fails_with = 500
    world.spend(90, "a")
    world.sweep()
    world.fake.fails_with = None
    world.later(GIVE_UP_AFTER_MS + 1)
    assert (world.setting.state, world.charges) == (State.FAILED, 0)


def look_only(world: World) -> None:
    """A sweep that stops when it has ordered a purchase."""
    for item in world.kv.due(LOOKS, until_ms=world.clock(), limit=10):
        world.topups.look(item)


def due(world: World) -> Item:
    """The card that is to be charged now."""
    (item,) = world.kv.due(CHARGES, until_ms=world.clock(), limit=10)
    return item


def test_what_stripe_refuses_for_good_disarms_at_once(world: World) -> None:
    world.spend(90, "a")
    look_only(world)
    world.topups.charge(due(world))  # chooses the card
    world.fake.fails_with = 400
    world.topups.charge(due(world))
    assert world.setting.state is State.FAILED
    assert world.setting.problem == "the card was declined: invalid_request"


def test_a_payment_that_stripe_has_no_more_disarms(world: World) -> None:
    world.fake.payment_status = "processing"
    world.spend(90, "a")
    world.sweep()
    world.fake.objects.clear()
    world.later()
    assert world.setting.state is State.FAILED


def test_a_balance_is_not_looked_at_while_its_card_is_charged(world: World) -> None:
    world.spend(90, "a")
    (stale,) = world.kv.due(LOOKS, until_ms=world.clock(), limit=10)
    look_only(world)
    only = Packs(packs={"tiny": PACKS.packs["tiny"]})
    other = replace(world.topups, payments=replace(world.topups.payments, packs=only))
    other.look(stale)  # the queue lags behind
    assert world.setting.state is State.CHARGING
    world.sweep()
    assert (world.available, world.charges) == (1010, 1)


def test_what_rests_is_not_armed_by_being_set_up_again(world: World) -> None:
    world.topups.set_up(world.account.id, threshold=THRESHOLD, pack_id="tiny")
    world.spend(90, "a")
    world.later()
    world.later(GIVE_UP_AFTER_MS + 1)
    world.topups.set_up(world.account.id, threshold=THRESHOLD, pack_id="tiny")
    world.later()
    assert (world.available, world.charges, world.setting.state) == (20, 1, State.RESTING)


def test_a_payment_under_way_is_waited_for(world: World) -> None:
    world.fake.payment_status = "processing"
    world.spend(90, "a")
    world.sweep()
    world.later()
    assert (world.setting.state, world.available) == (State.CHARGING, 10)
    world.fake.succeed(world.fake.all_of("payment_intent")[0]["id"])
    world.later()
    assert (world.setting.state, world.available, world.charges) == (State.ARMED, 1010, 1)


def test_a_payment_under_way_is_waited_for_however_long_it_takes(world: World) -> None:
    world.fake.payment_status = "processing"
    world.spend(90, "a")
    world.sweep()
    world.later(GIVE_UP_AFTER_MS + 1)
    assert world.setting.state is State.CHARGING
    world.fake.succeed(world.fake.all_of("payment_intent")[0]["id"])
    world.later()
    assert (world.setting.state, world.available, world.charges) == (State.ARMED, 1010, 1)


def test_a_pack_that_has_become_a_subscription_disarms(world: World) -> None:
    monthly = PACKS.packs["large"].model_copy(update={"every": "month"})
    packs = Packs(packs={"large": monthly})
    other = replace(world.topups, payments=replace(world.topups.payments, packs=packs))
    world.spend(90, "a")
    world.sweep(other)
    assert (world.setting.state, world.charges) == (State.FAILED, 0)


def test_the_event_of_a_payment_may_be_faster(world: World) -> None:
    world.fake.payment_status = "processing"
    world.spend(90, "a")
    world.sweep()
    event = signed(world.fake.succeed(world.fake.all_of("payment_intent")[0]["id"]))
    for _ in range(2):
        world.topups.payments.hear(*event)
    assert world.available == 1010
    world.later()
    assert (world.setting.state, world.available, world.charges) == (State.ARMED, 1010, 1)


def test_a_payment_that_needs_its_customer_disarms(world: World) -> None:
    world.fake.payment_status = "requires_action"
    world.spend(90, "a")
    world.sweep()
    assert world.setting.problem == "the payment is requires_action"


def test_what_was_turned_off_buys_nothing(world: World) -> None:
    world.topups.turn_off(world.account.id)
    world.spend(90, "a")
    world.later()
    assert (world.setting.state, world.charges) == (State.OFF, 0)


def test_turning_it_off_and_on_while_it_charges_charges_once(world: World) -> None:
    world.fake.payment_status = "processing"
    world.spend(90, "a")
    world.sweep()
    world.topups.turn_off(world.account.id)
    world.topups.set_up(world.account.id, threshold=THRESHOLD, pack_id="large")
    world.fake.succeed(world.fake.all_of("payment_intent")[0]["id"])
    world.later()
    assert (world.available, world.charges) == (1010, 1)


def test_a_pack_that_is_not_sold_any_more_disarms(world: World) -> None:
    only = Packs(packs={"tiny": PACKS.packs["tiny"]})
    other = replace(world.topups, payments=replace(world.topups.payments, packs=only))
    world.spend(90, "a")
    world.sweep(other)
    assert (world.setting.state, world.charges) == (State.FAILED, 0)


def test_it_needs_a_pack_and_a_card(bare: World) -> None:
    with pytest.raises(PackUnknown):
        bare.topups.set_up(bare.account.id, threshold=1, pack_id="free")
    with pytest.raises(CardMissing):
        bare.topups.set_up(bare.account.id, threshold=1, pack_id="large")
    assert find_setting(bare.kv, bare.account.id) is None


def test_turning_off_what_was_never_on_is_quiet(bare: World) -> None:
    bare.topups.turn_off(bare.account.id)
    assert find_setting(bare.kv, bare.account.id) is None
