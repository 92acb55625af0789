"""Money under any sequence of operations: the real services, beside a model that only adds up.

Every operation that moves credits may come at any moment and repeatedly, in any order: orders,
successes, failures, cancellations, deadlines, grants, promotions and their expiry, payments,
refunds, disputes, changes of keys and caps, and jobs of the sandbox. After each the ledger
verifies, and the balance is the model's.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing import ledger
from billing.accounts import find_account
from billing.administration import create_key, grant_credits, grant_promotion
from billing.caps import Caps
from billing.errors import BillingError, TooManyInFlight
from billing.keyring import Keyring
from billing.keys import Caller, authenticate
from billing.ledger import EntryKind
from billing.packs import Pack
from billing.promotions import PROMOTIONS
from billing.purchases import (
    Disputed,
    Fact,
    Paid,
    Refunded,
    first_puts,
    note_fact,
    ordered,
)
from billing.usage import usage
from inference.errors import NotANumber
from jobs.admission import Terms
from jobs.job import Status
from jobs.lease import DEADLINE_MS, Report
from jobs.sandbox import HOST
from storage.contract.postgres_backend import PostgresBackend
from storage.folder import FolderObjects
from storage.kv import Key, KeyValue, Put
from storage.sqlite import SqliteKeyValue
from tests.jobs.machine import PARAMS, EngineDouble, Machine, sandboxed
from tests.running import Clock, Hints

OPENING_CREDITS = 40
MAX_IN_FLIGHT = 4
MAX_CALLERS = 4
STEPS = 50
DAY_S = 86_400
IN_MEMORY = Path("/dev/shm")
"""Where a file need not wait for a disk; what is tested here are sums, not crashes."""

PACKS = {
    "small": Pack(name="small", credits=30, amount_minor=700, currency="usd"),
    "large": Pack(name="large", credits=77, amount_minor=1_000, currency="usd"),
}
PURCHASES = ("p1", "p2", "p3")
DISPUTES = ("d1", "d2")
TAKEN_RANKS = {"needs_response": 1, "lost": 2, "won": 4}

prices = st.integers(1, 25)
caps = st.builds(
    Caps,
    job_credits=st.none() | st.integers(5, 25),
    day_credits=st.none() | st.integers(10, 60),
    day_jobs=st.none() | st.integers(1, 4),
    month_credits=st.none() | st.integers(20, 90),
)

NewStore = Callable[[Path, Clock], KeyValue]


class Money(RuleBasedStateMachine):
    """One account, its keys, jobs, promotions and purchases."""

    def __init__(self, new_store: NewStore) -> None:
        super().__init__()
        self.ends = ExitStack()
        in_memory = IN_MEMORY if IN_MEMORY.is_dir() else None
        folder = Path(self.ends.enter_context(TemporaryDirectory(dir=in_memory)))
        clock = Clock()
        kv = new_store(folder, clock)
        self.ends.callback(kv.close)
        self.machine = Machine(kv, FolderObjects(folder / "o"), clock, Hints(), EngineDouble())
        first = self.machine.customer(credits=OPENING_CREDITS, max_in_flight=MAX_IN_FLIGHT)
        self.account_id = first.account_id
        self.callers = [first]
        self.tests = sandboxed(self.machine, first)
        self.given = OPENING_CREDITS
        self.live: dict[UUID, int] = {}
        self.spent = 0
        self.taken: dict[str, tuple[int, int]] = {}
        self.facts: dict[str, list[Fact]] = {}
        self.bought: dict[str, Pack] = {}

    def teardown(self) -> None:
        self.ends.close()

    @property
    def kv(self) -> KeyValue:
        return self.machine.kv

    @rule(which=st.integers(0, 3), price=prices)
    def submit(self, which: int, price: int) -> None:
        """An order is taken exactly if credits, limits and caps allow it."""
        caller = self.callers[which % len(self.callers)]
        _, balance = find_account(self.kv, self.account_id)
        expected = (
            balance.available >= 0
            and balance.available + balance.promo >= price
            and len(self.live) < MAX_IN_FLIGHT
            and self._is_within_caps(caller, price)
        )
        try:
            job = self.machine.submit(caller, terms=lambda _: Terms(PARAMS, price))
        except BillingError:
            assert not expected
            return
        assert expected
        self.live[job.id] = price

    @rule(name=st.sampled_from(["success", "processing-failed", "source-missing"]))
    def rehearse(self, name: str) -> None:
        """An order in the sandbox is taken whatever the balance, and leaves it as it was."""
        before = find_account(self.kv, self.account_id)[1]
        try:
            job = self.machine.submit(self.tests, source_url=f"https://{HOST}/{name}.png")
        except TooManyInFlight:
            assert len(self.live) == MAX_IN_FLIGHT
            return
        self.machine.work(job.id)
        assert self.machine.job(job.id).status.is_terminal
        assert find_account(self.kv, self.account_id)[1] == before

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 3), fails=st.booleans(), twice=st.booleans())
    def work(self, which: int, *, fails: bool, twice: bool) -> None:
        """A job comes to its end; a second worker comes too late."""
        job_id = list(self.live)[which % len(self.live)]
        self.machine.engine.does = _break_down if fails else _succeed
        for _ in range(1 + twice):
            self.machine.work(job_id)
        self._over(job_id, Status.FAILED if fails else Status.COMPLETED)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 3), is_running=st.booleans(), twice=st.booleans())
    def cancel(self, which: int, *, is_running: bool, twice: bool) -> None:
        """A customer ends a job; the worker who may be at it comes too late."""
        job_id = list(self.live)[which % len(self.live)]

        def cancel(report: Report) -> None:
            report(1, 2)
            for _ in range(1 + twice):
                self.machine.services.cancellations.cancel(self.account_id, job_id)

        if is_running:
            self.machine.engine.does = cancel
            self.machine.work(job_id)
        else:
            cancel(lambda *_: None)
            self.machine.work(job_id)
        self._over(job_id, Status.CANCELLED)

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        """Time passes, and the sweep sees to what is over by then."""
        self.machine.clock.advance(seconds=hours * 3600)
        self.machine.sweep()
        for job_id in list(self.live):
            if self.machine.clock() >= self.machine.job(job_id).created_at_ms + DEADLINE_MS:
                self._over(job_id, Status.FAILED)
        assert self.kv.due(PROMOTIONS, until_ms=self.machine.clock(), limit=10) == []

    @rule(credits=st.integers(1, 30))
    def grant(self, credits: int) -> None:
        """An operator gives credits."""
        grant_credits(self.kv, self.account_id, credits=credits, now_ms=self.machine.clock())
        self.given += credits

    @rule(credits=st.integers(1, 30), hours=st.none() | st.integers(1, 60))
    def promote(self, credits: int, hours: int | None) -> None:
        """An operator gives promotional credits."""
        now_ms = self.machine.clock()
        until_ms = None if hours is None else now_ms + hours * 3_600_000
        grant_promotion(
            self.kv, self.account_id, credits=credits, expires_at_ms=until_ms, now_ms=now_ms
        )
        self.given += credits

    @rule(name=st.sampled_from(PURCHASES), pack=st.sampled_from(sorted(PACKS)))
    def order(self, name: str, pack: str) -> None:
        """A customer goes to the checkout."""
        if name in self.bought:
            return
        purchase = ordered(
            self.account_id,
            pack,
            PACKS[pack],
            purchase_id=name,
            now_ms=self.machine.clock(),
            is_automatic=False,
        )
        self.kv.commit(*first_puts(purchase))
        self.bought[name], self.facts[name] = PACKS[pack], []

    @precondition(lambda self: self.bought)
    @rule(which=st.integers(0, 2), data=st.data(), times=st.integers(1, 2))
    def hear(self, which: int, data: st.DataObject, times: int) -> None:
        """Stripe tells something of a payment, in no order and perhaps twice."""
        name = list(self.bought)[which % len(self.bought)]
        fact = data.draw(self._facts_of(name))
        for _ in range(times):
            note_fact(self.kv, name, fact, now_ms=self.machine.clock())
        self.facts[name].append(fact)

    @rule(which=st.integers(0, 3), caps=caps)
    def cap(self, which: int, caps: Caps) -> None:
        """A key's caps change, though its holder has been let in under the old ones."""
        caller = self.callers[which % len(self.callers)]
        key = Key(f"key#{caller.key_sha256}", "key")
        item = self.kv.get(key)
        assert item is not None
        value = {**item.value, "caps": caps.model_dump(mode="json")}
        self.kv.commit(Put(key, value, replaces=item.version))

    @rule(which=st.integers(0, 3))
    def rotate(self, which: int) -> None:
        """A key is replaced by a new one, with its caps and what it has spent of them."""
        old, now_ms = self.callers[which % len(self.callers)], self.machine.clock()
        replacement = Keyring(self.kv, self.account_id).rotate(
            old.key.id, now_ms=now_ms, grace_ms=0
        )
        with pytest.raises(BillingError):
            self.machine.submit(old)
        body = replacement.issued.body
        self.callers[which % len(self.callers)] = authenticate(self.kv, body, now_ms=now_ms)

    @precondition(lambda self: len(self.callers) < MAX_CALLERS)
    @rule()
    def further_key(self) -> None:
        """The account gets another key."""
        now_ms = self.machine.clock()
        issued = create_key(self.kv, self.account_id, name="new", now_ms=now_ms)
        self.callers.append(authenticate(self.kv, issued.body, now_ms=now_ms))

    @invariant()
    def nothing_contradicts_anything(self) -> None:
        assert self.machine.contradictions() == []

    @invariant()
    def the_balance_is_the_models(self) -> None:
        _, balance = find_account(self.kv, self.account_id)
        entries = [entry for _, entry in ledger.entries(self.kv, self.account_id)]
        expired = -sum(e.promo for e in entries if e.kind is EntryKind.EXPIRY)
        bought = sum(self._worth(name) for name in self.bought)
        assert balance.held == sum(self.live.values())
        assert balance.in_flight == len(self.live)
        assert balance.spent == self.spent
        total = balance.available + balance.promo + balance.held + balance.spent
        assert total == self.given + bought - expired
        assert min(balance.promo, balance.held, balance.spent, balance.in_flight) >= 0
        is_clawed = any(entry.kind is EntryKind.CLAWBACK for entry in entries)
        assert balance.available >= 0 or is_clawed

    @invariant()
    def usage_is_what_was_ordered(self) -> None:
        rows = list(usage(self.kv, self.account_id, first_day=0, last_day=99_999))
        jobs = self.machine.jobs(self.account_id)
        refunded = [job for job in jobs if job.status in (Status.FAILED, Status.CANCELLED)]
        assert sum(row.jobs for row in rows) == len(jobs)
        assert sum(row.credits for row in rows) == sum(job.price_credits for job in jobs)
        assert sum(row.refunded_jobs for row in rows) == len(refunded)
        assert sum(row.refunded_credits for row in rows) == sum(j.price_credits for j in refunded)

    @invariant()
    def the_statement_has_every_entry_that_moves_something(self) -> None:
        lines = ledger.statement(self.kv, self.account_id, before=None, limit=1000)
        assert sorted((line.name, line.entry.kind) for line in lines) == sorted(
            (name, entry.kind)
            for name, entry in ledger.entries(self.kv, self.account_id)
            if entry.credits or entry.promo or entry.held  # not so in the sandbox
        )

    def _over(self, job_id: UUID, status: Status) -> None:
        price = self.live.pop(job_id)
        self.spent += price if status is Status.COMPLETED else 0
        assert self.machine.job(job_id).status is status

    def _is_within_caps(self, caller: Caller, price: int) -> bool:
        """By the caps under which the caller was let in, and by those of now."""
        item = self.kv.get(Key(f"key#{caller.key_sha256}", "key"))
        assert item is not None
        now = Caps.model_validate(item.value["caps"])
        return all(self._allow(limits, caller, price) for limits in (caller.key.caps, now))

    def _allow(self, limits: Caps, caller: Caller, price: int) -> bool:
        if limits.job_credits is not None and price > limits.job_credits:
            return False
        day = self.machine.clock() // 1000 // DAY_S
        counted = [
            self.kv.get(Key(f"caps#{caller.key.capped_as or caller.key.id}", name))
            for name in (f"day#{day:06}", _month(day))
        ]
        in_day, in_month = (dict(item.counters) if item else {} for item in counted)
        return (
            in_day.get("credits", 0) + price <= _or_endless(limits.day_credits)
            and in_day.get("jobs", 0) + 1 <= _or_endless(limits.day_jobs)
            and in_month.get("credits", 0) + price <= _or_endless(limits.month_credits)
        )

    def _facts_of(self, name: str) -> st.SearchStrategy[Fact]:
        pack, payment = self.bought[name], f"pi_{name}"
        amounts = st.integers(1, pack.amount_minor)
        paid: st.SearchStrategy[Fact] = st.just(
            Paid(pack.amount_minor, pack.currency, f"cs_{name}", payment)
        )
        refunded = st.builds(Refunded, amounts, st.just(pack.currency), st.just(payment))
        disputed = st.builds(
            Disputed,
            st.sampled_from([f"{name}-{each}" for each in DISPUTES]),
            st.sampled_from(sorted(TAKEN_RANKS)),
            amounts,
            st.just(pack.currency),
            st.just(payment),
        )
        return st.one_of(paid, paid, refunded, disputed)

    def _worth(self, name: str) -> int:
        """The credits that a purchase stands for, from all that was heard of it."""
        pack, facts = self.bought[name], self.facts[name]
        if not any(isinstance(fact, Paid) for fact in facts):
            return 0
        gone = max((f.refunded_minor for f in facts if isinstance(f, Refunded)), default=0)
        for dispute_id in {f.dispute_id for f in facts if isinstance(f, Disputed)}:
            told = [f for f in facts if isinstance(f, Disputed) and f.dispute_id == dispute_id]
            rank, amount_minor = max((TAKEN_RANKS[f.status], f.amount_minor) for f in told)
            gone += amount_minor if rank < TAKEN_RANKS["won"] else 0
        return pack.credits * max(pack.amount_minor - gone, 0) // pack.amount_minor


def _or_endless(limit: int | None) -> int:
    return 10**9 if limit is None else limit


def _month(day: int) -> str:
    return f"month#{datetime.fromtimestamp(day * DAY_S, UTC):%Y-%m}"


def _succeed(report: Report) -> None:
    report(1, 1)


def _break_down(_: Report) -> None:
    raise NotANumber


def on_sqlite(folder: Path, clock: Clock) -> KeyValue:
    return SqliteKeyValue(folder / "store.sqlite", clock=clock)


@contextmanager
def on_postgres(url: str) -> Iterator[NewStore]:
    """Stores of their own in a real server, gone at the end."""
    with ExitStack() as ends:

        def new_store(_: Path, clock: Clock) -> KeyValue:
            backend = PostgresBackend.new(url)
            ends.callback(backend.discard)
            return backend.open(clock=clock)

        yield new_store


def explore(new_store: NewStore, *, histories: int) -> None:
    limits: dict[str, Any] = {
        "max_examples": histories,
        "stateful_step_count": STEPS,
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
        "phases": [Phase.generate, Phase.shrink],
    }
    run_state_machine_as_test(
        lambda: Money(new_store),  # type: ignore[arg-type]  # any callable will do
        settings=settings(**limits),
    )


def test_no_history_breaks_money_on_sqlite(pytestconfig: pytest.Config) -> None:
    explore(on_sqlite, histories=pytestconfig.getoption("--histories"))


def test_no_history_breaks_money_on_postgresql(
    pytestconfig: pytest.Config, postgres_url: str
) -> None:
    with on_postgres(postgres_url) as new_store:
        explore(new_store, histories=max(1, pytestconfig.getoption("--histories") // 10))
