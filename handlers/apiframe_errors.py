"""Refusals in the Apiframe dialect's shape, which the file addresses share."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billing.errors import InsufficientCredits
from handlers.errors import ROOTS, refusal_of, retry_after
from inference.catalogue import MODELS

MAX_PROBLEMS = 20
"""How many of a request's problems are told."""

MAX_PATH_CHARS = 200


def answer_errors(app: FastAPI) -> None:
    """Have every error of an app answered as `{"error": "…"}`."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    for root in ROOTS:
        app.add_exception_handler(root, _refused)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return JSONResponse({"error": "Invalid JSON body"}, 400)
    details: dict[str, list[str]] = {}
    for problem in problems[:MAX_PROBLEMS]:
        details.setdefault(_path(problem), []).append(problem["msg"])
    return JSONResponse({"error": "Validation error", "details": details}, 400)


def _path(problem: Mapping[str, Any]) -> str:
    """Where the problem is, dotted. The union's tag is no part of the path, unless it is wrong."""
    if problem["type"].startswith("union_tag"):
        return "model"
    place, *path = problem["loc"]
    if path and path[0] in MODELS:
        del path[0]
    return ".".join(map(str, path))[:MAX_PATH_CHARS] or str(place)


async def _refused(request: Request, error: Exception) -> Response:
    refusal = refusal_of(error)
    body: dict[str, Any] = {"error": refusal.apiframe_message or str(error)}
    if isinstance(error, InsufficientCredits):
        body |= {"creditsRequired": error.required, "creditsAvailable": error.available}
    headers = retry_after(error, refusal.apiframe, clock=request.app.state.services.clock)
    return JSONResponse(body, refusal.apiframe, headers=headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _internal_error(_: Request, error: Exception) -> Response:  # noqa: ARG001, it is logged
    return JSONResponse({"error": "Internal server error"}, 500)
