"""The Apiframe dialect: the routes under `/v2`."""

import base64
import binascii
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response, Security, UploadFile
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from billing.accounts import find_account
from billing.keys import Caller, Scope
from billing.team import Team as Members
from handlers.apiframe_errors import ANSWERS
from handlers.apiframe_wire import (
    ClarityParams,
    JobDetails,
    JobPage,
    KeyInfo,
    Me,
    Models,
    Problem,
    Submitted,
    Team,
    TopazParams,
    TopazUpscale,
    UploadInfo,
    UpscaleRequest,
    User,
    details,
    submitted,
    summary,
)
from handlers.auth import CallerOf, ServicesOf, apiframe_caller, guarded_route, requires
from handlers.auto_topup import add_auto_topup
from handlers.cancellation import add_apiframe_cancel
from handlers.checkout import add_checkout
from handlers.credits import credits_notice
from handlers.deliveries import add_deliveries, add_delivery_list
from handlers.idempotency import request_name, tell_replay
from handlers.job_deletion import add_apiframe_delete
from handlers.job_events import add_apiframe_events
from handlers.job_ids import JobId
from handlers.keys import add_keys
from handlers.members import add_members
from handlers.offers import offered
from handlers.parts import OPENAPI, create_part
from handlers.quotes import add_apiframe_quotes
from handlers.rates import RateFields, count_request
from handlers.receivers import check_receiver
from handlers.statements import add_statements
from handlers.terms import apiframe_pricing, within
from handlers.waiting import FinishedJob, Waited, WaitOf, answered, finished_job
from handlers.webhook_secrets import add_webhook_secrets
from jobs.errors import JobUnknown
from jobs.ids import iso_utc
from jobs.job import Job, Webhook
from jobs.records import Page, find_own_job, page
from jobs.services import Services
from jobs.sources import shown
from jobs.submission import Order, RequestName

MAX_UPLOAD_BYTES = 25 * 1024 * 1024

JobStatus = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED"]

REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 402, 403, 404, 409, 429, 503, "4XX")
}
"""What a route may refuse with. `4XX` is there so that FastAPI does not promise its own 422."""

IN_TIME: dict[int | str, dict[str, Any]] = {
    200: {"model": FinishedJob, "description": "The job is at its end, within `Prefer: wait`"}
}

READS, WRITES = requires(Scope.JOBS_READ), requires(Scope.JOBS_WRITE)


def let_in(request: Request) -> None:
    """Only callers with an active key come in."""
    request.state.caller = apiframe_caller(request)
    count_request(request, request.state.caller)


guarded = APIRouter(
    route_class=guarded_route(let_in),
    dependencies=[Security(APIKeyHeader(name="X-API-Key", auto_error=False))],
    responses=REFUSED,
)
open_to_all = APIRouter(responses={"4XX": {"model": Problem}})


def create_apiframe(services: Services) -> ASGIApp:
    """The app to be mounted at `/v2`."""
    app = create_part(
        services,
        guarded,
        open_to_all,
        credits_notice,
        answers=ANSWERS,
        title="Enlarger: the Apiframe dialect",
        version="2",
        openapi_url=OPENAPI,
    )
    return RateFields(app)


@guarded.post(
    "/images/upscale",
    status_code=202,
    response_model=Submitted,
    responses=IN_TIME,
    dependencies=[WRITES],
)
def upscale(
    body: UpscaleRequest,
    caller: CallerOf,
    services: ServicesOf,
    request: Annotated[RequestName | None, Depends(request_name)],
    wait_s: WaitOf,
    response: Response,
) -> Submitted | Waited:
    """Submit a picture. Its credits are taken now, and given back in full if the job fails.

    With `Prefer: wait=N`, from 1 to 60 seconds, a job that ends in time is the answer, with a 200.
    """
    said = body.root
    if isinstance(said, TopazUpscale):
        params: TopazParams | ClarityParams = said.topazUpscaleParams
    else:
        params = said.clarityUpscaleParams
    order = Order(
        caller=caller,
        source_url=params.image,
        said={name: value for name, value in params.model_dump().items() if value is not None}
        | {"image": shown(params.image)},
        terms=within(apiframe_pricing(params, services), said.maxCredits, caller),
        webhook=_webhook(said.webhookUrl, said.webhookEvents, services),
        retention_days=said.retentionDays,
        request=request,
    )
    accepted = services.submissions.submit(order)
    tell_replay(accepted, response)
    return answered(
        accepted,
        services,
        wait_s=wait_s,
        usual=submitted,
        usual_status=202,
        finished=lambda job: finished_job(job, services),
        response=response,
    )


@guarded.get("/jobs/{job_id}", dependencies=[READS])
def job(job_id: JobId, caller: CallerOf, services: ServicesOf) -> JobDetails:
    """One job."""
    found = find_own_job(services.kv, caller.world, job_id=job_id)
    return details(found, links=services.links, now_ms=services.clock())


@guarded.get("/jobs", dependencies=[READS])
def jobs(
    caller: CallerOf,
    services: ServicesOf,
    *,
    status: JobStatus | None = None,
    model: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: str | None = None,
    search: str | None = None,
    scope: Literal["user", "team"] = "team",
    include_models: Literal["true", "false"] = "false",
) -> JobPage:
    """The account's jobs, newest first; `search` is a whole job id.

    The `scope` of `user` is those that the key's own member ordered, by whichever of their keys.
    """
    member_id = caller.key.used_by if scope == "user" else None

    def is_wanted(job: Job) -> bool:
        return (
            status in (None, job.status.upper())
            and model in (None, job.params.model)
            and member_id in (None, job.ordered_by)
        )

    is_of_all = (status, model, member_id) == (None, None, None)
    before = None if cursor is None else _job_of_cursor(cursor)
    if search is None:
        found = page(
            services.kv,
            caller.world,
            before=before,
            limit=limit,
            is_wanted=None if is_of_all else is_wanted,
        )
    else:
        found = Page([*filter(is_wanted, _with_id(search, caller, services))], None)
    now_ms = services.clock()
    return JobPage(
        jobs=[summary(each, links=services.links, now_ms=now_ms) for each in found.jobs],
        nextCursor=_cursor_of(found.next_before) if found.next_before else None,
        hasMore=found.next_before is not None,
        models=offered(services) if include_models == "true" else None,
    )


@guarded.get("/me")
def me(caller: CallerOf, services: ServicesOf) -> Me:
    """The account, the member and the key behind the request."""
    account, balance = find_account(services.kv, caller.account_id)
    member = Members(services.kv, account.id).get(caller.key.used_by)
    return Me(
        user=User(id=member.id, email=member.email, role=member.role),
        team=Team(
            id=account.id,
            name=account.name,
            plan=account.plan,
            credits=balance.spendable,
            maxConcurrentJobs=services.plans.applied(account).max_in_flight,
            customerId=None,
        ),
        apiKey=KeyInfo(
            id=caller.key.id,
            name=caller.key.name,
            prefix=caller.key.prefix,
            sandbox=caller.key.is_sandbox,
        ),
    )


@guarded.post("/uploads", status_code=201, dependencies=[WRITES])
def upload(file: UploadFile, caller: CallerOf, services: ServicesOf) -> UploadInfo:
    """Take a picture in, to be used as `image` within two hours."""
    data = file.file.read(MAX_UPLOAD_BYTES + 1)
    if len(data) > MAX_UPLOAD_BYTES:
        raise HTTPException(400, f"The file may have at most {MAX_UPLOAD_BYTES} bytes")
    taken = services.uploads.receive(caller.account_id, data)
    return UploadInfo(
        id=taken.id,
        url=taken.url,
        contentType=taken.content_type,
        byteSize=taken.size_bytes,
        expiresAt=iso_utc(taken.expires_at_ms),
    )


@open_to_all.get("/models")
def models(services: ServicesOf, modality: str | None = None) -> Models:
    """The models, what they cost, and which networks serve them here."""
    return Models(models=offered(services) if modality in (None, "image") else [])


# Last: a request is held to the routes in their order, and most are about jobs.
add_apiframe_quotes(guarded, dependencies=[WRITES])
add_apiframe_cancel(guarded, dependencies=[WRITES])
add_apiframe_delete(guarded, dependencies=[WRITES])
add_apiframe_events(guarded, dependencies=[READS])
add_delivery_list(guarded, dependencies=[READS])
add_deliveries(guarded, dependencies=[WRITES])
add_webhook_secrets(guarded, dependencies=[requires(Scope.ADMIN)])
add_statements(guarded, dependencies=[requires(Scope.BILLING)])
add_checkout(guarded, dependencies=[requires(Scope.BILLING)])
add_auto_topup(guarded, dependencies=[requires(Scope.BILLING)])
add_keys(guarded, dependencies=[requires(Scope.ADMIN)])
add_members(guarded, dependencies=[requires(Scope.ADMIN)])


def _webhook(url: str | None, events: list[Any] | None, services: Services) -> Webhook | None:
    if url is None:
        return None
    check_receiver(url, services, member="webhookUrl")
    return Webhook(url=url, events=tuple(events or ("completed", "failed")))


def _with_id(text: str, caller: Caller, services: Services) -> list[Job]:
    """The caller's job with that id, if there is one."""
    try:
        return [find_own_job(services.kv, caller.world, job_id=UUID(text))]
    except (ValueError, JobUnknown):
        return []


def _cursor_of(job_id: UUID) -> str:
    return base64.urlsafe_b64encode(job_id.bytes).decode().rstrip("=")


def _job_of_cursor(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(f"{cursor}=="))
    except (ValueError, binascii.Error):
        raise HTTPException(400, "Invalid cursor") from None
