"""The VicSee dialect: the routes under `/api/v1`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing import keys, quota
from billing.accounts import Account, find_account
from billing.keys import Caller
from billing.quota import Quota
from handlers import vicsee_wire as wire
from handlers.auth import (
    CallerOf,
    LetIn,
    ServicesOf,
    guarded_route,
    requires,
    services_of,
    vicsee_caller,
)
from handlers.cancellation import add_vicsee_cancel
from handlers.files import left_s, streamed
from handlers.idempotency import request_name, tell_replay
from handlers.job_deletion import add_vicsee_delete
from handlers.job_events import add_vicsee_events
from handlers.job_ids import TaskId
from handlers.parts import OPENAPI, create_part
from handlers.quotes import add_vicsee_quotes
from handlers.rates import RateFields, count_request
from handlers.terms import VICSEE_MAX_SIDE_PX, vicsee_pricing, within
from handlers.vicsee_errors import ANSWERS
from handlers.vicsee_wire import Envelope
from handlers.waiting import (
    FinishedCreated,
    FinishedTask,
    Waited,
    WaitOf,
    answered,
    finished_created,
    finished_task,
)
from inference.catalogue import TOPAZ
from jobs.errors import ResultMissing
from jobs.ids import iso_utc
from jobs.links import FORMATS
from jobs.records import find_own, find_own_job
from jobs.retention import is_expired, result_expires_at_ms
from jobs.services import Services
from jobs.sources import shown
from jobs.submission import Order, RequestName

Request_ = Annotated[RequestName | None, Depends(request_name)]

READS, WRITES = requires(keys.Scope.JOBS_READ), requires(keys.Scope.JOBS_WRITE)


def let_in(request: Request) -> None:
    """Only callers with an active key and requests left today come in. Polls do not count."""
    account = _known(request)
    services = services_of(request)
    if request.method == "POST":
        now_ms = services.clock()
        request.state.quota = quota.count_request(services.kv, account, now_ms=now_ms)


def let_in_uncounted(request: Request) -> None:
    """Only callers with an active key come in, whatever is left of their day."""
    _known(request)


def _known(request: Request) -> Account:
    caller = vicsee_caller(request)
    services = services_of(request)
    account = services.plans.applied(find_account(services.kv, caller.account_id)[0])
    request.state.caller = caller
    request.state.quota = quota.quota_of(services.kv, account, now_ms=services.clock())
    count_request(request, caller)
    return account


REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": wire.Failed} for status in (400, 401, 402, 403, 404, 422, 429, 500, 502, 503)
}


def _guarded(let_in: LetIn) -> APIRouter:
    return APIRouter(
        route_class=guarded_route(let_in),
        dependencies=[Security(HTTPBearer(auto_error=False))],
        responses=REFUSED,
    )


guarded = _guarded(let_in)
uncounted = _guarded(let_in_uncounted)
add_vicsee_quotes(uncounted, dependencies=[WRITES])
add_vicsee_cancel(uncounted, dependencies=[WRITES])
add_vicsee_delete(uncounted, dependencies=[WRITES])
add_vicsee_events(uncounted, dependencies=[READS])
open_to_all = APIRouter(responses={422: {"model": wire.Failed}})


def create_vicsee(services: Services) -> ASGIApp:
    """The app to be mounted at `/api/v1`."""
    app = create_part(
        services,
        guarded,
        uncounted,
        open_to_all,
        answers=ANSWERS,
        title="Enlarger: the VicSee dialect",
        version="1",
        openapi_url=OPENAPI,
    )
    return RateHeaders(RateFields(app), services)  # outside of all, so that a 500 has them as well


class RateHeaders:
    """Puts the day's quota on every answer; a caller who is not known has it whole."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                limit = self._services.plans.default.daily_requests
                full = quota.full_quota(limit, now_ms=self._services.clock())
                left: Quota = state.get("quota", full)
                headers = MutableHeaders(scope=message)
                headers["X-RateLimit-Limit"] = str(left.limit)
                headers["X-RateLimit-Remaining"] = str(left.remaining)
                headers["X-RateLimit-Reset"] = iso_utc(left.resets_at_ms)
            await send(message)

        await self._app(scope, receive, counted)


@guarded.post(
    "/tools/upscale-image",
    response_model=Envelope[wire.Created] | Envelope[FinishedCreated],
    dependencies=[WRITES],
)
def upscale_image(
    body: wire.UpscaleRequest,
    caller: CallerOf,
    services: ServicesOf,
    request: Request_,
    wait_s: WaitOf,
    response: Response,
) -> Envelope[wire.Created] | Waited:
    """Submit a picture. Its credits are taken now, and given back if the task fails.

    With `Prefer: wait=N`, from 1 to 60 seconds, the answer is a task at its end if that is in time.
    """
    accepted = services.submissions.submit(_order(body, caller, services, request))
    tell_replay(accepted, response)
    return answered(
        accepted,
        services,
        wait_s=wait_s,
        usual=lambda job: Envelope(data=wire.created(accepted._replace(job=job))),
        usual_status=200,
        finished=lambda job: finished_created(accepted._replace(job=job), services),
        response=response,
    )


@guarded.post(
    "/generate",
    response_model=Envelope[wire.Generated] | Envelope[FinishedTask],
    dependencies=[WRITES],
)
def generate(
    body: wire.GenerateRequest,
    caller: CallerOf,
    services: ServicesOf,
    request: Request_,
    wait_s: WaitOf,
    response: Response,
) -> Envelope[wire.Generated] | Waited:
    """The same, through the endpoint of all models."""
    accepted = services.submissions.submit(_order(body.input, caller, services, request))
    tell_replay(accepted, response)
    return answered(
        accepted,
        services,
        wait_s=wait_s,
        usual=lambda job: Envelope(data=wire.generated(accepted._replace(job=job))),
        usual_status=200,
        finished=lambda job: finished_task(accepted._replace(job=job), services),
        response=response,
    )


@guarded.get("/tasks/{task_id}", dependencies=[READS])
def task(task_id: TaskId, caller: CallerOf, services: ServicesOf) -> Envelope[wire.Task]:
    """One task."""
    job = find_own_job(services.kv, caller.world, job_id=task_id)
    return Envelope(data=wire.task(job, links=services.links, now_ms=services.clock()))


@guarded.get(
    "/tasks/{task_id}/download",
    response_model=Envelope[wire.Download],
    dependencies=[READS],
)
def download(
    task_id: TaskId, caller: CallerOf, services: ServicesOf, mode: Literal["url", "proxy"] = "url"
) -> Envelope[wire.Download] | StreamingResponse:
    """Where the result can be had; `mode=proxy` answers with its bytes."""
    kept = find_own(services.kv, caller.world, job_id=task_id)
    job = kept.job
    if job.result is None or is_expired(job, now_ms=services.clock()):
        raise ResultMissing
    if mode == "proxy":
        services.retention.note_fetched(kept)
        kept_s = left_s(job, services)
        return streamed(services.objects, job.result.object_name, kept_s=kept_s)
    return Envelope(
        data=wire.Download(
            url=services.links.of(job.result.object_name),
            expiresAt=iso_utc(result_expires_at_ms(job)),
        )
    )


@guarded.get("/credits")
def credits(caller: CallerOf, services: ServicesOf) -> Envelope[wire.Credits]:
    """The balance."""
    _, balance = find_account(services.kv, caller.account_id)
    return Envelope(data=wire.Credits(credits=balance.spendable))


@guarded.post("/upload", dependencies=[WRITES])
def upload(
    body: wire.UploadRequest, caller: CallerOf, services: ServicesOf
) -> Envelope[wire.UploadPlace]:
    """Reserve a place; the file is then PUT to `uploadUrl`."""
    place = services.uploads.reserve(
        caller.account_id, content_type=body.contentType, size_bytes=body.sizeBytes
    )
    return Envelope(
        data=wire.UploadPlace(
            uploadUrl=place.put_url,
            publicUrl=place.upload.url,
            key=place.upload.object_name,
            expiresAt=iso_utc(place.upload.expires_at_ms),
        )
    )


@open_to_all.get("/models")
def models(services: ServicesOf, type: str | None = None) -> Envelope[wire.Models]:
    """The models of this dialect, and what they cost by factor."""
    offered = [_model(services)] if type in (None, "image") else []
    return Envelope(data=wire.Models(models=offered))


def _order(
    said: wire.UpscaleRequest, caller: Caller, services: Services, request: RequestName | None
) -> Order:
    return Order(
        caller=caller,
        source_url=said.image_url,
        said={"image_url": shown(said.image_url), "upscale_factor": str(said.upscale_factor)},
        terms=within(vicsee_pricing(said.upscale_factor, services), said.max_credits, caller),
        retention_days=said.retention_days,
        request=request,
    )


def _model(services: Services) -> wire.ModelInfo:
    prices = services.prices.vicsee_credits
    return wire.ModelInfo(
        id=TOPAZ.id,
        name=TOPAZ.label,
        description=TOPAZ.description,
        capabilities={
            "upscale_factors": [str(factor) for factor in prices],
            "max_output_side_px": VICSEE_MAX_SIDE_PX,
            "input_types": [*FORMATS],
        },
        credits={str(factor): credits for factor, credits in prices.items()},
    )
