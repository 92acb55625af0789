"""Who is calling: the key in the header, in either dialect's spelling.

Keys are checked in the route class, ahead of FastAPI's own work, so that an unauthenticated request
learns nothing about its body, not even that it is not JSON.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response, params
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from billing import keys
from billing.errors import KeyFormatInvalid, KeyUnknown, ScopeMissing
from billing.keys import Caller, Scope
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


class _Requirement:
    """The dependency that raises `ScopeMissing` if the caller's key lacks the scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> None:
        caller: Caller = request.state.caller
        if not caller.key.may(self.scope):
            raise ScopeMissing(self.scope)


def requires(scope: Scope) -> params.Depends:
    """What a guarded route says in its `dependencies` if it is for keys with that scope only."""
    return params.Depends(_Requirement(scope))


def required_scopes(route: APIRoute) -> list[Scope]:
    """The scopes that a route has been said to require."""
    return [requirement.scope for requirement in _requirements(route)]


def _requirements(route: APIRoute) -> list[_Requirement]:
    asked = [dependency.dependency for dependency in route.dependencies]
    return [each for each in asked if isinstance(each, _Requirement)]


def guarded_route(let_in: LetIn) -> type[APIRoute]:
    """A route class whose requests are let in before anything else is looked at.

    So are the scopes that a route `requires`: FastAPI would read the body before it asks for them.
    """

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()
            requirements = _requirements(self)

            async def guarded(request: Request) -> Response:
                await run_in_threadpool(let_in, request)
                for requirement in requirements:
                    await requirement(request)
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
    return _caller(request, presented.removeprefix("afk_"))


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
    return _caller(request, token.strip().removeprefix("sk-"))


def _caller(request: Request, body: str) -> Caller:
    services = services_of(request)
    caller = keys.authenticate(services.kv, body, now_ms=services.clock())
    services.key_use.note(caller.key.id)
    return caller


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
