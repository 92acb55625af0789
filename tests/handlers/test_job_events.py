"""A job's events, over the wire: what they say, where they go on, and when they end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from jobs.queue_position import KEPT_S
from jobs.watcher import BEAT_EVERY_S, MAX_STREAMS_EACH, STREAM_FOR_S
from storage.kv import Unavailable
from tests.handlers.clients import TOPAZ, Apiframe, VicSee, assert_refused, kept_job
from tests.handlers.failing import Failing
from tests.handlers.streaming import Stream, Told, stream
from tests.handlers.working import cancel, complete, fail, start
from tests.jobs.machine import PICTURE_URI
from tests.running import Clock, Running, running
from tests.serving import Server, eventually
from tests.ticking import HandTicker, Seconds

NOBODY = "00000000-0000-7000-8000-000000000000"
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def ticker() -> HandTicker:
    """Who looks at the jobs, and renews leases, when a test says so."""
    return HandTicker()


@pytest.fixture(scope="module")
def seconds() -> Seconds:
    """The watcher's clock."""
    return Seconds()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Failing:
    """The service's store, which can be made to fail."""
    return Failing(tmp_path_factory.mktemp("store") / "store.sqlite", clock=clock)


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    store: Failing,
    clock: Clock,
    ticker: HandTicker,
    seconds: Seconds,
) -> Iterator[Running]:
    """A service whose watcher looks when a test says so."""
    with running(
        tmp_path_factory.mktemp("service"),
        kv=store,
        clock=clock,
        models=frozenset({TOPAZ}),
        ticker=ticker,
        seconds=seconds,
    ) as service:
        yield service


@pytest.fixture(autouse=True)
def _empty_queue(seconds: Seconds) -> None:
    """No test goes by what the queue was in another."""
    seconds.advance(KEPT_S)


def renew(service: Running, job_id: UUID, *, done: int, of: int) -> None:
    """Have whoever works on the job say how far it is."""
    service.services.leases.renew(kept_job(service, job_id), done, of)


def told(stream: Stream) -> Told:
    """The next event; there is one."""
    event = stream.next()
    assert event is not None
    return event


def test_a_stream_tells_a_whole_job(
    apiframe: Apiframe, photo: str, ticker: HandTicker, clock: Clock
) -> None:
    job_id = apiframe.submitted(photo)
    named = {"jobId": str(job_id)}
    with stream(apiframe, f"/jobs/{job_id}/events") as events:
        headers = events.answer.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert events.block() == ["retry: 2000"]
        queued = told(events)
        position = queued.data["position"]
        assert queued == Told(
            "queued",
            f"0.{position}",
            {**named, "status": "QUEUED", "remainingSeconds": None, "position": position},
        )
        start(apiframe.service, job_id)
        ticker.tick()
        assert told(events) == Told(
            "provisioning", "2", {**named, "status": "PROCESSING", "remainingSeconds": None}
        )
        clock.advance(seconds=30)
        renew(apiframe.service, job_id, done=3, of=12)
        ticker.tick()
        progress = {"progress": 25, "done": 3, "of": 12, "remainingSeconds": 90}
        assert told(events) == Told("progress", "3", {**named, "status": "PROCESSING", **progress})
        clock.advance(seconds=60)  # past the lease, so that another worker may take the job
        complete(apiframe.service, job_id)
        ticker.tick()
        event, id_, data = told(events)
        shown = apiframe.get(f"/jobs/{job_id}").json()
        assert (event, data) == ("completed", named | shown)
        assert id_ == f"{kept_job(apiframe.service, job_id).sequence}.end"
        assert events.rest() == []


def test_a_job_that_is_deleted_while_it_is_watched_has_its_end_told(
    apiframe: Apiframe, photo: str, ticker: HandTicker
) -> None:
    job_id = apiframe.submitted(photo)
    with stream(apiframe, f"/jobs/{job_id}/events") as events:
        assert told(events).event == "queued"
        address = f"{apiframe.service.url}/v2/jobs/{job_id}"
        assert apiframe.service.http.delete(address, headers=apiframe.headers).status_code == 204
        ticker.tick()
        end = told(events)
        assert (end.event, end.data["expired"]) == ("cancelled", True)
        assert events.next() is None


def test_a_task_is_told_in_its_own_dialect(vicsee: VicSee, photo: str, ticker: HandTicker) -> None:
    task_id = vicsee.submitted(photo)
    job_id = UUID(task_id.removeprefix("task_"))
    with stream(vicsee, f"/tasks/{task_id}/events") as events:
        queued = told(events)
        assert (queued.event, queued.data["jobId"]) == ("queued", task_id)
        assert queued.data["status"] == "pending"
        start(vicsee.service, job_id, progress=40)
        ticker.tick()
        event, _, data = told(events)
        assert (event, data["status"], data["progress"]) == ("progress", "processing", 40)
        cancel(vicsee.service, job_id)
        ticker.tick()
        event, _, data = told(events)
        shown = vicsee.get(f"/tasks/{task_id}").json()["data"]
        assert (event, data) == ("cancelled", {"jobId": task_id} | shown)
        assert events.rest() == []


def test_a_failed_job_is_told_with_its_reason(
    apiframe: Apiframe, photo: str, ticker: HandTicker
) -> None:
    job_id = apiframe.submitted(photo)
    with stream(apiframe, f"/jobs/{job_id}/events") as events:
        assert told(events).event == "queued"
        fail(apiframe.service, job_id)
        ticker.tick()
        event, _, data = told(events)
        assert (event, data["status"], data["creditCost"]) == ("failed", "FAILED", 0)
        assert data["error"] == apiframe.get(f"/jobs/{job_id}").json()["error"]
        assert events.rest() == []


def test_who_waits_is_told_of_a_better_place(
    apiframe: Apiframe, photo: str, ticker: HandTicker, seconds: Seconds, clock: Clock
) -> None:
    ahead = apiframe.submitted(photo)
    clock.advance(seconds=1)
    job_id = apiframe.submitted(photo)
    with stream(apiframe, f"/jobs/{job_id}/events") as events:
        before = told(events)
        cancel(apiframe.service, ahead)
        seconds.advance(KEPT_S)
        ticker.tick()
        after = told(events)
    assert (before.event, after.event) == ("queued", "queued")
    assert after.data["position"] == before.data["position"] - 1
    assert after.id == f"0.{after.data['position']}"


def test_a_stream_goes_on_after_the_event_that_was_told_last(
    apiframe: Apiframe, photo: str, ticker: HandTicker
) -> None:
    path = f"/jobs/{(job_id := apiframe.submitted(photo))}/events"
    with stream(apiframe, path) as events:
        queued = told(events)
    with stream(apiframe, path, after=queued.id) as events:
        assert events.block() == ["retry: 2000"]  # and no second time the same
        start(apiframe.service, job_id)
        ticker.tick()
        provisioning = told(events)
        assert provisioning.event == "provisioning"
    with stream(apiframe, path, after=queued.id) as events:
        assert told(events) == provisioning
    renew(apiframe.service, job_id, done=1, of=2)
    with stream(apiframe, path, after=provisioning.id) as events:
        progress = told(events)
        assert (progress.event, progress.data["done"]) == ("progress", 1)
    with stream(apiframe, path, after=progress.id) as events:
        cancel(apiframe.service, job_id)
        ticker.tick()
        assert told(events).event == "cancelled"
        assert events.rest() == []


@pytest.mark.parametrize("after", [None, "0", "0.4", "2", "99"])
def test_whoever_was_not_told_of_the_end_is(
    apiframe: Apiframe, photo: str, after: str | None
) -> None:
    job_id = apiframe.submitted(photo)
    cancel(apiframe.service, job_id)
    with stream(apiframe, f"/jobs/{job_id}/events", after=after) as events:
        assert [each.event for each in events.rest()] == ["cancelled"]


def test_whoever_was_told_of_the_end_need_not_come_again(apiframe: Apiframe, photo: str) -> None:
    path = f"/jobs/{(job_id := apiframe.submitted(photo))}/events"
    cancel(apiframe.service, job_id)
    with stream(apiframe, path) as events:
        end = told(events)
    with stream(apiframe, path, after=end.id) as events:
        assert events.answer.status_code == 204
        assert events.rest() == []
    assert apiframe.get(path, lastEventId=end.id).status_code == 204


def test_the_end_of_another_job_is_none_of_this_one(
    apiframe: Apiframe, photo: str, ticker: HandTicker
) -> None:
    job_id = apiframe.submitted(photo)
    with stream(apiframe, f"/jobs/{job_id}/events", after="9.end") as events:
        assert events.block() == ["retry: 2000"]
        cancel(apiframe.service, job_id)
        ticker.tick()
        assert told(events).event == "cancelled"


def test_the_header_counts_before_the_query(apiframe: Apiframe, photo: str) -> None:
    path = f"/jobs/{(job_id := apiframe.submitted(photo))}/events"
    cancel(apiframe.service, job_id)
    with stream(apiframe, f"{path}?lastEventId=nonsense", after="1.end") as events:
        assert events.answer.status_code == 204
    with stream(apiframe, f"{path}?lastEventId=1.end", after="") as events:
        assert events.answer.status_code == 204


def test_an_id_that_no_event_has_is_refused(apiframe: Apiframe, vicsee: VicSee, photo: str) -> None:
    job_id, task_id = apiframe.submitted(photo), vicsee.submitted(photo)
    answer = apiframe.get(f"/jobs/{job_id}/events", lastEventId="nonsense")
    assert answer.status_code == 400
    assert answer.json() == {"error": "Last-Event-ID is not the id of an event"}
    answer = vicsee.get(f"/tasks/{task_id}/events", lastEventId="nonsense")
    assert_refused(answer, 400, "INVALID_EVENT_ID")


def test_unknown_and_foreign_jobs_have_no_events(
    service: Running, apiframe: Apiframe, vicsee: VicSee, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    other = Apiframe(service, service.account())
    for client, id_ in [(apiframe, NOBODY), (other, str(job_id))]:
        answer = client.get(f"/jobs/{id_}/events")
        assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})
    assert apiframe.get("/jobs/nonsense/events").status_code == 400
    assert_refused(vicsee.get(f"/tasks/task_{job_id.hex}/events"), 403, "FORBIDDEN")
    assert_refused(vicsee.get(f"/tasks/{NOBODY}/events"), 404, "TASK_NOT_FOUND")


def test_events_want_a_key(service: Running, apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    assert service.http.get(f"/v2/jobs/{job_id}/events").status_code == 401
    assert service.http.get(f"/api/v1/tasks/{job_id}/events").status_code == 401


def test_a_silent_stream_beats_and_in_the_end_is_resumed(
    apiframe: Apiframe, photo: str, ticker: HandTicker, seconds: Seconds
) -> None:
    job_id = apiframe.submitted(photo)
    with stream(apiframe, f"/jobs/{job_id}/events") as events:
        assert events.block() == ["retry: 2000"]
        assert events.block()[0] == "event: queued"
        seconds.advance(BEAT_EVERY_S)
        ticker.tick()
        assert events.block() == [": still here"]
        seconds.advance(STREAM_FOR_S)
        ticker.tick()
        assert events.rest() == []


def test_a_store_that_is_down_for_a_while_ends_no_stream(
    apiframe: Apiframe, photo: str, ticker: HandTicker, store: Failing
) -> None:
    job_id = apiframe.submitted(photo)
    with stream(apiframe, f"/jobs/{job_id}/events") as events:
        assert told(events).event == "queued"
        store.reading = Unavailable("no connection")
        try:
            ticker.tick()
            assert events.block() == [": the job cannot be looked at just now"]
            refused = apiframe.get(f"/jobs/{job_id}/events")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        finally:
            store.reading = None
        cancel(apiframe.service, job_id)
        ticker.tick()
        assert told(events).event == "cancelled"


def test_an_account_has_so_many_streams_until_it_hangs_up(
    service: Running, apiframe: Apiframe, photo: str, ticker: HandTicker
) -> None:
    job_id = apiframe.submitted(photo)
    job = kept_job(service, job_id)
    with ExitStack() as held:
        with stream(apiframe, f"/jobs/{job_id}/events") as events:
            assert told(events).event == "queued"
            for _ in range(MAX_STREAMS_EACH - 1):
                held.callback(service.services.watcher.stream(job).close)
            answer = apiframe.get(f"/jobs/{job_id}/events")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
            assert answer.json() == {"error": "Too many streams of events are open"}
            same = VicSee(service, apiframe.customer)
            assert_refused(same.get(f"/tasks/{job_id}/events"), 429, "RATE_LIMITED")

        def has_place() -> bool:
            with stream(apiframe, f"/jobs/{job_id}/events") as again:
                return again.answer.status_code == 200

        eventually(has_place, what="a place")
    eventually(lambda: not _is_watched(ticker), what="everybody's leaving")


def _is_watched(ticker: HandTicker) -> bool:
    ticker.tick()
    return "watcher" in ticker.names


def test_a_server_that_stops_ends_its_streams_at_once(tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers="0").running() as server:
        http = httpx2.Client(base_url=server.url, headers={"X-API-Key": server.demo_key})
        with http:
            body: dict[str, Any] = {"model": TOPAZ, "topazUpscaleParams": {"image": PICTURE_URI}}
            job_id = http.post("/v2/images/upscale", json=body).json()["jobId"]
            with http.stream("GET", f"/v2/jobs/{job_id}/events") as answer:
                events = Stream(answer)
                assert told(events).event == "queued"
                stopping = threading.Thread(
                    target=server.stop, args=(signal.SIGTERM,), kwargs={"within_s": PATIENCE_S}
                )
                stopping.start()
                assert events.rest() == []  # a stream that is cut off raises
                stopping.join()
    assert "graceful" not in server.printed
