"""The web app: both dialects, the files, and what holds for every request."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from handlers.apiframe import create_apiframe
from handlers.errors import ROOTS, refusal_of
from handlers.files import files
from handlers.limits import BodyLimit, RequestId
from handlers.vicsee import create_vicsee
from jobs.services import Services

MAX_BODY_BYTES = 26 * 1024 * 1024
"""An upload of 25 MB with its multipart frame; JSON with a 10 MB `data:` URI is smaller."""


def create_app(services: Services) -> FastAPI:
    """The whole app over `services`."""
    app = FastAPI(title="Enlarger", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.services = services
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(RequestId)
    app.mount("/v2", create_apiframe(services))
    app.mount("/api/v1", create_vicsee(services))
    app.include_router(files)
    app.add_api_route("/healthz", _healthy, include_in_schema=False)
    app.add_exception_handler(RequestValidationError, _http_error)
    app.add_exception_handler(HTTPException, _http_error)
    for root in ROOTS:
        app.add_exception_handler(root, _refused)
    return app


async def _healthy() -> dict[str, Any]:
    """The process serves."""
    return {"status": "ok"}


async def _refused(_: Request, error: Exception) -> Response:
    refusal = refusal_of(error)
    return JSONResponse({"error": refusal.apiframe_message or str(error)}, refusal.apiframe)


async def _http_error(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
    return JSONResponse({"error": "Validation error"}, 400)
