"""Refusals in the VicSee dialect's envelope."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billing.errors import InsufficientCredits, RateLimited
from handlers.errors import ROOTS, BodyTooLarge, refusal_of, retry_after
from handlers.vicsee_wire import ErrorBody, Failed
from jobs.ids import iso_utc

_INVALID_JSON = ("INVALID_JSON", "Invalid JSON body")
_INVALID = {
    "model": ("INVALID_MODEL", "Invalid model"),
    "input": ("MISSING_IMAGE_URL", "image_url not provided"),
    "image_url": ("MISSING_IMAGE_URL", "image_url not provided"),
    "upscale_factor": ("INVALID_UPSCALE_FACTOR", "upscale_factor must be 1, 2, 4 or 8"),
    "contentType": ("INVALID_UPLOAD", "contentType must be image/jpeg, image/png or image/webp"),
    "sizeBytes": ("INVALID_UPLOAD", "sizeBytes must be from 1 to 20971520"),
    "mode": ("INVALID_MODE", "mode must be url or proxy"),
}
"""Code and message by member, in the order in which the contract checks them."""

_HTTP_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def answer_errors(app: FastAPI) -> None:
    """Have every error of an app answered in the envelope."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    for root in ROOTS:
        app.add_exception_handler(root, _refused)


async def _invalid(_: Request, error: Exception) -> Response:
    """The first problem, in the contract's order, by its code."""
    assert isinstance(error, RequestValidationError)
    problems = {problem["loc"][-1]: problem for problem in error.errors()}
    refused = next((member for member in _INVALID if member in problems), None)
    if refused is None:
        return _failure(400, *_INVALID_JSON)
    if refused == "model" and problems["model"]["type"] == "missing":
        return _failure(400, "MISSING_MODEL", "model is required")
    return _failure(400, *_INVALID[refused])


async def _refused(request: Request, error: Exception) -> Response:
    refusal = refusal_of(error)
    headers = retry_after(error, refusal.vicsee, clock=request.app.state.services.clock)
    message = refusal.vicsee_message or _message(error)
    return _failure(refusal.vicsee, refusal.code, message, headers=headers)


def _message(error: Exception) -> str:
    if isinstance(error, InsufficientCredits):
        return f"Insufficient credits. Required: {error.required}, Available: {error.available}"
    if isinstance(error, RateLimited):
        reset = iso_utc(error.resets_at_ms)
        return f"Rate limit exceeded. Limit: {error.limit}/day. Resets at: {reset}"
    return str(error)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyTooLarge):
        return _failure(400, "BODY_TOO_LARGE", error.detail)
    if error.status_code == 400:  # FastAPI and `handlers.idempotency` say so of a bad body
        return _failure(400, *_INVALID_JSON)
    code = _HTTP_CODES.get(error.status_code, "INTERNAL_ERROR")
    return _failure(error.status_code, code, error.detail, headers=error.headers)


async def _internal_error(_: Request, error: Exception) -> Response:  # noqa: ARG001, it is logged
    return _failure(500, "INTERNAL_ERROR", "Internal server error")


def _failure(status: int, code: str, message: str, *, headers: Any = None) -> JSONResponse:
    body = Failed(error=ErrorBody(code=code, message=message))
    return JSONResponse(body.model_dump(), status, headers=headers)
