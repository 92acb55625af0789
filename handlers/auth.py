"""Who is calling: the key in the header, in either dialect's spelling.

Keys are checked in the route class, ahead of FastAPI's own work, so that an unauthenticated request
learns nothing about its body, not even that it is not JSON.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from billing import keys
from billing.errors import KeyFormatInvalid, KeyUnknown
from billing.keys import Caller
from jobs.services import Services

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LetIn = Callable[[Request], None]
"""Authenticates and admits a request, leaving what it learnt in `request.state`; or raises."""


class KeyMissing(KeyUnknown):
    """API key is required"""


class AuthorizationMissing(KeyUnknown):
    """Missing Authorization header"""


class AuthorizationInvalid(KeyUnknown):
    """Invalid Authorization format"""


def guarded_route(let_in: LetIn) -> type[APIRoute]:
    """A route class whose requests are let in before anything else is looked at."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                await run_in_threadpool(let_in, request)
                return await handle(request)

            return guarded

    return GuardedRoute


def apiframe_caller(request: Request) -> Caller:
    """The caller by `X-API-Key: afk_<body>`."""
    presented = request.headers.get("x-api-key", "").strip()
    if not presented:
        raise KeyMissing
    if not presented.startswith("afk_"):
        raise KeyFormatInvalid
    return keys.authenticate(services_of(request).kv, presented.removeprefix("afk_"))


def vicsee_caller(request: Request) -> Caller:
    """The caller by `Authorization: Bearer sk-<body>`."""
    header = request.headers.get("authorization", "").strip()
    if not header:
        raise AuthorizationMissing
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AuthorizationInvalid
    if not token.strip().startswith("sk-"):
        raise KeyFormatInvalid
    return keys.authenticate(services_of(request).kv, token.strip().removeprefix("sk-"))


def services_of(request: Request) -> Services:
    """The services of the app that serves the request."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    # A coroutine, so that FastAPI does not send such a trifle to its thread pool.
    return services_of(request)


async def caller_of(request: Request) -> Caller:
    """The caller whom the route class has let in; a FastAPI dependency."""
    caller: Caller = request.state.caller
    return caller


CallerOf = Annotated[Caller, Depends(caller_of)]
ServicesOf = Annotated[Services, Depends(_services)]
