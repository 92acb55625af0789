"""The world of one history: its stores, clock, network and chance, and the service in it."""

import base64
import hashlib
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

from billing import keys, ledger
from billing.accounts import Account
from billing.keys import EVERY_SCOPE, SANDBOX_SCOPES, ApiKey, Caller, IssuedKey
from billing.pricing import Prices
from jobs.admission import Terms
from jobs.dispatch import Dispatcher
from jobs.links import Links
from jobs.metrics import SHARDS
from jobs.services import Services
from jobs.submission import Order, RequestName
from jobs.worker import Worker
from tests.jobs.machine import (
    PARAMS,
    PICTURE_URI,
    PRICE_CREDITS,
    PUBLIC_URL,
    EngineDouble,
    Machine,
)
from tests.running import DISPATCH_GRACE_MS, LEASE_MS, MAX_SOURCE_PIXELS, Clock, Hints
from tests.simulation.custody import Custody
from tests.simulation.engine import StagedEngine
from tests.simulation.memory import MemoryKeyValue, MemoryObjects
from tests.simulation.network import Network
from tests.simulation.stage import Stage
from tests.simulation.stores import StagedKeyValue, StagedObjects
from tests.simulation.witness import Witness

NAMED_PRICE_CREDITS = PRICE_CREDITS - 1
"""By their price the jobs of named orders are told from the others, even when they are deleted."""

_SECRET = "whsec_" + base64.b64encode(b"the webhook secret of an account").decode()


@dataclass
class World:
    """Everything that outlives a process. Chance is `random`'s alone."""

    random: Random
    clock: Clock = field(default_factory=Clock)
    hints: Hints = field(default_factory=Hints)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    witness: Witness = field(default_factory=Witness)
    custody: Custody = field(default_factory=Custody)

    def __post_init__(self) -> None:
        self.kv = MemoryKeyValue(clock=self.clock)
        self.network = Network(self.clock, self.random)

    def services(self, stage: Stage, *, dispatcher: Dispatcher | None = None) -> Services:
        """The service as a new process has it."""
        return Services(
            kv=StagedKeyValue(self.kv, stage, self.custody, self.clock),
            objects=StagedObjects(self.objects, stage),
            outbound=self.network.on(stage),
            dispatcher=dispatcher or self.hints,
            links=Links(PUBLIC_URL),
            clock=self.clock,
            prices=Prices(),
            models=frozenset({PARAMS.model}),
            max_source_pixels=MAX_SOURCE_PIXELS,
            dispatch_grace_ms=DISPATCH_GRACE_MS,
            lease_ms=LEASE_MS,
            new_job_id=self._new_job_id,
            new_seed=lambda: self.random.getrandbits(32),
            ticker=stage.tick,
            metrics_shard=lambda: self.random.randrange(SHARDS),
            seconds=lambda: self.clock.now_ms / 1000,
            share=self.random.random,
            pause=stage.wait,
        )

    def worker(self, stage: Stage, *, dispatcher: Dispatcher | None = None) -> Worker:
        """A worker in a process of its own."""
        services = self.services(stage, dispatcher=dispatcher)
        return services.worker(StagedEngine(stage, self.random))

    def machine(self) -> Machine:
        """The same stores, to be looked at with nobody between."""
        return Machine(self.kv, self.objects, self.clock, self.hints, EngineDouble())

    def customer(self, number: int, *, credits: int, max_in_flight: int) -> Caller:
        """A new account with a key."""
        now_ms = self.clock()
        account = Account(
            id=f"acc_{number:016x}",
            name="simulated",
            email="simulated@accounts.invalid",
            max_in_flight=max_in_flight,
            own_limits=("max_in_flight",),
            webhook_secret=_SECRET,
            created_at_ms=now_ms,
        )
        self.kv.commit(*ledger.opening(account, credits=credits, now_ms=now_ms))
        return self._key(account.id, number, is_sandbox=False)

    def sandboxed(self, caller: Caller, number: int) -> Caller:
        """The same account by a sandbox key."""
        return self._key(caller.account_id, number, is_sandbox=True)

    def _key(self, account_id: str, number: int, *, is_sandbox: bool) -> Caller:
        key = ApiKey(
            id=f"key_{number:015x}{is_sandbox:x}",
            account_id=account_id,
            name="simulated",
            prefix="afk_",
            created_at_ms=self.clock(),
            scopes=SANDBOX_SCOPES if is_sandbox else EVERY_SCOPE,
            is_sandbox=is_sandbox,
        )
        issued = IssuedKey(key.id, key)
        self.kv.commit(*issued.changes)
        sha256 = hashlib.sha256(issued.apiframe_spelling.encode()).hexdigest()
        return keys.read_again(self.kv, Caller(account_id, sha256, key, key_version=0))

    def order(self, caller: Caller, *, request: str | None = None, **said: Any) -> Order:
        """An order, named by an Idempotency-Key if that is given."""
        price_credits = PRICE_CREDITS if request is None else NAMED_PRICE_CREDITS
        usual: dict[str, Any] = {
            "caller": caller,
            "source_url": PICTURE_URI,
            "said": {"upscale_factor": 2},
            "terms": lambda _: Terms(PARAMS, price_credits),
            "request": None if request is None else RequestName(request, "fingerprint"),
        }
        return Order(**usual | said)

    def _new_job_id(self, now_ms: int) -> UUID:
        """A UUID version 7, as `jobs.ids.new_job_id` makes them."""
        bits = now_ms << 80 | 0x7 << 76 | self.random.getrandbits(12) << 64 | 0b10 << 62
        return UUID(int=bits | self.random.getrandbits(62))
