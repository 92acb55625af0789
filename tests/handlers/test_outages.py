"""When a store is down or something breaks: an answer in shape, and nothing charged."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.kv import Unavailable
from storage.objects import ObjectsError
from tests.handlers.clients import TOPAZ, Apiframe, Client, VicSee, topaz_body
from tests.handlers.failing import Failing, FailingObjects
from tests.handlers.working import complete
from tests.running import Clock, Origin, Running, made, picture, running

CUSTOMERS = pytest.mark.parametrize("speaks", [Apiframe, VicSee])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service keeps everything."""
    return tmp_path_factory.mktemp("failing")


@pytest.fixture(scope="module")
def kv(folder: Path, clock: Clock) -> Failing:
    """The service's key-value store."""
    return Failing(folder / "store.sqlite", clock=clock)


@pytest.fixture(scope="module")
def objects(folder: Path) -> FailingObjects:
    """The service's object store."""
    return FailingObjects(made(folder / "objects"))


@pytest.fixture(scope="module")
def service(folder: Path, kv: Failing, objects: FailingObjects, clock: Clock) -> Iterator[Running]:
    """A service whose stores can be made to fail."""
    models = frozenset({TOPAZ})
    with running(folder, kv=kv, objects=objects, clock=clock, models=models) as service:
        yield service


@pytest.fixture(autouse=True)
def repaired(kv: Failing, objects: FailingObjects) -> Iterator[None]:
    """Both stores work again after a test."""
    yield
    kv.reading = kv.writing = objects.failure = None


@CUSTOMERS
@pytest.mark.parametrize("where", ["reading", "writing", "files"])
def test_a_store_that_is_down_is_a_503_and_costs_nothing(
    service: Running,
    kv: Failing,
    objects: FailingObjects,
    origin: Origin,
    speaks: type[Client],
    where: str,
) -> None:
    customer = speaks(service, service.account())
    before = customer.left()
    if where == "files":
        objects.failure = ObjectsError("the disk is full")
    else:
        setattr(kv, where, Unavailable("no connection"))
    answer = _submit(customer, f"{origin.url}/photo.png")
    kv.reading = kv.writing = objects.failure = None
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "no connection" not in answer.text
    assert "disk" not in answer.text
    _assert_shape(answer, speaks, "SERVICE_UNAVAILABLE")
    assert customer.left() == before
    assert _submit(customer, f"{origin.url}/photo.png").status_code in (200, 202)


@CUSTOMERS
def test_a_submission_of_unknown_fate_is_not_said_to_have_cost_nothing(
    service: Running, kv: Failing, origin: Origin, speaks: type[Client]
) -> None:
    customer = speaks(service, service.account())
    before = customer.left()
    kv.is_lost_after_the_next_job = True
    answer = _submit(customer, f"{origin.url}/photo.png")
    kv.reading = None
    assert answer.status_code == 503
    assert "may have been accepted" in answer.text
    _assert_shape(answer, speaks, "SERVICE_UNAVAILABLE")
    assert customer.left().balance.held > before.balance.held


def test_a_tasks_balance_is_not_read_after_it_was_charged(
    service: Running, kv: Failing, origin: Origin
) -> None:
    customer = VicSee(service, service.account())
    kv.is_down_after_the_next_job = True
    answer = _submit(customer, f"{origin.url}/photo.png")
    kv.reading = None
    assert answer.status_code == 200
    assert answer.json()["data"]["creditsRemaining"] == customer.left().balance.available == 980


@CUSTOMERS
@pytest.mark.parametrize(
    ("failure", "status"), [(Unavailable("no connection"), 503), (RuntimeError("a secret"), 500)]
)
def test_an_answer_that_is_our_fault_is_logged_with_its_id(
    service: Running,
    kv: Failing,
    origin: Origin,
    caplog: pytest.LogCaptureFixture,
    speaks: type[Client],
    failure: Exception,
    status: int,
) -> None:
    customer = speaks(service, service.account())
    assert _submit(customer, "").status_code < 500  # which is not logged
    kv.writing = failure
    answer = _submit(customer, f"{origin.url}/photo.png")
    assert answer.status_code == status
    request_id = answer.headers["x-request-id"]
    path = answer.request.url.path
    assert _logged(caplog) == [f"POST {path}: {status}, request {request_id}"]


def test_a_logged_path_stays_in_its_line(
    service: Running, kv: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/v2/jobs/%1B%5B2J%0Dforged%20line"
    kv.reading = Unavailable("no connection")
    apiframe = Apiframe(service, service.account())
    answer = service.http.get(path, headers=apiframe.headers)
    request_id = answer.headers["x-request-id"]
    assert _logged(caplog) == [f"GET {path}: 503, request {request_id}"]


@CUSTOMERS
def test_a_defect_is_told_in_shape_and_without_detail(
    service: Running, kv: Failing, origin: Origin, speaks: type[Client]
) -> None:
    customer = speaks(service, service.account())
    before = customer.left()
    kv.writing = RuntimeError("a secret of ours")
    answer = _submit(customer, f"{origin.url}/photo.png")
    kv.writing = None
    assert answer.status_code == 500
    assert "x-request-id" in answer.headers
    assert "secret" not in answer.text
    _assert_shape(answer, speaks, "INTERNAL_ERROR")
    assert customer.left() == before


def test_uploads_and_files_are_refused_in_shape_too(
    service: Running, objects: FailingObjects, origin: Origin
) -> None:
    apiframe = Apiframe(service, service.account())
    job_id = apiframe.submitted(f"{origin.url}/photo.png")
    complete(service, job_id)
    address = apiframe.get(f"/jobs/{job_id}").json()["result"]["images"][0]
    objects.failure = ObjectsError("the disk is full")
    for answer in (
        apiframe.post("/uploads", files={"file": picture()}),
        service.http.get(address),
    ):
        assert answer.status_code == 503
        _assert_shape(answer, Apiframe, "")
    objects.failure = RuntimeError("a secret of ours")
    answer = service.http.get(address)
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal server error"})
    assert "x-request-id" in answer.headers


def _submit(customer: Client, image: str) -> Any:
    # After a defect the server closes the connection, so none is kept.
    headers = {"Connection": "close"}
    if isinstance(customer, Apiframe):
        return customer.post("/images/upscale", json=topaz_body(image), headers=headers)
    return customer.post("/tools/upscale-image", json={"image_url": image}, headers=headers)


def _logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.name == "handlers.limits"]
    assert {record.levelno for record in records} <= {logging.ERROR}
    return [record.getMessage() for record in records]


def _assert_shape(answer: Any, speaks: type[Client], code: str) -> None:
    body = answer.json()
    if speaks is Apiframe:
        assert list(body) == ["error"]
    else:
        assert (body["success"], body["error"]["code"]) == (False, code)
        assert "X-RateLimit-Reset" in answer.headers
