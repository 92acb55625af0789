"""The web app: both dialects, the files, and what holds for every request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from handlers.apiframe import create_apiframe
from handlers.apiframe_errors import ANSWERS
from handlers.files import create_files
from handlers.health import health_routes
from handlers.limits import BodyLimit, RequestId
from handlers.metrics import metrics_routes
from handlers.parts import create_part
from handlers.stripe_events import stripe_events
from handlers.vicsee import create_vicsee
from jobs.services import MAX_FETCHES, Services

MAX_BODY_BYTES = 26 * 1024 * 1024
"""An upload of 25 MB with its multipart frame; JSON with a 10 MB `data:` URI is smaller."""

THREADS = 2 * MAX_FETCHES
"""Handlers run in threads. However slow the sources, half of them are left for everything else."""


def create_app(services: Services, *, metrics_token: str | None = None) -> FastAPI:
    """The whole app over `services`; `/metrics` is there if it has a token."""
    routes = [health_routes(services), stripe_events]
    if metrics_token is not None:
        routes.append(metrics_routes(services.metrics, token=metrics_token))
    app = create_part(services, *routes, answers=ANSWERS, lifespan=_with_threads)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(RequestId)
    app.mount("/v2", create_apiframe(services))
    app.mount("/api/v1", create_vicsee(services))
    app.mount("/files", create_files(services))
    return app


@asynccontextmanager
async def _with_threads(_: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield
