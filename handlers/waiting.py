"""`Prefer: wait=N` (RFC 7240) on submissions: the answer has the finished job, if it is in time."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar
from urllib.request import parse_http_list

import anyio
from fastapi import Depends, Request, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from handlers.apiframe_wire import JobDetails, details
from handlers.vicsee_wire import Created, Envelope, Generated, Task, created, generated, task
from jobs.errors import WaitInvalid
from jobs.job import Job
from jobs.news import Seen
from jobs.services import Services
from jobs.submission import Accepted
from jobs.watch import Signal, Watch

MAX_WAIT_S = 60
APPLIED = "Preference-Applied"
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)

T = TypeVar("T")
Usual = TypeVar("Usual", bound=BaseModel)


class FinishedJob(JobDetails):
    """The answer to a submission that waited for its job's end."""

    jobId: str


class FinishedTask(Generated, Task):
    """The answer of `/generate`, if it waited for its task's end."""


class FinishedCreated(Created, Task):
    """The answer of `/tools/upscale-image`, if it waited for its task's end."""


async def preferred_wait(request: Request) -> int | None:
    """How many seconds the client prefers to wait, None if it does not; a FastAPI dependency.

    Raises `WaitInvalid` for what is no whole number of seconds, or too many. Of several wishes the
    first counts, and other preferences are not looked at.
    """
    for preference in parse_http_list(",".join(request.headers.getlist("prefer"))):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            return _wait_s(value.strip().removeprefix('"').removesuffix('"')) or None
    return None


WaitOf = Annotated[int | None, Depends(preferred_wait)]


def answered(
    accepted: Accepted,
    services: Services,
    *,
    wait_s: int | None,
    usual: Callable[[Job], Usual],
    usual_status: int,
    finished: Callable[[Job], BaseModel],
    response: Response,
) -> "Usual | Waited":
    """The answer to an accepted order: the usual one, or what waits for the job's end.

    `response` has the headers of either. Nobody waits if too many do already.
    """
    watch = None if wait_s is None else services.watcher.wait(accepted.job, wait_s=wait_s)
    if watch is None:
        return usual(accepted.job)
    headers = {**response.headers, APPLIED: f"wait={wait_s}"}

    def answer(job: Job) -> Response:
        is_end = job.status.is_terminal
        body = finished(job) if is_end else usual(job)
        return Response(
            body.model_dump_json(),
            200 if is_end else usual_status,
            headers=headers,
            media_type="application/json",
        )

    return Waited(watch, answer)


class Waited(Response):
    """An answer that is made once the watch is over: until then it holds no thread."""

    def __init__(self, watch: Watch, answer: Callable[[Job], Response]) -> None:
        super().__init__()
        self._watch = watch
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            job = await _unless_hung_up(receive, self._newest)
        finally:
            self._watch.close()
        if job is not None:
            await self._answer(job)(scope, receive, send)

    async def _newest(self) -> Job:
        """The job at its end, or as it was seen last."""
        job: Job | None = None
        while (news := await self._watch.next()) is not Signal.OVER:
            if isinstance(news, Seen):
                job = news.job
                if news.is_end:
                    break
        assert job is not None  # a watch begins with how the job stands
        return job


def finished_job(job: Job, services: Services) -> FinishedJob:
    """A job at its end, in the answer to its submission."""
    shown = details(job, links=services.links, now_ms=services.clock())
    return FinishedJob.model_construct(**dict(shown), jobId=shown.id)


def finished_task(accepted: Accepted, services: Services) -> Envelope[FinishedTask]:
    """A task at its end, in the answer of `/generate`."""
    ended = task(accepted.job, links=services.links, now_ms=services.clock())
    both = dict(generated(accepted)) | dict(ended)
    return Envelope(data=FinishedTask.model_construct(**both))


def finished_created(accepted: Accepted, services: Services) -> Envelope[FinishedCreated]:
    """A task at its end, in the answer of `/tools/upscale-image`."""
    ended = task(accepted.job, links=services.links, now_ms=services.clock())
    both = dict(created(accepted)) | dict(ended)
    return Envelope(data=FinishedCreated.model_construct(**both))


async def _unless_hung_up(receive: Receive, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
    """What the work comes to; None, and no more of it, if the client hangs up before."""
    result: T | None = None
    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(listen)
        result = await work()
        tasks.cancel_scope.cancel()
    return result


def _wait_s(text: str) -> int:
    if _SECONDS.fullmatch(text) is None or int(text) > MAX_WAIT_S:
        raise WaitInvalid
    return int(text)
