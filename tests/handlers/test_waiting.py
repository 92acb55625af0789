"""`Prefer: wait=N`: who is answered with the finished job, and who as ever."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from jobs.watcher import MAX_WAITS_EACH
from tests.handlers.clients import (
    TOPAZ,
    Apiframe,
    Client,
    VicSee,
    assert_refused,
    kept_job,
    topaz_body,
)
from tests.handlers.working import cancel, complete, fail, start
from tests.running import Clock, Hints, Running, running
from tests.serving import eventually
from tests.ticking import HandTicker, Seconds

WATCHER = "watcher"
UPSCALE = ("/images/upscale", "/tools/upscale-image", "/generate")


@pytest.fixture
def ticker() -> HandTicker:
    """Who looks at the jobs when a test says so."""
    return HandTicker()


@pytest.fixture
def seconds() -> Seconds:
    """The watcher's clock."""
    return Seconds()


@pytest.fixture
def hints() -> Hints:
    """Tells which jobs there are."""
    return Hints()


@pytest.fixture
def service(
    tmp_path_factory: pytest.TempPathFactory,
    clock: Clock,
    hints: Hints,
    ticker: HandTicker,
    seconds: Seconds,
) -> Iterator[Running]:
    """A service whose watcher looks when a test says so."""
    with running(
        tmp_path_factory.mktemp("service"),
        clock=clock,
        dispatcher=hints,
        models=frozenset({TOPAZ}),
        ticker=ticker,
        seconds=seconds,
    ) as service:
        yield service


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Clients that wait."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def submit(client: Client, photo: str, *, path: str = "", **headers: str) -> httpx2.Response:
    """Submit a picture by either dialect's body for that path."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(client, Apiframe):
        return client.post("/images/upscale", json=topaz_body(photo), headers=headers)
    body: dict[str, Any] = {"image_url": photo}
    if path == "/generate":
        body = {"model": TOPAZ, "input": body}
    return client.post(path or "/tools/upscale-image", json=body, headers=headers)


Submit = Callable[..., "Future[httpx2.Response]"]


@pytest.fixture
def waiting(pool: ThreadPoolExecutor, photo: str, ticker: HandTicker) -> Submit:
    """Submits with a wait, and returns once that has begun."""

    def begun(client: Client, **headers: str) -> "Future[httpx2.Response]":
        answer = pool.submit(submit, client, photo, **({"Prefer": "wait=60"} | headers))
        ticker.wait_for(WATCHER)
        return answer

    return begun


def test_a_job_that_ends_in_time_is_the_answer(
    apiframe: Apiframe, waiting: Submit, hints: Hints, ticker: HandTicker
) -> None:
    answer = waiting(apiframe, Prefer="wait=20")
    (job_id,) = hints.jobs
    complete(apiframe.service, job_id)
    ticker.tick()
    said = answer.result()
    assert (said.status_code, said.headers["preference-applied"]) == (200, "wait=20")
    assert "idempotent-replayed" not in said.headers
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert shown["status"] == "COMPLETED"
    assert said.json() == shown | {"jobId": str(job_id)}


@pytest.mark.parametrize(
    ("path", "more"), [("/tools/upscale-image", {"input"}), ("/generate", set())]
)
def test_a_task_that_ends_in_time_is_the_answer(
    vicsee: VicSee, waiting: Submit, hints: Hints, ticker: HandTicker, path: str, more: set[str]
) -> None:
    answer = waiting(vicsee, path=path)
    (job_id,) = hints.jobs
    complete(vicsee.service, job_id)
    ticker.tick()
    said = answer.result()
    assert (said.status_code, said.headers["preference-applied"]) == (200, "wait=60")
    data = said.json()["data"]
    shown = vicsee.get(f"/tasks/task_{job_id.hex}").json()["data"]
    assert shown["status"] == "completed"
    assert data == data | shown
    assert said.json()["success"] is True
    assert set(data) - set(shown) == {"creditsUsed", "creditsRemaining"} | more
    assert (data["creditsUsed"], data["creditsRemaining"]) == (20, 980)


def test_a_job_that_fails_in_time_is_the_answer_too(
    apiframe: Apiframe, waiting: Submit, hints: Hints, ticker: HandTicker
) -> None:
    answer = waiting(apiframe)
    fail(apiframe.service, hints.jobs[0])
    ticker.tick()
    said = answer.result()
    assert (said.status_code, said.json()["status"]) == (200, "FAILED")


def test_a_job_that_takes_longer_is_answered_as_ever(
    apiframe: Apiframe, waiting: Submit, hints: Hints, ticker: HandTicker, seconds: Seconds
) -> None:
    answer = waiting(apiframe, Prefer="wait=3")
    seconds.advance(2.9)
    ticker.tick()
    assert not answer.done()
    start(apiframe.service, hints.jobs[0])
    seconds.advance(0.1)
    ticker.tick()
    said = answer.result()
    assert (said.status_code, said.headers["preference-applied"]) == (202, "wait=3")
    assert said.json() == {"jobId": str(hints.jobs[0]), "status": "PROCESSING"}


def test_a_task_that_takes_longer_is_answered_as_ever(
    vicsee: VicSee, waiting: Submit, photo: str, ticker: HandTicker, seconds: Seconds
) -> None:
    answer = waiting(vicsee)
    seconds.advance(60)
    ticker.tick()
    said, usual = answer.result(), submit(vicsee, photo)
    assert said.status_code == 200
    assert said.json()["data"].keys() == usual.json()["data"].keys()
    assert said.json()["data"]["status"] == "pending"


def test_a_replay_waits_as_well(
    apiframe: Apiframe, waiting: Submit, photo: str, hints: Hints, ticker: HandTicker
) -> None:
    first = submit(apiframe, photo, Idempotency_Key="a")
    assert "preference-applied" not in first.headers
    answer = waiting(apiframe, Idempotency_Key="a")
    complete(apiframe.service, hints.jobs[0])
    ticker.tick()
    for said in (answer.result(), submit(apiframe, photo, Idempotency_Key="a", Prefer="wait=1")):
        assert (said.status_code, said.headers["idempotent-replayed"]) == (200, "true")
        assert said.json()["jobId"] == first.json()["jobId"]
    assert len(apiframe.left().jobs) == 1


def test_who_waits_holds_no_thread(
    tmp_path: Path, photo: str, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.app.THREADS", 1)
    ticker, hints = HandTicker(), Hints()
    models = frozenset({TOPAZ})
    with running(tmp_path, models=models, ticker=ticker, dispatcher=hints) as service:
        apiframe = Apiframe(service, service.account())
        answer = pool.submit(submit, apiframe, photo, Prefer="wait=60")
        ticker.wait_for(WATCHER)
        assert apiframe.get("/me").status_code == 200
        assert not answer.done()
        complete(service, hints.jobs[0])
        ticker.tick()
        assert answer.result().status_code == 200


@pytest.mark.parametrize(
    "prefer", ["", "wait=0", "respond-async", "waiting=9", 'x="a, wait=9"', ";wait=4"]
)
def test_who_prefers_no_wait_is_answered_at_once(
    apiframe: Apiframe, photo: str, prefer: str
) -> None:
    said = submit(apiframe, photo, Prefer=prefer)
    assert said.status_code == 202
    assert "preference-applied" not in said.headers


@pytest.mark.parametrize(
    "prefer",
    [
        "wait=5", 'wait="5"', "WAIT=5", "respond-async, wait=5", "wait = 5 ; x=y",
        "wait=5, wait=99",
        'note="a, wait=7", wait=5',
    ],
)  # fmt: skip
def test_a_wait_is_found_among_other_preferences(
    apiframe: Apiframe, waiting: Submit, ticker: HandTicker, seconds: Seconds, prefer: str
) -> None:
    answer = waiting(apiframe, Prefer=prefer)
    seconds.advance(5)
    ticker.tick()
    assert answer.result().headers["preference-applied"] == "wait=5"


@pytest.mark.parametrize(
    "prefer",
    ["wait=61", "wait=-1", "wait=x", "wait", "wait=", "wait=1.5", "wait=+5", "wait=9999999999"],
)
def test_a_wait_that_is_none_or_too_long_is_refused(
    apiframe: Apiframe, vicsee: VicSee, photo: str, prefer: str
) -> None:
    message = "Prefer: wait must be a whole number of seconds from 0 to 60"
    said = submit(apiframe, photo, Prefer=prefer)
    assert (said.status_code, said.json()) == (400, {"error": message})
    for path in ("/tools/upscale-image", "/generate"):
        said = submit(vicsee, photo, path=path, Prefer=prefer)
        assert_refused(said, 400, "INVALID_WAIT", message)
    assert apiframe.left().jobs == vicsee.left().jobs == []


def test_a_refused_submission_does_not_wait(service: Running, photo: str) -> None:
    poor = Apiframe(service, service.account(credits=0))
    said = submit(poor, photo, Prefer="wait=60")
    assert said.status_code == 402
    assert "preference-applied" not in said.headers


def test_beyond_the_limit_nobody_waits(
    service: Running, apiframe: Apiframe, photo: str, hints: Hints
) -> None:
    first = apiframe.submitted(photo)
    with ExitStack() as held:
        for _ in range(MAX_WAITS_EACH):
            watch = service.services.watcher.wait(kept_job(service, first), wait_s=60)
            assert watch is not None
            held.callback(watch.close)
        said = submit(apiframe, photo, Prefer="wait=60")
        assert said.status_code == 202
        assert said.json() == {"jobId": str(hints.jobs[-1]), "status": "QUEUED"}
        assert "preference-applied" not in said.headers


def test_a_client_that_hangs_up_stops_the_wait(
    service: Running, apiframe: Apiframe, photo: str, ticker: HandTicker
) -> None:
    body = json.dumps(topaz_body(photo)).encode()
    lines = [
        "POST /v2/images/upscale HTTP/1.1",
        "Host: x",
        f"X-API-Key: {apiframe.headers['X-API-Key']}",
        "Prefer: wait=60",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    address = ("127.0.0.1", httpx2.URL(service.url).port or 0)
    with socket.create_connection(address) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        ticker.wait_for(WATCHER)

    def is_left_alone() -> bool:
        ticker.tick()
        return WATCHER not in ticker.names

    eventually(is_left_alone, what="the end of the wait")
    assert len(apiframe.left().jobs) == 1


def test_a_server_that_stops_lets_everybody_go(apiframe: Apiframe, waiting: Submit) -> None:
    answer = waiting(apiframe)
    apiframe.service.services.watcher.stop()
    assert answer.result().status_code == 202


def test_a_job_that_is_cancelled_in_time_is_the_answer(
    vicsee: VicSee, waiting: Submit, hints: Hints, ticker: HandTicker
) -> None:
    answer = waiting(vicsee)
    cancel(vicsee.service, UUID(str(hints.jobs[0])))
    ticker.tick()
    assert answer.result().json()["data"]["error"]["code"] == "CANCELLED"
