"""Tickers: what is done again and again beside a piece of work, until the work is over."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol


class Stop(Protocol):
    """Ends the ticking that it was given for."""

    def __call__(self, *, within_s: float | None = None) -> None:
        """Tick no more, and wait for a tick that has begun, that long at most."""


class Ticker(Protocol):
    """Whoever ticks: a thread each, or a test that says itself when it is time."""

    def __call__(self, tick: Callable[[], bool], *, every_s: float, name: str) -> Stop:
        """Call `tick` every so many seconds, until it returns False or is stopped."""


def in_a_thread(tick: Callable[[], bool], *, every_s: float, name: str) -> Stop:
    """Tick in a thread of that name; what it logs is about the same job as the caller's lines."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(every_s) and tick():
            pass

    thread = threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True)
    thread.start()

    def stop(*, within_s: float | None = None) -> None:
        is_over.set()
        thread.join(within_s)

    return stop
