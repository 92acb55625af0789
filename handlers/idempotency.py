"""The `Idempotency-Key` header: its scope, its syntax, and the fingerprint of what came with it."""

import hashlib
import json

from fastapi import Request
from starlette.exceptions import HTTPException

from jobs.errors import IdempotencyKeyInvalid
from jobs.submission import RequestName

MAX_KEY_CHARS = 255


async def request_name(request: Request) -> RequestName | None:
    """The request's name in its account, or None if it carries no key.

    A key may be quoted (as the IETF draft has it) or bare, of printable ASCII. Its scope is the
    method and the path; the fingerprint is that of the JSON as received, in canonical form, so
    neither spacing nor the order of members matters.
    """
    header = request.headers.get("idempotency-key")
    if header is None:
        return None
    key = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header
    if not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        raise IdempotencyKeyInvalid
    return RequestName(
        name=f"{request.method} {request.url.path}#{key}",
        fingerprint=fingerprint(await request.body()),
    )


def fingerprint(body: bytes) -> str:
    """The SHA-256 of a JSON body's canonical form."""
    try:
        canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "Invalid JSON body") from error
    return hashlib.sha256(canonical.encode()).hexdigest()
