"""The `Idempotency-Key` header: its scope, its syntax, and how a replay is recognised and told."""

import hashlib
import json
import re

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from jobs.errors import IdempotencyKeyInvalid
from jobs.submission import Accepted, RequestName
from storage.kv import MAX_INTEGER

MAX_KEY_CHARS = 255
REPLAYED = "Idempotent-Replayed"

_ESCAPED = re.compile(r'\\(["\\])')


async def request_name(request: Request) -> RequestName | None:
    """The request's name in its account, or None if it carries no key.

    Its scope is the method and the path; the fingerprint is that of the JSON as received, in
    canonical form.
    """
    headers = request.headers.getlist("idempotency-key")
    if not headers:
        return None
    if len(headers) > 1:  # which of them is meant nobody can say
        raise IdempotencyKeyInvalid
    return RequestName(
        name=f"{request.method} {request.url.path}#{_key(headers[0])}",
        fingerprint=fingerprint(await request.body()),
    )


def tell_replay(accepted: Accepted, response: Response) -> None:
    """Say so in a header if the job is that of an earlier request; otherwise there is none."""
    if accepted.is_replay:
        response.headers[REPLAYED] = "true"


def fingerprint(body: bytes) -> str:
    """The SHA-256 of a JSON body's canonical form.

    Two bodies have the same one if they mean the same: whatever the spacing, the order of members,
    the way that characters are escaped, and whether a whole number is written 2, 2.0 or 2e0.
    """
    try:
        said = json.loads(body, parse_float=_number)
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "Invalid JSON body") from error
    return hashlib.sha256(canonical.encode()).hexdigest()


def _key(header: str) -> str:
    """The key, which may be quoted, as the IETF's draft has it, or bare; printable ASCII."""
    key = header
    if len(header) > 1 and header[0] == header[-1] == '"':
        key = _ESCAPED.sub(r"\1", header[1:-1])
    if not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        raise IdempotencyKeyInvalid
    return key


def _number(text: str) -> float | int:
    number = float(text)
    is_whole = number.is_integer() and abs(number) <= MAX_INTEGER
    return int(number) if is_whole else number
