"""Stages: what goes on around the calls that the service makes.

Calm       nothing: every call is made, and time passes only for those who wait
Alone      one actor, one fault, at one of its calls
Together   many actors and many faults, by a seed
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeVar

from jobs.ticker import Stop
from tests.jobs.machine import Crash
from tests.running import Clock
from tests.simulation.faults import Call, Dice, Fault, struck
from tests.simulation.scheduler import Scheduler

T = TypeVar("T")

JUMPS_S = (1, 4, 31, 61, 400, 3_700, 20_000, 90_000)
MAX_JUMPED_S = 100_000
"""All jumps of a history together: less than an Idempotency-Key is kept."""


class Stage(Protocol):
    """Where the service acts."""

    def call(self, call: Call, make: Callable[[], T]) -> T:
        """Make a call, or not."""

    def wait(self, seconds: float) -> None:
        """Let time pass for whoever waits."""

    def tick(self, tick: Callable[[], bool], *, every_s: float, name: str) -> Stop:
        """A `Ticker`."""

    def is_behind(self) -> bool:
        """Whether the store's queues are as they were when they were last looked at."""


@dataclass
class Calm:
    """Nothing goes wrong, and nobody else acts; whoever ticks does so while the work waits."""

    clock: Clock
    ticking: dict[str, Callable[[], bool]] = field(default_factory=dict)

    def call(self, call: Call, make: Callable[[], T]) -> T:  # noqa: ARG002
        return make()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)
        for name, tick in list(self.ticking.items()):
            if not tick():
                self.ticking.pop(name, None)

    def tick(self, tick: Callable[[], bool], *, every_s: float, name: str) -> Stop:  # noqa: ARG002
        self.ticking[name] = tick

        def stop(*, within_s: float | None = None) -> None:  # noqa: ARG001
            self.ticking.pop(name, None)

        return stop

    def is_behind(self) -> bool:
        return False


@dataclass
class Alone(Calm):
    """`fault` befalls the call of that number, counted from 0; after a crash nothing works."""

    at: int = -1
    fault: Fault | None = None
    calls: list[Call] = field(default_factory=list)
    is_dead: bool = False

    def call(self, call: Call, make: Callable[[], T]) -> T:
        if self.is_dead:
            raise Crash
        number = len(self.calls)
        self.calls.append(call)
        try:
            return struck(self.fault if number == self.at else None, call, make)
        except Crash:
            self.is_dead = True
            raise


@dataclass
class Together:
    """The scheduler says who goes on at each call, the dice what befalls it.

    `jumping` and `lagging` are how often, of all calls, the clock jumps and a queue lags.
    """

    clock: Clock
    random: Random
    scheduler: Scheduler
    dice: Dice
    jumping: float
    lagging: float
    tell: Callable[[str], None]
    jumped_s: int = 0

    def call(self, call: Call, make: Callable[[], T]) -> T:
        self._jump()
        self.scheduler.pause()
        fault = self.dice.drawn()
        actor = self.scheduler.running
        self.tell(f"{actor.name}: {call.kind.name} {call.words} {fault.name if fault else ''}")
        try:
            return struck(fault, call, make)
        except Crash:
            self.scheduler.kill(actor.process)
            raise

    def wait(self, seconds: float) -> None:
        self.scheduler.sleep(seconds)

    def tick(self, tick: Callable[[], bool], *, every_s: float, name: str) -> Stop:
        is_over = False

        def run() -> None:
            while not is_over:
                self.scheduler.sleep(every_s)
                if is_over or not tick():
                    return

        def stop(*, within_s: float | None = None) -> None:  # noqa: ARG001
            nonlocal is_over
            is_over = True
            self.scheduler.join(actor)

        worker = self.scheduler.running
        actor = self.scheduler.start(f"{worker.name}'s {name[:5]}", worker.process, run)
        return stop

    def is_behind(self) -> bool:
        return self.random.random() < self.lagging

    def _jump(self) -> None:
        if self.random.random() >= self.jumping:
            return
        jump_s = self.random.choice(JUMPS_S)
        if self.jumped_s + jump_s <= MAX_JUMPED_S:
            self.jumped_s += jump_s
            self.clock.advance(seconds=jump_s)
            self.tell(f"the clock jumps {jump_s} s ahead")
