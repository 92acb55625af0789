"""What every app has in common: the whole one and those that it mounts."""

from fastapi import APIRouter, FastAPI
from starlette.types import Lifespan

from handlers.errors import Answers
from jobs.services import Services

OPENAPI = "/openapi.json"


def create_part(
    services: Services,
    *routers: APIRouter,
    answers: Answers,
    title: str = "Enlarger",
    version: str = "1",
    openapi_url: str | None = None,
    lifespan: Lifespan[FastAPI] | None = None,
) -> FastAPI:
    """An app over `services` that has no pages and takes every body for JSON."""
    app = FastAPI(
        title=title,
        version=version,
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        exception_handlers=answers,
        lifespan=lifespan,
    )
    app.state.services = services
    for router in routers:
        app.include_router(router)
    return app
