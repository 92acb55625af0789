"""The `Idempotency-Key` header: its scope, its syntax, and how a replay is recognised and told."""

import hashlib
import json

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from jobs.errors import IdempotencyKeyInvalid
from jobs.submission import Accepted, RequestName

MAX_KEY_CHARS = 255
REPLAYED = "Idempotent-Replayed"


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


def tell_replay(accepted: Accepted, response: Response) -> None:
    """Say so in a header if the job is that of an earlier request; otherwise there is none."""
    if accepted.is_replay:
        response.headers[REPLAYED] = "true"


def fingerprint(body: bytes) -> str:
    """The SHA-256 of a JSON body's canonical form."""
    try:
        canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "Invalid JSON body") from error
    return hashlib.sha256(canonical.encode()).hexdigest()
