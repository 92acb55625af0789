"""What holds for every request, in either dialect: its id, and the limits to what it may say."""

import logging
import uuid
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.errors import BodyTooLarge
from jobs import subject

log = logging.getLogger(__name__)

MAX_IMAGE_CHARS = 14 * 1024 * 1024
"""Of the address of a picture, in either dialect: a `data:` URI of 10 MB fits, with its head."""


class RequestId:
    """Gives every answer an `x-request-id`, and logs it with the answers that are our fault.

    All that is logged on the way to the answer is about that request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = uuid.uuid4().hex
        if scope["type"] == "http":
            # Never reset: a server gives each request a context of its own, and logs in it later.
            subject.request_id.set(request_id)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
                status = message["status"]
                if status >= 500:
                    path = quote(scope["path"], errors="replace")  # without line ends, for one
                    log.error("%s %s: %d, request %s", scope["method"], path, status, request_id)
            await send(message)

        await self._app(scope, receive, named)


class BodyLimit:
    """Refuses a body of more than `max_bytes` as soon as it is known to be longer.

    The refusal is raised to whoever reads the body, so that it is answered in the dialect's shape
    (Starlette's own limit answers in plain text).
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = _content_length(scope)
        received = 0

        async def limited() -> Message:
            nonlocal received
            if declared > self._max_bytes:
                raise BodyTooLarge(self._max_bytes)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise BodyTooLarge(self._max_bytes)
            return message

        await self._app(scope, limited, send)


def _content_length(scope: Scope) -> int:
    for name, value in scope.get("headers", ()):
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
