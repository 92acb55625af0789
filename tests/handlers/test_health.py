"""`/healthz` and `/readyz`: who is asked, what is said of what is wrong, and for how long."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from handlers.app import create_app
from handlers.health import CACHED_MS, FAILING, OK, SILENT, Finding, Readiness
from jobs.services import Services
from storage.kv import Unavailable, Unsuitable
from storage.objects import ObjectsError, ObjectsUnsuitable
from tests.handlers.clients import TOPAZ
from tests.handlers.failing import Failing, FailingObjects
from tests.running import Clock, Running, made, running

ALL_WELL = {name: {"status": "ok"} for name in ("store", "objects", "weights")}
SECRET = "db.internal:5432"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("health")


@pytest.fixture(scope="module")
def kv(folder: Path, clock: Clock) -> Failing:
    return Failing(folder / "store.sqlite", clock=clock)


@pytest.fixture(scope="module")
def objects(folder: Path) -> FailingObjects:
    return FailingObjects(made(folder / "objects"))


@pytest.fixture(scope="module")
def service(folder: Path, kv: Failing, objects: FailingObjects, clock: Clock) -> Iterator[Running]:
    """A service whose stores can be made to fail."""
    models = frozenset({TOPAZ})
    with running(folder, kv=kv, objects=objects, clock=clock, models=models) as service:
        yield service


@pytest.fixture(autouse=True)
def repaired(kv: Failing, objects: FailingObjects, clock: Clock) -> Iterator[None]:
    """Both stores work again after a test, and what was found in it is forgotten."""
    yield
    kv.reading = objects.failure = None
    clock.now_ms += CACHED_MS


def readyz(service: Running) -> httpx2.Response:
    return service.http.get("/readyz")


def asked(services: Services) -> Any:
    """The answer of an app over those services."""
    return TestClient(create_app(services)).get("/readyz")


def test_a_process_that_serves_is_alive_whatever_is_down(service: Running, kv: Failing) -> None:
    kv.reading = Unavailable("down")
    answer = service.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_service_that_reaches_everything_is_ready(service: Running) -> None:
    answer = readyz(service)
    assert (answer.status_code, answer.json()) == (200, ALL_WELL)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Unavailable(f"no connection to {SECRET}"), "unreachable"),
        (Unsuitable(f"the table at {SECRET} is of another layout"), "unsuitable"),
        (RuntimeError(f"a defect at {SECRET}"), "failing"),
    ],
)
def test_a_store_that_fails_is_told_in_a_word_and_a_sentence(
    service: Running,
    kv: Failing,
    failure: Exception,
    status: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kv.reading = failure
    answer = readyz(service)
    body = answer.json()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert body["store"]["status"] == status
    assert body["store"]["message"]
    assert {name: body[name] for name in ("objects", "weights")} == {
        name: ALL_WELL[name] for name in ("objects", "weights")
    }
    assert SECRET not in answer.text
    assert SECRET in caplog.text


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (ObjectsError(f"no connection to {SECRET}"), "unreachable"),
        (ObjectsUnsuitable(f"the bucket at {SECRET} cannot be written"), "unsuitable"),
    ],
)
def test_objects_that_fail_are_told(
    service: Running, objects: FailingObjects, failure: Exception, status: str
) -> None:
    objects.failure = failure
    answer = readyz(service)
    assert (answer.status_code, answer.json()["objects"]["status"]) == (503, status)
    assert SECRET not in answer.text


def test_a_served_model_whose_files_are_gone_is_told(service: Running) -> None:
    services = replace(service.services, models=frozenset({TOPAZ, "clarity-upscale"}))
    answer = asked(services)
    assert answer.status_code == 503
    assert answer.json()["weights"]["status"] == "missing"


def test_a_folder_of_weights_that_is_none_is_told(service: Running, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file")
    answer = asked(replace(service.services, weights_folder=tmp_path / "weights"))
    assert answer.status_code == 503
    assert answer.json()["weights"]["status"] == "unreadable"
    assert str(tmp_path) not in answer.text


def test_who_dispatches_elsewhere_is_asked_too(service: Running) -> None:
    def refuse() -> None:
        raise ConnectionError(SECRET)

    well = asked(replace(service.services, check_dispatch=lambda: None))
    assert (well.status_code, well.json()) == (200, ALL_WELL | {"dispatch": {"status": "ok"}})
    ill = asked(replace(service.services, check_dispatch=refuse))
    assert (ill.status_code, ill.json()["dispatch"]["status"]) == (503, "failing")
    assert SECRET not in ill.text


def test_what_was_found_holds_for_a_few_seconds(
    service: Running, kv: Failing, clock: Clock
) -> None:
    assert readyz(service).status_code == 200
    kv.reading = Unavailable("down")
    clock.now_ms += CACHED_MS - 1
    assert readyz(service).status_code == 200
    clock.now_ms += 1
    assert readyz(service).status_code == 503
    kv.reading = None
    clock.now_ms += CACHED_MS
    assert readyz(service).status_code == 200


def test_a_clock_that_goes_back_does_not_keep_what_was_found(clock: Clock) -> None:
    calls: list[int] = []
    readiness = Readiness({"store": lambda: calls.append(1)}, clock=clock)
    readiness.findings()
    clock.now_ms -= 1
    readiness.findings()
    assert len(calls) == 2


class Hanging:
    """A check that hangs until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_asked = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.calls += 1
        self.is_asked.set()
        assert self.let_go.wait(PATIENCE_S)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.let_go.set()


def test_a_part_that_hangs_is_told_and_the_others_are_still_asked(
    hanging: Hanging, clock: Clock
) -> None:
    readiness = Readiness({"store": hanging, "objects": lambda: None}, clock=clock, bound_s=0.5)
    assert readiness.findings() == {"store": SILENT, "objects": OK}


def test_a_part_that_hangs_is_not_asked_again_beside_it(hanging: Hanging, clock: Clock) -> None:
    readiness = Readiness({"store": hanging}, clock=clock, bound_s=0.05)
    for _ in range(3):
        assert readiness.findings() == {"store": SILENT}
        clock.now_ms += CACHED_MS
    assert hanging.calls == 1
    hanging.let_go.set()
    assert Readiness({"store": hanging}, clock=clock).findings() == {"store": OK}


def test_parts_are_asked_side_by_side(clock: Clock) -> None:
    both = threading.Barrier(2, timeout=PATIENCE_S)
    readiness = Readiness({"store": both.wait, "objects": both.wait}, clock=clock)
    assert readiness.findings() == {"store": OK, "objects": OK}


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_who_comes_while_somebody_asks_gets_what_was_known(hanging: Hanging, clock: Clock) -> None:
    answers: list[object] = []
    checks: Iterator[Callable[[], object]] = iter([lambda: None, hanging])
    readiness = Readiness({"store": lambda: next(checks)()}, clock=clock)
    assert readiness.findings() == {"store": OK}
    clock.now_ms += CACHED_MS
    asking = in_thread(lambda: answers.append(readiness.findings()))
    assert hanging.is_asked.wait(PATIENCE_S)
    assert readiness.findings() == {"store": OK}
    assert answers == []
    hanging.let_go.set()
    asking.join()
    assert answers == [{"store": OK}]


def test_of_those_who_come_first_together_one_asks(hanging: Hanging, clock: Clock) -> None:
    answers: list[dict[str, Finding]] = []
    readiness = Readiness({"store": hanging}, clock=clock)
    threads = [in_thread(lambda: answers.append(dict(readiness.findings()))) for _ in range(4)]
    assert hanging.is_asked.wait(PATIENCE_S)
    hanging.let_go.set()
    for thread in threads:
        thread.join()
    assert answers == [{"store": OK}] * 4
    assert hanging.calls == 1


def test_a_defect_in_a_check_is_no_readiness(clock: Clock) -> None:
    def fail() -> None:
        raise ValueError

    assert Readiness({"store": fail}, clock=clock).findings() == {"store": FAILING}
