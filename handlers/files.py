"""Our own file addresses, `/files/…`: results, uploads, and the filling of a reservation."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from starlette.exceptions import HTTPException

from handlers.apiframe_errors import ANSWERS
from handlers.auth import ServicesOf, guarded_route, services_of
from handlers.parts import create_part
from jobs.job import Job
from jobs.links import UPLOADS, job_of_result
from jobs.records import Kept, find_job
from jobs.retention import is_expired, result_expires_at_ms
from jobs.services import Services
from storage.objects import Objects, Stored, media_type

SIGNED_FOR_S = 600
CACHED_FOR_S = 3600


def let_in(request: Request) -> None:
    """Only a file that a place is reserved for comes in: of others, no byte is read."""
    services_of(request).uploads.check_reserved(request.path_params["name"])


served = APIRouter()
reserved = APIRouter(route_class=guarded_route(let_in))


def create_files(services: Services) -> FastAPI:
    """The app to be mounted at `/files`."""
    return create_part(services, served, reserved, answers=ANSWERS)


async def _body(request: Request) -> bytes:
    return await request.body()


@served.api_route("/{name:path}", methods=["GET", "HEAD"])
def get_file(name: str, request: Request, services: ServicesOf) -> Response:
    """The file, or a redirect to where the object store serves it; 410 once its time is over."""
    result = _served_result(name, services)
    kept_s = CACHED_FOR_S if result is None else left_s(result.job, services)
    if request.method == "HEAD":  # the store's addresses are signed for one method, which is GET
        return _described(services.objects, name, kept_s=kept_s)
    if result is not None:
        services.retention.note_fetched(result)
    address = services.objects.url(name, expires_in_s=min(SIGNED_FOR_S, kept_s))
    if address is not None:
        return RedirectResponse(address, 302)
    return streamed(services.objects, name, kept_s=kept_s)


@reserved.put("/{name:path}", status_code=204)
def put_file(
    name: str, request: Request, services: ServicesOf, data: Annotated[bytes, Depends(_body)]
) -> None:
    """Fill a reserved upload, to the byte. Whoever has the address may: it cannot be guessed."""
    content_type = request.headers.get("content-type", "")
    services.uploads.fill(name, data, content_type=content_type)


def left_s(job: Job, services: Services) -> int:
    """How many seconds a result is served yet, begun ones included."""
    return (result_expires_at_ms(job) - services.clock() + 999) // 1000


def streamed(objects: Objects, name: str, *, kept_s: int) -> StreamingResponse:
    """An object's bytes as an answer, to be cached that long at most; 404 if it is gone."""
    stored = objects.get(name)
    if stored is None:
        raise HTTPException(404, "No such file")
    headers = _headers(stored.size_bytes, kept_s=kept_s)
    return StreamingResponse(_chunks(stored), media_type=stored.content_type, headers=headers)


def _described(objects: Objects, name: str, *, kept_s: int) -> Response:
    size_bytes = objects.size_bytes(name)
    if size_bytes is None:
        raise HTTPException(404, "No such file")
    return Response(media_type=media_type(name), headers=_headers(size_bytes, kept_s=kept_s))


def _headers(size_bytes: int, *, kept_s: int) -> dict[str, str]:
    return {
        "Content-Length": str(size_bytes),
        "Cache-Control": f"private, max-age={min(CACHED_FOR_S, kept_s)}",
        "X-Content-Type-Options": "nosniff",
    }


def _chunks(stored: Stored) -> Iterator[bytes]:
    try:
        yield from stored.chunks
    finally:
        stored.chunks.close()


def _served_result(name: str, services: Services) -> Kept | None:
    """The job whose result it is, None of an upload; a 404 or 410 if it is not to be served."""
    if name.startswith(f"{UPLOADS}/"):
        if services.uploads.find(name) is None:
            raise HTTPException(404, "No such file, or its time is over")
        return None
    job_id = job_of_result(name)
    kept = None if job_id is None else find_job(services.kv, job_id)
    result = kept.job.result if kept else None
    if kept is None or result is None or result.object_name != name:
        raise HTTPException(404, "No such file")
    if is_expired(kept.job, now_ms=services.clock()):
        raise HTTPException(410, "This result's time is over, and it is gone")
    return kept
