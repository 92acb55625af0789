"""Refusals in the VicSee dialect's envelope."""

from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billing.errors import CreditsOwed, InsufficientCredits, OverMaxCredits, RateLimited
from handlers.errors import ROOTS, Answers, BodyTooLarge, refusal_of, retry_after
from handlers.vicsee_wire import MAX_UPLOAD_BYTES, ErrorBody, Failed
from jobs.ids import iso_utc
from jobs.retention import MAX_RETENTION_DAYS

_INVALID_JSON = ("INVALID_JSON", "Invalid JSON body")
_DIMENSIONS = "width and height go together, from 1 to 1,000,000, in the place of image_url"
_INVALID = {
    "model": ("INVALID_MODEL", "Invalid model"),
    "input": ("MISSING_IMAGE_URL", "image_url not provided"),
    "image_url": ("MISSING_IMAGE_URL", "image_url not provided"),
    "upscale_factor": ("INVALID_UPSCALE_FACTOR", "upscale_factor must be 1, 2, 4 or 8"),
    "width": ("INVALID_DIMENSIONS", _DIMENSIONS),
    "height": ("INVALID_DIMENSIONS", _DIMENSIONS),
    "format": (
        "INVALID_FORMAT",
        "format must be jpg, png, webp or tiff, and goes with width and height",
    ),
    "max_credits": (
        "INVALID_MAX_CREDITS",
        "max_credits must be a whole number of at least 1",
    ),
    "retention_days": (
        "INVALID_RETENTION_DAYS",
        f"retention_days must be a whole number from 0 to {MAX_RETENTION_DAYS}",
    ),
    "contentType": (
        "INVALID_UPLOAD",
        "contentType must be image/jpeg, image/png, image/webp or image/tiff",
    ),
    "sizeBytes": ("INVALID_UPLOAD", f"sizeBytes must be from 1 to {MAX_UPLOAD_BYTES}"),
    "mode": ("INVALID_MODE", "mode must be url or proxy"),
}
"""Code and message by member, in the order in which they are checked; unknown members come last."""

MAX_MEMBER_CHARS = 200

_HTTP_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


async def _invalid(_: Request, error: Exception) -> Response:
    """The first problem, in the contract's order, by its code."""
    assert isinstance(error, RequestValidationError)
    problems: dict[Any, Any] = {}
    unknown: list[str] = []
    for problem in error.errors():
        member = problem["loc"][-1]
        if problem["type"] == "extra_forbidden":
            unknown.append(member)
        else:
            problems[member] = problem
    refused = next((member for member in _INVALID if member in problems), None)
    if refused is None and unknown:
        return _failure(400, "INVALID_FIELD", f"Unknown field: {unknown[0][:MAX_MEMBER_CHARS]}")
    if refused is None:
        return _failure(400, *_INVALID_JSON)
    if refused == "model" and problems["model"]["type"] == "missing":
        return _failure(400, "MISSING_MODEL", "model is required")
    return _failure(400, *_INVALID[refused])


async def _refused(request: Request, error: Exception) -> Response:
    status = refusal_of(error).vicsee
    headers = retry_after(error, status, clock=request.app.state.services.clock)
    return JSONResponse(Failed(error=told(error)).model_dump(), status, headers=headers)


def told(error: Exception) -> ErrorBody:
    """A refusal by its code and in words."""
    refusal = refusal_of(error)
    return ErrorBody(code=refusal.code, message=refusal.vicsee_message or _message(error))


def _message(error: Exception) -> str:
    if isinstance(error, InsufficientCredits) and not isinstance(error, CreditsOwed):
        return f"Insufficient credits. Required: {error.required}, Available: {error.available}"
    if isinstance(error, OverMaxCredits):
        return f"This task costs {error.required} credits; max_credits allows {error.most}"
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


ANSWERS: Answers = {
    RequestValidationError: _invalid,
    HTTPException: _http_error,
    Exception: _internal_error,
    **dict.fromkeys(ROOTS, _refused),
}
"""An app's `exception_handlers`: every error is answered in the envelope."""
