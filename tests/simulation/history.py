"""One history: what a seed makes of the service, its users and its misfortunes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from traceback import format_exc
from uuid import UUID

from inference.errors import NotANumber
from storage.kv import Key
from tests.running import Hints
from tests.simulation.actors import REFUSALS, Actors
from tests.simulation.engine import Broken
from tests.simulation.faults import Dice
from tests.simulation.recovery import recovered
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.stage import Together
from tests.simulation.world import World

MAX_STEPS = 450
SANDBOXED = 0.2
"""How many of the customers also have a sandbox key."""

MAX_BROKEN = 20
"""As many breaches are reported of one history; the others would say the same."""

_LOGGED = (*REFUSALS, Broken, NotANumber)


def broken_by(seed: int, *, tell: Callable[[str], None] = lambda _: None) -> list[str]:
    """What the history of a seed has broken; nothing, if all is well. `tell` hears of each call."""
    random = Random(seed)
    world = World(random)
    with defects() as broken:
        try:
            _History(world, tell).run()
            tell(f"{world.clock()}: the faults end")
            broken += islice(recovered(world), MAX_BROKEN)
        except Exception:  # a defect, of the service or of ours, and this seed shows it
            broken.append(format_exc())
    return broken


class _History:
    """The troubled part of a history."""

    def __init__(self, world: World, tell: Callable[[str], None]) -> None:
        random = self._random = world.random
        self._world = world
        self._scheduler = Scheduler(
            random,
            world.clock,
            max_steps=random.randint(MAX_STEPS // 3, MAX_STEPS),
            switching=random.choice((0.05, 0.3, 1.0)),
            stalling=random.choice((0.0, 0.01, 0.05)),
            latency_ms=random.choice((0, 5, 200)),
        )
        stage = Together(
            clock=world.clock,
            random=random,
            scheduler=self._scheduler,
            dice=Dice(random),
            jumping=random.choice((0.0, 0.002, 0.02)),
            lagging=random.choice((0.0, 0.0, 0.3)),
            tell=lambda words: tell(f"{world.clock()} {words}"),
        )
        loss = random.choice((0.0, 0.1, 0.9))
        hints = LossyHints(world.hints, self._scheduler, random, loss=loss)
        self._actors = Actors(world, stage, random, hints)

    def run(self) -> None:
        """Cast the actors and let them act until the steps are used up."""
        random, actors = self._random, self._actors
        for number in range(random.randint(1, 2)):
            caller = self._world.customer(
                number, credits=random.choice((20, 60)), max_in_flight=random.choice((2, 10))
            )
            name = f"customer {number}"
            self._cast(f"{name} orders", actors.client(caller, orders=2, request=None))
            for twin in range(random.randint(0, 2)):
                act = actors.client(caller, orders=2, request="same")
                self._cast(f"{name}, twin {twin}", act)
            self._cast(f"{name} is fickle", partial(actors.fickle, caller))
            if random.random() < SANDBOXED:
                there = self._world.sandboxed(caller, number)
                act = actors.client(there, orders=2, request=None)
                self._cast(f"{name} in the sandbox", act)
                self._cast(f"{name} is fickle there", partial(actors.fickle, there))
            self._cast("operator", partial(actors.operator, caller, cause=f"cause-{number}"))
        for number in range(2):
            self._cast(f"worker {number}", actors.worker)
            self._cast(f"sweeper {number}", actors.sweeper)
            self._cast(f"courier {number}", actors.courier)
        self._scheduler.run()

    def _cast(self, name: str, act: Callable[[], None]) -> None:
        """Start an actor in a process of its own, and another in its place when it has died."""
        process = Process()

        def live() -> None:
            try:
                act()
            finally:
                if process.is_dead and not self._scheduler.is_over:
                    self._cast(name, act)

        self._scheduler.start(name, process, live)


@dataclass
class LossyHints:
    """A dispatcher that loses some of what it is told, and wakes who may follow the rest."""

    hints: Hints
    scheduler: Scheduler
    random: Random
    loss: float

    def job(self, job_id: UUID, *, model: str) -> None:
        if self.random.random() >= self.loss:
            self.hints.job(job_id, model=model)
            self.scheduler.rouse()

    def delivery(self, key: Key) -> None:
        if self.random.random() >= self.loss:
            self.hints.delivery(key)
            self.scheduler.rouse()


class _Listener(logging.Handler):
    """Hears of errors that the service has caught and that nobody reckoned with."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.defects: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, _LOGGED):
            self.defects.append(f"{record.getMessage()}: {error!r}")


@contextmanager
def defects() -> Iterator[list[str]]:
    """Collect defects that are logged in the block; nothing of it goes further."""
    logger, listener = logging.getLogger("jobs"), _Listener()
    before = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield listener.defects
    finally:
        logger.removeHandler(listener)
        logger.level, logger.propagate = before
