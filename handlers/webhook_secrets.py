"""The account's webhook secret, under `/v2/webhooks/secret`: seen, and replaced without a gap."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from billing.accounts import Account, find_account, live_webhook_secrets
from handlers.auth import CallerOf, ServicesOf
from jobs.ids import iso_utc
from jobs.webhook_secrets import MAX_GRACE_HOURS, USUAL_GRACE_HOURS, rotate_webhook_secret


class SecretRotation(BaseModel):
    """The body of a rotation; it may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    graceHours: Annotated[int, Field(ge=0, le=MAX_GRACE_HOURS)] = USUAL_GRACE_HOURS


class OlderSecret(BaseModel):
    """The secret before the present one, which signs as well for a while."""

    secret: str
    expiresAt: str


class SecretInfo(BaseModel):
    """What verifies `webhook-signature`."""

    secret: str
    older: OlderSecret | None


def add_webhook_secrets(router: APIRouter, **options: Any) -> None:
    """Add the routes."""
    router.get("/webhooks/secret", **options)(seen)
    router.post("/webhooks/secret/rotate", **options)(rotated)


def seen(caller: CallerOf, services: ServicesOf, response: Response) -> SecretInfo:
    """The secret that webhooks are signed with, and the one before it while it signs too."""
    account, _ = find_account(services.kv, caller.account_id)
    return _told(account, response, now_ms=services.clock())


def rotated(
    caller: CallerOf,
    services: ServicesOf,
    response: Response,
    body: SecretRotation | None = None,
) -> SecretInfo:
    """Make a new secret. For `graceHours` each webhook has a signature by either.

    During that time there is no third one: another rotation is a 409, but for one without grace,
    which ends every older secret at once.
    """
    said, now_ms = body or SecretRotation(), services.clock()
    account = rotate_webhook_secret(
        services.kv, caller.account_id, grace_hours=said.graceHours, now_ms=now_ms
    )
    return _told(account, response, now_ms=now_ms)


def shown_secrets(account: Account, *, now_ms: int) -> SecretInfo:
    """An account's secrets that sign now."""
    _, *older = live_webhook_secrets(account, now_ms=now_ms)
    until = iso_utc(account.older_webhook_secret_until_ms)
    return SecretInfo(
        secret=account.webhook_secret,
        older=OlderSecret(secret=older[0], expiresAt=until) if older else None,
    )


def _told(account: Account, response: Response, *, now_ms: int) -> SecretInfo:
    response.headers["Cache-Control"] = "no-store"
    return shown_secrets(account, now_ms=now_ms)
