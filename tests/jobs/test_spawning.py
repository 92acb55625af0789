"""Hints by calls to elsewhere: never waited for, never raised, and no failure goes unsaid."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from jobs.dispatch import MAX_HINTS
from jobs.spawning import SPAWN_THREADS, JobHint, SpawnDispatcher
from storage.kv import Key
from tests.jobs.machine import PATIENCE_S

JOB = UUID(int=7)
KEY = Key(f"outbox#{JOB}", "completed")
MODEL = "topaz-image-upscale"


class Throttled(Exception):
    """Stands for what passes."""


class Platform:
    """Notes what it is called with; it waits at `gate` while that is shut, then fails if told."""

    def __init__(self) -> None:
        self.jobs: list[JobHint] = []
        self.deliveries: list[Key] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def spawn_job(self, hint: JobHint) -> None:
        self._called(lambda: self.jobs.append(hint))

    def spawn_delivery(self, key: Key) -> None:
        self._called(lambda: self.deliveries.append(key))

    def _called(self, note: Callable[[], None]) -> None:
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        note()


@pytest.fixture
def platform() -> Platform:
    return Platform()


@contextmanager
def hinting(platform: Platform) -> Iterator[SpawnDispatcher]:
    dispatcher = SpawnDispatcher(
        spawn_job=platform.spawn_job,
        spawn_delivery=platform.spawn_delivery,
        temporary=(Throttled, TimeoutError),
    )
    try:
        yield dispatcher
    finally:
        platform.gate.set()
        dispatcher.stop(within_s=PATIENCE_S)


def test_a_job_goes_out_with_its_model_and_a_delivery_with_its_key(platform: Platform) -> None:
    with hinting(platform) as dispatcher:
        dispatcher.job(JOB, model=MODEL)
        dispatcher.delivery(KEY)
        assert dispatcher.settle(within_s=PATIENCE_S)
    assert (platform.jobs, platform.deliveries) == ([JobHint(JOB, MODEL)], [KEY])


def test_a_platform_that_hangs_keeps_nobody_waiting(platform: Platform) -> None:
    platform.gate.clear()
    with hinting(platform) as dispatcher:
        for number in range(SPAWN_THREADS + MAX_HINTS + 50):
            dispatcher.job(UUID(int=number), model=MODEL)
            dispatcher.delivery(Key("outbox", str(number)))
        assert not dispatcher.settle(within_s=0)
        platform.gate.set()
        assert dispatcher.settle(within_s=PATIENCE_S)
    # What went beyond the bound was dropped: between one bound and that with every thread busy.
    assert MAX_HINTS <= len(platform.jobs) <= MAX_HINTS + SPAWN_THREADS
    assert MAX_HINTS <= len(platform.deliveries) <= MAX_HINTS + SPAWN_THREADS


def test_deliveries_are_hinted_at_while_jobs_hang(platform: Platform) -> None:
    platform.gate.clear()
    with hinting(platform) as dispatcher:
        for number in range(SPAWN_THREADS):
            dispatcher.job(UUID(int=number), model=MODEL)
        dispatcher.delivery(KEY)
        for _ in range(SPAWN_THREADS + 1):
            assert platform.entered.acquire(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    "error",
    [Throttled("slow down"), TimeoutError("too late"), Exception("the queue seems to be full")],
    ids=repr,
)
def test_what_passes_is_a_warning_with_the_job_and_the_kind(
    platform: Platform, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    platform.error = error
    with hinting(platform) as dispatcher:
        dispatcher.job(JOB, model=MODEL)
        assert dispatcher.settle(within_s=PATIENCE_S)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert record.getMessage() == (
        f"job {JOB}: the hint failed and is left to the sweeper: {type(error).__name__}: {error}"
    )


@pytest.mark.parametrize(
    "error", [LookupError("no such function"), KeyError("model"), OSError("a defect")], ids=repr
)
def test_a_defect_is_an_error_with_its_traceback(
    platform: Platform, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    platform.error = error
    with hinting(platform) as dispatcher:
        dispatcher.job(JOB, model=MODEL)
        assert dispatcher.settle(within_s=PATIENCE_S)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert str(JOB) in record.getMessage()


def test_a_delivery_that_cannot_be_hinted_at_is_named(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.error = Throttled("slow down")
    with hinting(platform) as dispatcher:
        dispatcher.delivery(KEY)
        assert dispatcher.settle(within_s=PATIENCE_S)
    assert str(JOB) in caplog.text
    assert "Throttled" in caplog.text


def test_hints_go_on_after_a_failure(platform: Platform) -> None:
    platform.error = Throttled("slow down")
    with hinting(platform) as dispatcher:
        dispatcher.job(JOB, model=MODEL)
        assert dispatcher.settle(within_s=PATIENCE_S)
        platform.error = None
        dispatcher.job(JOB, model=MODEL)
        assert dispatcher.settle(within_s=PATIENCE_S)
    assert platform.jobs == [JobHint(JOB, MODEL)]
