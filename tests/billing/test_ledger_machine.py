"""The ledger under any sequence of movements, beside a model of four numbers and two sets."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from billing import ledger
from billing.accounts import Balance, find_account
from billing.administration import open_account
from billing.ledger import Split
from billing.verification import verify
from storage.kv import Change, Conflict
from storage.sqlite import SqliteKeyValue
from tests.running import Clock

Settle = Callable[..., tuple[Change, ...]]

OPENING_CREDITS = 60
MAX_IN_FLIGHT = 3

JOBS = st.sampled_from("abcdef")
CREDITS = st.integers(1, 30)
PRICES = st.integers(0, 30)
"""A sandbox job's is 0."""

SETTLEMENTS = st.sampled_from([ledger.capture, ledger.release])


class LedgerMachine(RuleBasedStateMachine):
    """Any movement of any job may be asked for at any time; the model says which are granted."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.clock = Clock()
        self.kv = SqliteKeyValue(Path(self.folder.name) / "store.sqlite", clock=self.clock)
        self.account = open_account(
            self.kv,
            "Ada",
            credits=OPENING_CREDITS,
            now_ms=self.clock(),
            max_in_flight=MAX_IN_FLIGHT,
        ).account
        self.available = OPENING_CREDITS
        self.spent = 0
        self.holds: dict[str, int] = {}
        self.ever_held: set[str] = set()
        self.causes: set[str] = set()

    def teardown(self) -> None:
        self.kv.close()
        self.folder.cleanup()

    @rule(cause=st.sampled_from("pqr"), credits=CREDITS)
    def grant(self, cause: str, credits: int) -> None:
        is_new = cause not in self.causes
        changes = ledger.grant(self.account.id, cause, credits=credits, now_ms=self.clock())
        assert self.is_done(changes) == is_new
        if is_new:
            self.causes.add(cause)
            self.available += credits

    @rule(job=JOBS, credits=PRICES)
    def hold(self, job: str, credits: int) -> None:
        is_covered = credits <= self.available and len(self.holds) < MAX_IN_FLIGHT
        is_legal = is_covered and job not in self.ever_held
        changes = ledger.hold(self.account, job, split=Split(0, credits), now_ms=self.clock())
        assert self.is_done(changes) == is_legal
        if is_legal:
            self.ever_held.add(job)
            self.holds[job] = credits
            self.available -= credits

    @rule(job=JOBS, settle=SETTLEMENTS)
    def settle(self, job: str, settle: Settle) -> None:
        """Settles a job for its price, whether it is on hold, settled already or unknown."""
        credits = self.holds.get(job, 1)
        changes = settle(self.account.id, job, split=Split(0, credits), now_ms=self.clock())
        assert self.is_done(changes) == (job in self.holds)
        if job in self.holds:
            del self.holds[job]
            self.spent += credits if settle is ledger.capture else 0
            self.available += credits if settle is ledger.release else 0

    @rule(job=JOBS, settle=SETTLEMENTS, credits=PRICES)
    def settle_wrongly(self, job: str, settle: Settle, credits: int) -> None:
        """Settles a job for what is not its price."""
        if self.holds.get(job) != credits:
            changes = settle(self.account.id, job, split=Split(0, credits), now_ms=self.clock())
            assert not self.is_done(changes)

    @invariant()
    def verification_is_silent(self) -> None:
        assert list(verify(self.kv)) == []

    @invariant()
    def balance_is_the_models_and_the_sum_of_the_entries(self) -> None:
        _, balance = find_account(self.kv, self.account.id)
        entries = [entry for _, entry in ledger.entries(self.kv, self.account.id)]
        assert balance == Balance(
            available=self.available,
            held=sum(self.holds.values()),
            spent=self.spent,
            in_flight=len(self.holds),
        )
        assert balance.available == sum(entry.credits for entry in entries) >= 0
        assert balance.held == sum(entry.held for entry in entries) >= 0

    def is_done(self, changes: tuple[Change, ...]) -> bool:
        try:
            self.kv.commit(*changes)
        except Conflict:
            return False
        return True


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
