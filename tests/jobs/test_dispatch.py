"""Threads that handle hints: each waiting hint once, whatever a handler raises, within a bound."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jobs.dispatch import MAX_HINTS, HintThreads
from tests.jobs.machine import PATIENCE_S


class Handler:
    """Notes what it handles; it waits at `gate` while that is shut."""

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, what: int) -> None:
        self.handled.append(what)
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        if what < 0:
            raise RuntimeError(f"cannot handle {what}")

    def wait(self, count: int = 1) -> None:
        """Return when so many more hints have been taken up."""
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE_S)


@pytest.fixture
def handler() -> Handler:
    return Handler()


@contextmanager
def working(handle: Callable[[int], None], *, threads: int = 1) -> Iterator[HintThreads[int]]:
    hints: HintThreads[int] = HintThreads("test", handle, threads=threads)
    try:
        yield hints
    finally:
        hints.stop(within_s=PATIENCE_S)


def test_hints_are_handled_oldest_first(handler: Handler) -> None:
    with working(handler) as hints:
        for number in range(10):
            hints.hint(number)
        handler.wait(10)
    assert handler.handled == list(range(10))


def test_a_waiting_hint_is_handled_once(handler: Handler) -> None:
    handler.gate.clear()
    with working(handler) as hints:
        hints.hint(1)
        handler.wait()
        for _ in range(5):
            hints.hint(1)  # being handled
            hints.hint(2)  # waiting
        handler.gate.set()
        hints.hint(3)
        handler.wait(2)
    assert handler.handled == [1, 2, 3]


def test_a_hint_that_was_handled_may_come_again(handler: Handler) -> None:
    with working(handler) as hints:
        hints.hint(1)
        handler.wait()
        hints.hint(2)
        handler.wait()  # the only thread is done with 1
        hints.hint(1)
        handler.wait()
    assert handler.handled == [1, 2, 1]


def test_threads_handle_hints_side_by_side(handler: Handler) -> None:
    handler.gate.clear()
    with working(handler, threads=3) as hints:
        for number in range(4):
            hints.hint(number)
        handler.wait(3)
        assert sorted(handler.handled) == [0, 1, 2]
        handler.gate.set()
        handler.wait()


def test_what_a_handler_raises_is_logged_and_survived(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), working(handler) as hints:
        hints.hint(-1)
        hints.hint(2)
        handler.wait(2)
        hints.hint(-1)
        handler.wait()
    assert handler.handled == [-1, 2, -1]
    assert caplog.messages == ["handling -1 failed"] * 2
    assert "cannot handle -1" in caplog.text


def test_hints_beyond_the_bound_are_dropped(handler: Handler) -> None:
    handler.gate.clear()
    with working(handler) as hints:
        hints.hint(0)
        handler.wait()
        for number in range(1, MAX_HINTS + 50):
            hints.hint(number)
        handler.gate.set()
        handler.wait(MAX_HINTS)
        hints.hint(-1)
        handler.wait()
    assert handler.handled == [*range(MAX_HINTS + 1), -1]


def test_settling_waits_for_all_hints_and_no_longer_than_it_may(handler: Handler) -> None:
    handler.gate.clear()
    with working(handler) as hints:
        assert hints.settle(within_s=0)
        hints.hint(1)
        hints.hint(2)
        assert not hints.settle(within_s=0)
        handler.gate.set()
        assert hints.settle(within_s=PATIENCE_S)
    assert handler.handled == [1, 2]


def test_stopping_waits_for_the_current_hint_and_drops_the_others(handler: Handler) -> None:
    handler.gate.clear()
    hints: HintThreads[int] = HintThreads("test", handler, threads=1)
    hints.hint(1)
    hints.hint(2)
    handler.wait()
    hints.stop(within_s=0)
    hints.hint(3)
    handler.gate.set()
    hints.stop(within_s=PATIENCE_S)
    assert handler.handled == [1]


def test_stopping_ends_the_threads(handler: Handler) -> None:
    hints: HintThreads[int] = HintThreads("short-lived", handler, threads=3)

    def alive() -> list[str]:
        names = [thread.name for thread in threading.enumerate()]
        return sorted(name for name in names if name.startswith("short-lived"))

    assert alive() == ["short-lived-0", "short-lived-1", "short-lived-2"]
    hints.stop(within_s=PATIENCE_S)
    assert alive() == []
