"""A ticker that ticks when a test says so, and a clock that it turns by hand."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from jobs.ticker import Stop

PATIENCE_S = 20.0


class HandTicker:
    """Whoever is to tick does so in `tick`, in the test's own thread."""

    def __init__(self) -> None:
        self._ticking: dict[str, Callable[[], bool]] = {}
        self._changed = threading.Condition()

    def __call__(self, tick: Callable[[], bool], *, every_s: float, name: str) -> Stop:
        assert every_s > 0
        with self._changed:
            self._ticking[name] = tick
            self._changed.notify_all()

        def stop(*, within_s: float | None = None) -> None:  # noqa: ARG001
            self._end(name)

        return stop

    def tick(self) -> None:
        """Have everybody tick once."""
        for name, tick in self._all():
            if not tick():
                self._end(name)

    def wait_for(self, name: str) -> None:
        """Return when somebody of that name is to tick."""
        with self._changed:
            assert self._changed.wait_for(lambda: name in self._ticking, PATIENCE_S)

    @property
    def names(self) -> set[str]:
        """Who is to tick."""
        return {name for name, _ in self._all()}

    def _all(self) -> list[tuple[str, Callable[[], bool]]]:
        with self._changed:
            return list(self._ticking.items())

    def _end(self, name: str) -> None:
        with self._changed:
            self._ticking.pop(name, None)


@dataclass
class Seconds:
    """A clock that never goes back, and that stands still until it is turned."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
