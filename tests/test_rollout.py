"""A roll-out: two releases share a store. Today's code is the old one here, and the test the new:
what that wrote is kept by whatever rewrites it, or left alone if its schema is not known.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from pydantic import BaseModel

import billing
import jobs
from billing.accounts import Account, account_key, find_account
from billing.administration import create_key, grant_credits, set_key_state, set_plan
from billing.autotopup import LOOKS, AutoTopUp, AutoTopUps
from billing.keys import ApiKey, Caller, KeyState
from billing.ledger import Entry
from billing.members import Member, Role, member_key
from billing.packs import Pack
from billing.payments import Payments
from billing.plans import SELF_HOSTED
from billing.promotions import Promotion, promoted, promotions_of
from billing.purchases import Disputed, Paid, Purchase, Refunded, first_puts, note_fact, ordered
from billing.quota import count_request
from billing.stripe_client import Stripe
from billing.subscriptions import Heard, Subscription, note_heard, subscribed
from billing.subscriptions import first_puts as first_puts_of_subscription
from billing.team import Team
from billing.verification import verify
from handlers.errors import refusal_of
from inference.params import CreativeParams, FaceParams
from jobs.audit import AUDIT_KEY, Audited
from jobs.breaker import FAILURES, Breaker
from jobs.job import Failure, Job, Result, Status
from jobs.records import find_job
from jobs.submission import RequestName
from jobs.uploads import Upload
from jobs.webhooks import Delivery, delivery_key
from storage.kv import Change, Due, Key, Put
from storage.record import Record, RecordTooNew
from tests.jobs.machine import PICTURE, QUALITY, Machine, machine_in, told_at
from tests.running import Origin
from tests.watched import WatchedStore

PACK = Pack(name="A thousand", credits=1000, amount_minor=900, currency="eur")
NEWS = {"a_field_of_a_newer_release": {"colour": "green"}}
RESULT = Result(
    object_name="results/1.png",
    format="png",
    width_px=32,
    height_px=24,
    size_bytes=19,
    network="double",
    quality=QUALITY,
)

NEVER_REWRITTEN = {
    "accounts": "the list of accounts: nothing",
    "keys#": "an account's list of keys: the digest that each is kept under",
    "job#": "whose job it is",
    "requests#": "the job that an Idempotency-Key made, and the fingerprint of its body",
    "quota#": "a day's requests: nothing but a counter",
    "usage#": "a day's jobs of a key: nothing but counters",
    "purchases#": "an account's list of purchases: their ids",
    "subscriptions#": "an account's list of subscriptions: their ids",
    "payment#": "the purchase that a payment of Stripe's was made for",
    "member_count#": "how many members an account has added: nothing but a counter",
    "key_count#": "how many keys an account has made: nothing but a counter",
    "key_use#": "a day on which a key was used: nothing",
    "metrics": "a share of all totals: nothing but counters",
}
"""What is kept beside records, by the beginning of its partition: plain values, written once and
read name by name. A further name in them does nobody harm; none may change its meaning."""


class World(NamedTuple):
    """A machine with one customer, and a receiver of webhooks."""

    machine: Machine
    caller: Caller
    origin: Origin

    def order(self) -> Job:
        self.machine.clock.advance(seconds=1)
        request = RequestName(f"POST /v2/images/upscale#{self.machine.clock()}", "fingerprint")
        hook = told_at(f"{self.origin.url}/hook")
        return self.machine.submit(self.caller, webhook=hook, request=request)

    def end(self, job: Job, outcome: Result | Failure) -> None:
        taken = self.take(job)
        self.machine.services.endings.end(self.machine.leases.current(taken), outcome)

    def take(self, job: Job) -> Job:
        kept = find_job(self.machine.kv, job.id)
        taken = None if kept is None else self.machine.leases.take(kept)
        assert taken is not None
        return taken

    def value(self, key: Key) -> dict[str, Any]:
        item = self.machine.kv.get(key)
        assert item is not None
        return dict(item.value)

    def rewrite(self, key: Key, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """What the newer release does: read the item, and write it otherwise."""
        item = self.machine.kv.get(key)
        assert item is not None
        self.machine.kv.commit(
            Put(
                key,
                change(dict(item.value)),
                replaces=item.version,
                due=item.due,
                expires_at_ms=item.expires_at_ms,
            )
        )


class RecordedStore(WatchedStore):
    """A store that remembers what was written to it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.kv)
        self.written: list[Change] = []

    def commit(self, *changes: Change) -> None:
        super().commit(*changes)
        self.written += changes


class Life(NamedTuple):
    """How a record comes to be, and what today's code then does with it, step by step."""

    kind: type[Record]
    begins: Callable[[World], Key]
    goes_on: Callable[[World, Key], None]


def job_key(job: Job) -> Key:
    return Key(f"jobs#{job.account_id}", str(job.id))


def the_job(world: World, key: Key) -> Job:
    return Job.model_validate(world.value(key))


def a_waiting_job(world: World) -> Key:
    key = job_key(world.order())

    def with_every_part(value: dict[str, Any]) -> dict[str, Any]:
        faces = FaceParams(strength=1, creativity=0).model_dump()
        creative = CreativeParams(
            prompt="", negative_prompt="", creativity=0.3, resemblance=1, dynamic=6, steps=18,
            sharpen=0, seed=1,
        ).model_dump()  # fmt: skip
        return value | {"params": value["params"] | {"faces": faces, "creative": creative}}

    world.rewrite(key, with_every_part)
    return key


def is_worked_on(world: World, key: Key) -> None:
    taken = world.take(the_job(world, key))
    world.machine.leases.renew(taken, 40, 100)
    world.machine.leases.give_back(taken)
    world.machine.services.endings.end(world.machine.leases.current(taken), RESULT)
    assert the_job(world, key).status is Status.COMPLETED


def an_ended_job(outcome: Result | Failure) -> Callable[[World], Key]:
    def ended(world: World) -> Key:
        job = world.order()
        world.end(job, outcome)
        return job_key(job)

    return ended


def is_told_and_tidied(world: World, key: Key) -> None:
    for event in ("completed", "failed"):
        world.machine.courier.deliver(delivery_key(the_job(world, key).id, event))
    kept = find_job(world.machine.kv, the_job(world, key).id)
    assert kept is not None
    world.machine.retention.tidy(kept)
    assert the_job(world, key).webhook_status == "delivered"


def a_delivery(world: World) -> Key:
    job = world.order()
    world.end(job, RESULT)
    return delivery_key(job.id, "completed")


def is_delivered(world: World, key: Key) -> None:
    world.machine.courier.deliver(key)
    assert world.value(key)["state"] == "delivered"


def a_breaker(world: World) -> Key:
    is_away_again(world, Key("", ""))
    return Key(f"breaker#{world.caller.account_id}", "receiver.test:80")


def is_away_again(world: World, _key: Key) -> None:
    breakers = world.machine.courier.breakers
    account_id, now_ms = world.caller.account_id, world.machine.clock()
    for _ in range(FAILURES):
        breakers.note_absence(
            account_id, "receiver.test:80", begun_at_ms=now_ms, retry_after_s=None
        )


def a_reservation(world: World) -> Key:
    recorded = RecordedStore(world.machine)
    uploads = replace(world.machine, kv=recorded).services.uploads
    uploads.reserve(world.caller.account_id, content_type="image/png", size_bytes=len(PICTURE))
    (put,) = recorded.written
    return put.key


def is_filled(world: World, key: Key) -> None:
    name = key.partition.removeprefix("upload#")
    world.machine.services.uploads.fill(name, PICTURE, content_type="image/png")
    assert world.value(key)["is_filled"] is True


def is_paused(world: World, key: Key) -> None:
    account_id, key_id = world.caller.account_id, world.caller.key.id
    set_key_state(world.machine.kv, account_id, key_id=key_id, state=KeyState.INACTIVE)
    assert world.value(key)["state"] == "inactive"


def is_paused_and_joined(world: World, key: Key) -> None:
    is_paused(world, key)
    create_key(world.machine.kv, world.caller.account_id, name="second", now_ms=1)
    world.machine.services.key_use.note(world.caller.key.id)


def earns_and_spends(world: World, _: Key) -> None:
    grant_credits(world.machine.kv, world.caller.account_id, credits=5, now_ms=1)
    world.order()


def is_put_on_a_plan(world: World, key: Key) -> None:
    kv, account_id = world.machine.kv, world.caller.account_id
    set_plan(kv, account_id, plan="self-hosted", plans=SELF_HOSTED, max_in_flight=7)
    assert world.value(key)["max_in_flight"] == 7


def an_audit(world: World) -> Key:
    world.machine.services.audit.run()
    return AUDIT_KEY


def is_audited_again(world: World, key: Key) -> None:
    world.machine.clock.advance(seconds=1)
    world.machine.services.audit.run()
    assert world.value(key)["ended_at_ms"] == world.machine.clock()


def a_hold(world: World) -> Key:
    return Key(f"ledger#{world.caller.account_id}", f"hold:{world.order().id}")


def is_verified(world: World, _: Key) -> None:
    assert list(verify(world.machine.kv)) == []


def a_promotion(world: World) -> Key:
    promotion = Promotion(
        account_id=world.caller.account_id, cause=f"gift-{world.machine.clock()}", credits=5
    )
    world.machine.kv.commit(*promoted(promotion, now_ms=1))
    return promotion.key


def is_not_over(world: World, _: Key) -> None:
    (promotion,) = promotions_of(world.machine.kv, world.caller.account_id)
    assert promotion.credits == 5


def a_paid_purchase(world: World) -> Key:
    purchase_id = f"pur_{world.machine.clock()}"
    purchase = ordered(
        world.caller.account_id, "small", PACK, purchase_id=purchase_id, now_ms=1, is_automatic=True
    )
    world.machine.kv.commit(*first_puts(purchase))
    payment = f"pi_{purchase_id}"
    for fact in (Paid(900, "eur", None, payment), Disputed("du", "lost", 9, "eur", payment)):
        note_fact(world.machine.kv, purchase_id, fact, now_ms=2)
    return Key(f"purchase#{purchase_id}", "purchase")


def is_refunded(world: World, key: Key) -> None:
    purchase_id = key.partition.removeprefix("purchase#")
    fact = Refunded(500, "eur", f"pi_{purchase_id}")
    note_fact(world.machine.kv, purchase_id, fact, now_ms=3)
    assert world.value(key)["refunded_minor"] == 500


def a_subscription(world: World) -> Key:
    name = f"subs_{world.machine.clock()}"
    monthly = PACK.model_copy(update={"every": "month", "plan": "self-hosted"})
    account_id = world.caller.account_id
    made = subscribed(account_id, "monthly", monthly, subscription_id=name, now_ms=1)
    world.machine.kv.commit(*first_puts_of_subscription(made))
    return Key(f"subscription#{name}", "subscription")


def begins_and_ends(world: World, key: Key) -> None:
    name = key.partition.removeprefix("subscription#")
    for heard in (Heard("sub", has_begun=True), Heard("sub", has_ended=True)):
        note_heard(world.machine.kv, name, heard, plans=SELF_HOSTED)
    assert world.value(key)["has_ended"] is True


def an_auto_topup(world: World) -> Key:
    setting = AutoTopUp(account_id=world.caller.account_id, threshold=1, pack_id="small")
    key = Key(f"autotopup#{setting.account_id}", "autotopup")
    due = Due(LOOKS, world.machine.clock())
    world.machine.kv.commit(Put(key, setting.model_dump(), due=due))
    return key


def is_looked_at(world: World, key: Key) -> None:
    payments = Payments(
        world.machine.kv, Stripe("no key", webhook_secret=None), clock=world.machine.clock
    )
    item = world.machine.kv.get(key)
    assert item is not None
    AutoTopUps(world.machine.kv, payments, world.machine.clock).look(item)
    assert world.value(key)["state"] == "armed"


def a_member(world: World) -> Key:
    team = Team(world.machine.kv, world.caller.account_id)
    added = team.add("Bo", email="bo@example.org", role=Role.MEMBER, now_ms=1)
    return member_key(world.caller.account_id, added.id)


def is_on_the_way_out(world: World, key: Key) -> None:
    Team(world.machine.kv, world.caller.account_id).mark_leaving(key.sort)
    assert world.value(key)["state"] == "leaving"


LIVES: Mapping[str, Life] = {
    "a member": Life(Member, a_member, is_on_the_way_out),
    "a waiting job": Life(Job, a_waiting_job, is_worked_on),
    "a finished job": Life(Job, an_ended_job(RESULT), is_told_and_tidied),
    "a failed job": Life(Job, an_ended_job(Failure(code="X", message="No")), is_told_and_tidied),
    "a delivery": Life(Delivery, a_delivery, is_delivered),
    "a breaker": Life(Breaker, a_breaker, is_away_again),
    "an upload": Life(Upload, a_reservation, is_filled),
    "an account": Life(
        Account, lambda world: account_key(world.caller.account_id), earns_and_spends
    ),
    "an account with a plan": Life(
        Account, lambda world: account_key(world.caller.account_id), is_put_on_a_plan
    ),
    "a promotion": Life(Promotion, a_promotion, is_not_over),
    "a purchase": Life(Purchase, a_paid_purchase, is_refunded),
    "a subscription": Life(Subscription, a_subscription, begins_and_ends),
    "an automatic top-up": Life(AutoTopUp, an_auto_topup, is_looked_at),
    "an audit": Life(Audited, an_audit, is_audited_again),
    "an entry": Life(Entry, a_hold, is_verified),
    "a key": Life(
        ApiKey, lambda world: Key(f"key#{world.caller.key_sha256}", "key"), is_paused_and_joined
    ),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with machine_in(tmp_path) as machine, Origin({}).serving() as origin:
        yield World(machine, machine.customer(), origin)


def with_news(value: Any) -> Any:
    """The value with an unknown field in every object in it."""
    if isinstance(value, dict):
        return {name: with_news(each) for name, each in value.items()} | NEWS
    return [with_news(each) for each in value] if isinstance(value, list) else value


def places_of_news(value: Any, at: str = "") -> set[str]:
    """Where in the value the unknown field is."""
    if not isinstance(value, dict):
        return set()
    inner = [places_of_news(each, f"{at}.{name}") for name, each in value.items()]
    own = {at} if value.items() >= NEWS.items() else set()
    return own.union(*inner)


def kinds(base: type[Record] = Record) -> set[type[Record]]:
    """Every kind of record that the service has."""
    for package in (billing, jobs):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    ours = {cls for cls in base.__subclasses__() if not cls.__module__.startswith("tests.")}
    return ours.union(*(kinds(cls) for cls in ours))


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """Every model that a value of that type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = (field.annotation for field in annotation.model_fields.values())
        return {annotation}.union(*map(models_in, fields))
    return set[type[BaseModel]]().union(*map(models_in, get_args(annotation)))


def test_every_kind_of_record_is_looked_at() -> None:
    assert {life.kind for life in LIVES.values()} == kinds()


@pytest.mark.parametrize("kind", sorted(kinds(), key=str), ids=lambda kind: kind.__name__)
def test_a_record_and_all_that_is_within_it_keep_what_they_do_not_know(kind: type[Record]) -> None:
    assert {model.model_config.get("extra") for model in models_in(kind)} == {"allow"}


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_what_a_newer_release_added_outlives_what_this_one_does(world: World, life: Life) -> None:
    key = life.begins(world)
    world.rewrite(key, with_news)
    before = places_of_news(world.value(key))
    life.goes_on(world, key)
    assert before
    assert places_of_news(world.value(key)) >= before


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_record_of_a_newer_schema_is_refused_and_nothing_is_written(
    world: World, life: Life
) -> None:
    key = life.begins(world)
    world.rewrite(key, lambda value: value | {"schema_number": life.kind.SCHEMA + 1})
    recorded = RecordedStore(world.machine)
    with pytest.raises(RecordTooNew):
        life.goes_on(world._replace(machine=replace(world.machine, kv=recorded)), key)
    assert recorded.written == []


def test_a_sweep_leaves_records_of_a_newer_schema_alone(world: World) -> None:
    job = world.order()
    reservation = a_reservation(world)
    for key in (job_key(job), reservation):
        world.rewrite(key, lambda value: value | {"schema_number": 99})
    world.machine.clock.advance(seconds=7 * 24 * 3600)
    recorded = RecordedStore(world.machine)
    replace(world.machine, kv=recorded).sweep()
    assert recorded.written == []


def test_a_worker_whose_job_a_newer_release_took_over_writes_nothing_more(world: World) -> None:
    job = world.take(world.order())
    world.rewrite(job_key(job), lambda value: value | {"schema_number": 99})
    recorded = RecordedStore(world.machine)
    leases = replace(world.machine, kv=recorded).leases
    with pytest.raises(RecordTooNew):
        leases.renew(job, 40, 100)
    leases.give_back(job)
    assert recorded.written == []


def test_a_client_is_told_to_try_again_when_the_record_is_too_new() -> None:
    refusal = refusal_of(RecordTooNew(Job, 2))
    assert (refusal.apiframe, refusal.vicsee) == (503, 503)
    assert "being updated" in str(refusal.apiframe_message)
    assert refusal.vicsee_message == refusal.apiframe_message


def test_all_that_is_kept_is_a_record_or_is_never_rewritten(world: World) -> None:
    recorded = RecordedStore(world.machine)
    new = replace(world.machine, kv=recorded)
    world = World(new, new.customer(), world.origin)
    account, _ = find_account(recorded, world.caller.account_id)
    count_request(recorded, account, now_ms=new.clock())
    for life in LIVES.values():
        life.goes_on(world, life.begins(world))
    puts = [change for change in recorded.written if isinstance(change, Put)]
    plain = [put for put in puts if "schema_number" not in put.value]
    beginnings = {put.key.partition.partition("#")[0] for put in plain}
    assert beginnings == {beginning.removesuffix("#") for beginning in NEVER_REWRITTEN}
    assert [put.replaces for put in plain] == [None] * len(plain)
