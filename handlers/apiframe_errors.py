"""Refusals in the Apiframe dialect's shape, which the file addresses share."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billing.errors import InsufficientCredits
from handlers.errors import ROOTS, Answers, refusal_of, retry_after
from inference.catalogue import MODELS

MAX_PROBLEMS = 20
"""How many of a request's problems are told."""

MAX_PATH_CHARS = 200

_NO_OBJECT = frozenset({"missing", "model_attributes_type"})
_WORDS = {
    "model_attributes_type": "Input should be an object",
    "extra_forbidden": "There is no such field here",
    "int_parsing": "Input should be a valid integer",
    "too_short": "List should have at least 1 item",
}
_PATTERNS = {
    "image": "Input should be an http or https address, or a data: URI of a picture",
    "from": "Input should be a day, as 2026-11-21",
    "to": "Input should be a day, as 2026-11-21",
    "email": "Input should be an e-mail address, as ada@example.org",
    "name": "Input should have no control characters",
    "cursor": "Input should be the nextCursor of the page before",
}


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return JSONResponse({"error": "Invalid JSON body"}, 400)
    details: dict[str, list[str]] = {}
    for problem in problems[:MAX_PROBLEMS]:
        details.setdefault(_path(problem), []).append(_words(problem))
    return JSONResponse({"error": "Validation error", "details": details}, 400)


def _words(problem: Mapping[str, Any]) -> str:
    """What is wrong, in the words of whoever sent it: of JSON, not of what checks it."""
    kind, path = problem["type"], problem["loc"]
    if kind.startswith("union_tag"):
        return f"model is one of {', '.join(MODELS)}"
    if kind in _NO_OBJECT and path == ("body",):
        return "The body must be a JSON object, sent as Content-Type: application/json"
    if kind == "string_pattern_mismatch" and path[-1] in _PATTERNS:
        return _PATTERNS[path[-1]]
    if "UploadFile" in problem["msg"]:
        return "Input should be a file"
    said: str = _WORDS.get(kind, problem["msg"])
    return said.removeprefix("Value error, ")


def _path(problem: Mapping[str, Any]) -> str:
    """Where the problem is, dotted. The union's tag is no part of the path, unless it is wrong."""
    if problem["type"].startswith("union_tag"):
        return "model"
    place, *path = problem["loc"]
    if path and path[0] in MODELS:
        del path[0]
    return ".".join(map(str, path))[:MAX_PATH_CHARS] or str(place)


async def _refused(request: Request, error: Exception) -> Response:
    status = refusal_of(error).apiframe
    body: dict[str, Any] = {"error": told(error)}
    if isinstance(error, InsufficientCredits):
        body |= {"creditsRequired": error.required, "creditsAvailable": error.available}
    headers = retry_after(error, status, clock=request.app.state.services.clock)
    return JSONResponse(body, status, headers=headers)


def told(error: Exception) -> str:
    """A refusal in words."""
    return refusal_of(error).apiframe_message or str(error)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _internal_error(_: Request, error: Exception) -> Response:  # noqa: ARG001, it is logged
    return JSONResponse({"error": "Internal server error"}, 500)


ANSWERS: Answers = {
    RequestValidationError: _invalid,
    HTTPException: _http_error,
    Exception: _internal_error,
    **dict.fromkeys(ROOTS, _refused),
}
"""An app's `exception_handlers`: every error is answered as `{"error": "…"}`."""
