"""Stripe's events, at `/stripe/events`: heard once their signature is right."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request

from handlers.auth import ServicesOf
from handlers.checkout import payments_of
from handlers.errors import BodyTooLarge

MAX_EVENT_BYTES = 1024 * 1024

stripe_events = APIRouter()


async def _raw(request: Request) -> bytes:
    """The body as it was sent, for that is what was signed."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_EVENT_BYTES:
            raise BodyTooLarge(MAX_EVENT_BYTES)
    return bytes(body)


@stripe_events.post("/stripe/events")
def hear(
    body: Annotated[bytes, Depends(_raw)],
    services: ServicesOf,
    stripe_signature: Annotated[str | None, Header()] = None,
) -> dict[str, bool]:
    """Take an event in. Any answer but this one has Stripe send it again."""
    payments_of(services).hear(body, stripe_signature)
    return {"received": True}
