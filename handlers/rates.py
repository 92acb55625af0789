"""How fast a key may ask, in either dialect: the count, and the header fields that tell of it.

The fields are those of the IETF's draft `draft-ietf-httpapi-ratelimit-headers`.
"""

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing.accounts import find_account
from billing.errors import TooManyRequests
from billing.keys import Caller
from billing.rates import MINUTE_MS, Rate
from handlers.auth import services_of

POLICY = "key"
"""The policy's name in the header fields."""


def count_request(request: Request, caller: Caller) -> None:
    """Count a request of a key; raises `TooManyRequests` if it comes too fast."""
    services = services_of(request)

    def limit_of() -> int | None:
        account, _ = find_account(services.kv, caller.account_id)
        return services.plans.of(account).requests_per_minute

    try:
        request.state.rate = services.rates.count(caller.key.id, limit_of)
    except TooManyRequests as refusal:
        request.state.rate = Rate(refusal.limit, 0, refusal.resets_in_s)
        raise


class RateFields:
    """Tells a key's rate on every answer to it, if its plan limits that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})

        async def told(message: Message) -> None:
            rate: Rate | None = state.get("rate")
            if message["type"] == "http.response.start" and rate is not None:
                headers = MutableHeaders(scope=message)
                window_s = MINUTE_MS // 1000
                headers["RateLimit-Policy"] = f'"{POLICY}";q={rate.limit};w={window_s}'
                headers["RateLimit"] = f'"{POLICY}";r={rate.remaining};t={rate.resets_in_s}'
            await send(message)

        await self._app(scope, receive, told)
