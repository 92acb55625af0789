"""A job's events as a stream, in both dialects.

Server-sent events as in https://html.spec.whatwg.org/multipage/server-sent-events.html: a client
that was cut off goes on with the id of the event that it had last.
"""

import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from handlers.apiframe_wire import JobDetails, details
from handlers.auth import CallerOf, ServicesOf
from handlers.job_ids import JobId, TaskId
from handlers.vicsee_wire import Task, task
from jobs.job import Job
from jobs.news import Event, Mark, Seen
from jobs.records import find_own_job
from jobs.services import Services
from jobs.watch import Signal, Watch

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 2_000
"""How long a client that was cut off waits before it comes back."""

COMMENTS = {
    Signal.BEAT: b": still here\n\n",
    Signal.OUTAGE: b": the job cannot be looked at just now\n\n",
}
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""No proxy may keep events back, nor give them to anybody else."""

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events, from now to the job's end", "content": {MEDIA_TYPE: {}}},
    204: {"description": "The job is at its end, which the client has been told of"},
}

Shown = JobDetails | Task
Show = Callable[[Job], Shown]
"""A job as its dialect shows it."""


async def last_told(
    request: Request,
    lastEventId: Annotated[
        str | None, Query(description="In the place of the header Last-Event-ID")
    ] = None,
) -> Mark | None:
    """How far the client has been told; a FastAPI dependency. Raises `EventIdInvalid`."""
    said = request.headers.get("last-event-id") or lastEventId
    return Mark.parse(said) if said else None


ToldOf = Annotated[Mark | None, Depends(last_told)]


def add_apiframe_events(router: APIRouter, **options: Any) -> None:
    """Add the route."""
    add = router.get(
        "/jobs/{job_id}/events", response_class=StreamingResponse, responses=ANSWERS, **options
    )
    add(job_events)


def add_vicsee_events(router: APIRouter, **options: Any) -> None:
    """Add the route."""
    add = router.get(
        "/tasks/{task_id}/events", response_class=StreamingResponse, responses=ANSWERS, **options
    )
    add(task_events)


def job_events(job_id: JobId, caller: CallerOf, services: ServicesOf, told: ToldOf) -> Response:
    """What becomes of a job, as server-sent events; the last one has the job as it ended."""
    job = find_own_job(services.kv, caller.world, job_id=job_id)

    def show(job: Job) -> JobDetails:
        return details(job, links=services.links, now_ms=services.clock())

    return _answer(job, services, told=told, show=show)


def task_events(task_id: TaskId, caller: CallerOf, services: ServicesOf, told: ToldOf) -> Response:
    """What becomes of a task, as server-sent events; the last one has the task as it ended."""
    job = find_own_job(services.kv, caller.world, job_id=task_id)

    def show(job: Job) -> Task:
        return task(job, links=services.links, now_ms=services.clock())

    return _answer(job, services, told=told, show=show)


class EventStream(StreamingResponse):
    """A stream of what a watch is told, which is closed when the client or the watch has enough."""

    media_type = MEDIA_TYPE

    def __init__(self, watch: Watch, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers=HEADERS)
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watch.close()


def _answer(job: Job, services: Services, *, told: Mark | None, show: Show) -> Response:
    if told is not None and told.is_end:
        if job.status.is_terminal:
            return Response(status_code=204, headers=HEADERS)  # an EventSource then stops asking
        told = told._replace(is_end=False)  # some other job's
    watch = services.watcher.stream(job)
    return EventStream(watch, _events(watch, told=told, show=show))


async def _events(watch: Watch, *, told: Mark | None, show: Show) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode()
    while (news := await watch.next()) is not Signal.OVER:
        if isinstance(news, Signal):
            yield COMMENTS[news]
        elif news.is_news(told):
            told = news.mark
            yield _written(news, show(news.job))
            if news.is_end:
                return


def _written(seen: Seen, shown: Shown) -> bytes:
    data = json.dumps(_data(seen, shown), separators=(",", ":"))
    return f"event: {seen.event}\nid: {seen.mark}\ndata: {data}\n\n".encode()


def _data(seen: Seen, shown: Shown) -> dict[str, Any]:
    named = {"jobId": shown.id}
    if seen.is_end:
        return named | shown.model_dump(mode="json")
    told = {**named, "status": shown.status, "remainingSeconds": _whole(seen.remaining_s)}
    if seen.event is Event.QUEUED:
        return told | {"position": seen.position}
    if seen.event is Event.PROVISIONING:
        return told
    job = seen.job
    return told | {"progress": job.progress, "done": job.steps_done, "of": job.steps_of}


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds)
