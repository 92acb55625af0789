"""Faults: what may happen to a call of the store, the objects or the network."""

from collections.abc import Callable
from enum import Enum, auto
from random import Random
from typing import NamedTuple, TypeVar

from jobs.outbound import TimedOut, Unreachable
from storage.kv import Unavailable, Unknown
from storage.objects import ObjectsError
from tests.jobs.machine import Crash

T = TypeVar("T")


class Fault(Enum):
    """What happens to one call."""

    CRASH_BEFORE = auto()
    CRASH_AFTER = auto()
    REFUSED = auto()
    """It does not take place, and the caller is told so."""

    LOST = auto()
    """It takes place, but its answer does not arrive."""

    VANISHED = auto()
    """It does not take place, and nobody can tell."""

    RIVALLED = auto()
    """Just before it somebody else rewrites what it is about to replace, as it was."""


class Kind(NamedTuple):
    """A kind of call: what it raises if it is refused, and if nobody can tell."""

    name: str
    refused: Callable[[], Exception]
    unheard: Callable[[], Exception]


READ = Kind("read", Unavailable, Unavailable)
COMMIT = Kind("commit", Unavailable, Unknown)
OBJECTS = Kind("objects", ObjectsError, ObjectsError)
NETWORK = Kind("network", Unreachable, TimedOut)


class Call(NamedTuple):
    """A call that is about to be made; `words` tell it in a trace."""

    kind: Kind
    words: str
    rival: Callable[[], None] = lambda: None


def struck(fault: Fault | None, call: Call, make: Callable[[], T]) -> T:
    """Make the call under that fault."""
    match fault:
        case Fault.CRASH_BEFORE:
            raise Crash
        case Fault.REFUSED:
            raise call.kind.refused()
        case Fault.VANISHED:
            raise call.kind.unheard()
        case Fault.RIVALLED:
            call.rival()
    answer = make()
    match fault:
        case Fault.CRASH_AFTER:
            raise Crash
        case Fault.LOST:
            raise call.kind.unheard()
    return answer


class Dice:
    """Draws faults by a seed. Histories differ in what befalls them: some know no crash, others
    nothing else; some are calm, some are full of it.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rate = random.choice((0.0, 0.005, 0.02, 0.06))
        self._faults = [fault for fault in Fault if random.random() < 0.6] or list(Fault)

    def drawn(self) -> Fault | None:
        """What befalls the next call."""
        if self._random.random() >= self._rate:
            return None
        return self._random.choice(self._faults)
