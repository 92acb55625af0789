"""The scheduler: many actors, one at a time, in an order that a seed decides.

Every actor is a thread, but only the one with the baton runs. It may lose the baton wherever it
calls `pause`, `sleep` or `join`, and nowhere else; so the same seed gives the same history. Time is
virtual: a little passes at each pause, and when everybody sleeps the clock goes to whoever wakes
first. An actor belongs to a process. When a process dies, each of its actors ends where it stands:
the next call that it makes, or waits in, raises `Crash`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Lock, Thread

from tests.jobs.machine import Crash
from tests.running import Clock

MAX_ACTORS = 500
MAX_DOZE_S = 10
MAX_STALL_S = 20
NEVER_MS = 2**62
PATIENCE_S = 60.0


@dataclass(eq=False)
class Process:
    """What dies together."""

    is_dead: bool = False


@dataclass(eq=False)
class Actor:
    """One thread of a process; its baton is locked while it waits for its turn."""

    name: str
    process: Process
    baton: Lock = field(default_factory=Lock)
    ready_at_ms: int = 0
    joined_by: "Actor | None" = None
    is_dozing: bool = False
    is_over: bool = False


class Scheduler:
    """Runs actors to their ends, or for `max_steps` pauses; then it kills all that are left.

    At a pause the baton goes to somebody else with the probability `switching`, and up to
    `latency_ms` pass; with the probability `stalling` it takes the actor up to `MAX_STALL_S`.
    """

    def __init__(
        self,
        random: Random,
        clock: Clock,
        *,
        max_steps: int,
        switching: float,
        stalling: float,
        latency_ms: int,
    ) -> None:
        self._random = random
        self._clock = clock
        self._steps_left = max_steps
        self._switching = switching
        self._stalling = stalling
        self._latency_ms = latency_ms
        self._actors: list[Actor] = []
        self._threads: list[Thread] = []
        self._main = Actor("main", Process())
        self.running = self._main
        self.is_over = False
        self.defects: list[BaseException] = []

    def start(self, name: str, process: Process, run: Callable[[], None]) -> Actor:
        """A further actor; it begins when it is first given the baton."""
        assert len(self._threads) < MAX_ACTORS
        actor = Actor(name, process)
        actor.baton.acquire()
        thread = Thread(target=self._run, args=(actor, run), name=name, daemon=True)
        self._actors.append(actor)
        self._threads.append(thread)
        thread.start()
        return actor

    def run(self) -> None:
        """Let the actors act; raises the first defect of one of them."""
        self._main.baton.acquire()
        self._hand_over()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for defect in self.defects:
            raise defect

    def pause(self) -> None:
        """Let the scheduler decide who goes on; raises `Crash` if the process has died."""
        self._steps_left -= 1
        if self._steps_left < 0:
            self._kill_all()
        self._clock.now_ms += int(self._random.random() * self._latency_ms)
        if self._random.random() < self._stalling:
            self.sleep(self._random.random() * MAX_STALL_S)
        else:
            self._hand_over()

    def sleep(self, seconds: float) -> None:
        """Wait for the clock."""
        self.running.ready_at_ms = self._clock.now_ms + int(seconds * 1000)
        self._hand_over()

    def doze(self) -> None:
        """Wait for `rouse`, but not for ever."""
        me = self.running
        me.is_dozing = True
        self.sleep(MAX_DOZE_S)
        me.is_dozing = False

    def rouse(self) -> None:
        """Have whoever dozes go on."""
        for actor in self._actors:
            if actor.is_dozing:
                actor.ready_at_ms = 0

    def join(self, actor: Actor) -> None:
        """Wait for the end of an actor, who need not sleep any longer."""
        if not actor.is_over:
            actor.ready_at_ms = 0
            actor.joined_by = self.running
            self.running.ready_at_ms = NEVER_MS
        self._hand_over()

    def kill(self, process: Process) -> None:
        """End all actors of a process: each finds out when it is its turn, which may be now."""
        process.is_dead = True
        for actor in self._actors:
            if actor.process.is_dead:
                actor.ready_at_ms = 0

    def _run(self, actor: Actor, run: Callable[[], None]) -> None:
        actor.baton.acquire()
        try:
            if not actor.process.is_dead:
                run()
        except Crash:
            self.kill(actor.process)
        except BaseException as error:
            self.defects.append(error)
            self._kill_all()
        actor.is_over = True
        self._actors.remove(actor)
        if actor.joined_by is not None:
            actor.joined_by.ready_at_ms = 0
        self._hand_over()

    def _hand_over(self) -> None:
        """Give the baton to whoever is chosen, and come back when it is one's turn again."""
        me, chosen = self.running, self._chosen()
        if chosen is not me:
            self.running = chosen
            chosen.baton.release()
            if me.is_over:
                return
            me.baton.acquire()
        if me.process.is_dead:
            raise Crash

    def _chosen(self) -> Actor:
        if not self._actors:
            return self._main
        now_ms, me = self._clock.now_ms, self.running
        is_able = me.ready_at_ms <= now_ms and not me.is_over and me is not self._main
        if is_able and self._random.random() >= self._switching:
            return me
        ready = [actor for actor in self._actors if actor.ready_at_ms <= now_ms]
        if not ready:
            self._clock.now_ms = min(actor.ready_at_ms for actor in self._actors)
            return self._chosen()
        return ready[int(self._random.random() * len(ready))]

    def _kill_all(self) -> None:
        self.is_over = True
        for actor in self._actors:
            self.kill(actor.process)
