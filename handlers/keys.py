"""Keys over HTTP: the routes under `/v2/keys`, by which an account's keys manage each other."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError

from billing.caps import Caps
from billing.key_use import last_used_day
from billing.keyring import MAX_KEYS, Keyring
from billing.keys import SANDBOX_SCOPES, ApiKey, Caller, Powers, Scope
from handlers import key_wire as wire
from handlers.auth import CallerOf, ServicesOf
from jobs.services import Services


def add_keys(router: APIRouter, **options: Any) -> None:
    """Add the routes."""
    router.get("/keys", **options)(list_keys)
    router.post("/keys", status_code=201, **options)(create_key)
    router.patch("/keys/{key_id}", **options)(edit_key)
    router.post("/keys/{key_id}/rotate", status_code=201, **options)(rotate_key)
    router.delete("/keys/{key_id}", status_code=204, **options)(revoke_key)


def list_keys(
    caller: CallerOf,
    services: ServicesOf,
    *,
    limit: Annotated[int, Query(ge=1, le=MAX_KEYS)] = 20,
    cursor: Annotated[str | None, Query(pattern=r"^key_[0-9a-f]{16}$")] = None,
) -> wire.KeyPage:
    """The account's keys, those that are over included, in the order of their ids.

    `lastUsedOn` is a day of UTC.
    """
    found = _keyring(caller, services).page(after=cursor, limit=limit + 1)
    has_more = len(found) > limit
    return wire.KeyPage(
        keys=[_shown(key, services) for key in found[:limit]],
        nextCursor=found[limit - 1].id if has_more else None,
        hasMore=has_more,
    )


def create_key(
    body: wire.KeyWished, caller: CallerOf, services: ServicesOf, response: Response
) -> wire.NewKey:
    """Make a key. What opens anything is in this answer, and never shown again.

    A key cannot give what it has not: a scope that it lacks is refused, and if it expires, so does
    the new one by then. A `sandbox` key's jobs cost nothing and are nobody else's business; it can
    have the scopes `jobs:write` and `jobs:read` alone.
    """
    now_ms = services.clock()
    if body.scopes is not None:
        scopes = tuple(dict.fromkeys(body.scopes))
    else:
        givable = SANDBOX_SCOPES if body.sandbox else set(Scope) - {Scope.ADMIN}
        scopes = tuple(scope for scope in caller.key.scopes if scope in givable)
    if not scopes:
        raise _invalid("scopes", "This key has none to give: name those of the new one")
    caps = Caps() if body.caps is None else Caps(**body.caps.changes)
    powers = Powers(scopes, caps, _in_future(body.expiresAt, now_ms=now_ms), body.sandbox)
    issued = _keyring(caller, services).create(
        body.name, now_ms=now_ms, powers=powers, member_id=body.memberId
    )
    _keep_out_of_caches(response)
    return wire.shown_once(issued, now_ms=now_ms)


def edit_key(
    key_id: str, body: wire.KeyEdit, caller: CallerOf, services: ServicesOf
) -> wire.KeyShown:
    """Rename, cap, pause or resume a key, in force with the next request.

    Of the caps, those that are named change; null lifts one.
    """
    return _shown(_keyring(caller, services).edit(key_id, body.edit), services)


def rotate_key(
    key_id: str,
    caller: CallerOf,
    services: ServicesOf,
    response: Response,
    body: wire.Rotation | None = None,
) -> wire.NewKey:
    """Replace a key by one of the same name, scopes and caps; the answer has the new one.

    The old one works on for `graceSeconds`, or until it is revoked.
    """
    said, now_ms = body or wire.Rotation(), services.clock()
    replacement = _keyring(caller, services).rotate(
        key_id,
        now_ms=now_ms,
        grace_ms=said.graceSeconds * 1000,
        expires_at_ms=_in_future(said.expiresAt, now_ms=now_ms),
    )
    _keep_out_of_caches(response)
    return wire.shown_once(replacement.issued, now_ms=now_ms)


def revoke_key(key_id: str, caller: CallerOf, services: ServicesOf) -> None:
    """Take a key out of use for good, from the next request on. Repeating it changes nothing."""
    _keyring(caller, services).revoke(key_id)


def _keyring(caller: Caller, services: Services) -> Keyring:
    return Keyring(services.kv, caller.account_id, by=caller)


def _shown(key: ApiKey, services: Services) -> wire.KeyShown:
    used = last_used_day(services.kv, key.id)
    return wire.shown(key, now_ms=services.clock(), last_used_day=used)


def _in_future(at_ms: int | None, *, now_ms: int) -> int | None:
    if at_ms is not None and at_ms <= now_ms:
        raise _invalid("expiresAt", "This time has passed")
    return at_ms


def _keep_out_of_caches(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"


def _invalid(member: str, message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", member), "msg": message}]
    )
