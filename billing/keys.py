"""API keys: one body in two spellings, of which only the SHA-256 is kept.

A body is 24 random base-62 characters (142 bits) and six more that encode the CRC-32 of those, so
that a mistyped key is told from an unknown one without a look-up. Apiframe's clients send
`afk_<body>`, VicSee's `sk-<body>`. The digest is that of the `afk_` spelling, because it is also
what signs Apiframe's webhooks. A sandbox key's body begins with `test_`, so that anybody who sees
one knows that it spends nothing.
"""

import hashlib
import re
import secrets
import string
import zlib
from enum import StrEnum
from typing import NamedTuple

from billing.caps import Caps
from billing.errors import KeyExpired, KeyFormatInvalid, KeyInactive, KeyUnknown
from storage.kv import MAX_PAGE, Check, Item, Key, KeyValue, Put
from storage.record import Record

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARS = 24
_CHECKSUM_CHARS = 6
_SHOWN_CHARS = 4
_SANDBOX = "test_"
_ID = re.compile(r"key_[0-9a-f]{16}")


class KeyState(StrEnum):
    """What a key may do: everything, nothing for now, nothing for good."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    REVOKED = "revoked"


class Scope(StrEnum):
    """What a key may be used for; every key may ask whose it is."""

    JOBS_WRITE = "jobs:write"
    JOBS_READ = "jobs:read"
    BILLING = "billing"
    ADMIN = "admin"


EVERY_SCOPE = tuple(Scope)
"""What an account's first key has: it is the owner's, and without it nobody but the operator could
make the others."""

USUAL_SCOPES = (Scope.JOBS_WRITE, Scope.JOBS_READ, Scope.BILLING)
"""What keys could do before there were scopes, and what a key has for which none are named."""

SANDBOX_SCOPES = (Scope.JOBS_WRITE, Scope.JOBS_READ)
"""All that a sandbox key can have: money and keys are not there to be tried out."""


class ApiKey(Record):
    """A key as stored, under its digest. `prefix` is what may be shown again.

    From `expires_at_ms` on it is refused. `replaced_by` is the id of the key that follows it;
    `capped_as` that of the first key that it follows, with which it shares what its caps count.
    A sandbox key's jobs cost nothing, and it knows no others. `member_id` is None for a key of who
    opened the account.
    """

    id: str
    account_id: str
    name: str
    prefix: str
    state: KeyState = KeyState.ACTIVE
    created_at_ms: int
    scopes: tuple[Scope, ...] = USUAL_SCOPES
    caps: Caps = Caps()
    expires_at_ms: int | None = None
    replaced_by: str | None = None
    capped_as: str | None = None
    is_sandbox: bool = False
    member_id: str | None = None

    @property
    def used_by(self) -> str:
        """The id of the member whose it is: without another, of who opened the account."""
        return self.member_id or self.account_id

    def may(self, scope: Scope) -> bool:
        """Whether the key has that scope."""
        return scope in self.scopes

    def is_expired(self, *, now_ms: int) -> bool:
        """Whether its time is over."""
        return self.expires_at_ms is not None and now_ms >= self.expires_at_ms

    def is_over(self, *, now_ms: int) -> bool:
        """Whether it is refused for good."""
        return self.state is KeyState.REVOKED or self.is_expired(now_ms=now_ms)


class Powers(NamedTuple):
    """What a key is for: what it may do, what it may spend, until when, and in which world."""

    scopes: tuple[Scope, ...] = USUAL_SCOPES
    caps: Caps = Caps()
    expires_at_ms: int | None = None
    is_sandbox: bool = False


class Caller(NamedTuple):
    """Who is calling: an active key as read, good for a `Check` in the commit that spends."""

    account_id: str
    key_sha256: str
    key: ApiKey
    key_version: int

    @property
    def world(self) -> str:
        """Whose jobs it knows: the account's, or those of the account's sandbox."""
        return world_of(self.account_id, is_sandbox=self.key.is_sandbox)

    def still_active(self) -> Check:
        """The condition that the key has not changed since the request was let in.

        Its time may have run out meanwhile: that is no worse than a request a moment earlier.
        """
        return Check(key_key(self.key_sha256), version=self.key_version)


def world_of(account_id: str, *, is_sandbox: bool) -> str:
    """What an account's jobs are kept under; its sandbox's are kept apart from the others."""
    return f"{account_id}/sandbox" if is_sandbox else account_id


class IssuedKey(NamedTuple):
    """A new key: its body, to be shown once, and its record."""

    body: str
    key: ApiKey

    @property
    def changes(self) -> tuple[Put, ...]:
        """What stores it: the record, and its row in the account's list."""
        sha256 = _digest(self.body)
        row = row_key(self.key.account_id, self.key.id)
        return (Put(key_key(sha256), self.key.model_dump()), Put(row, {"sha256": sha256}))

    @property
    def apiframe_spelling(self) -> str:
        """The key as Apiframe's clients send it, in `X-API-Key`."""
        return f"afk_{self.body}"

    @property
    def vicsee_spelling(self) -> str:
        """The same key as VicSee's clients send it, as a Bearer token."""
        return f"sk-{self.body}"


def issue(
    account_id: str,
    name: str,
    *,
    now_ms: int,
    powers: Powers = Powers(),  # noqa: B008, immutable
    member_id: str | None = None,
) -> IssuedKey:
    """A new active key for an account, and for that member of it."""
    random_part = "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_CHARS))
    world = _SANDBOX if powers.is_sandbox else ""
    body = world + random_part + _checksum(random_part)
    key = ApiKey(
        id=f"key_{secrets.token_hex(8)}",
        account_id=account_id,
        name=name,
        prefix=f"afk_{world}{random_part[:_SHOWN_CHARS]}",
        created_at_ms=now_ms,
        scopes=powers.scopes,
        caps=powers.caps,
        expires_at_ms=powers.expires_at_ms,
        is_sandbox=powers.is_sandbox,
        member_id=member_id,
    )
    return IssuedKey(body, key)


def authenticate(kv: KeyValue, body: str, *, now_ms: int) -> Caller:
    """The caller whose key has this body (the part after `afk_` or `sk-`).

    Raises `KeyFormatInvalid` without asking the store if the checksum is wrong, `KeyUnknown` for
    a missing or revoked key, `KeyExpired` for one whose time is over, `KeyInactive` for a paused
    one.
    """
    if not has_valid_checksum(body):
        raise KeyFormatInvalid
    caller = _caller(kv, _digest(body))
    if caller.key.is_expired(now_ms=now_ms):
        raise KeyExpired
    return caller


def read_again(kv: KeyValue, caller: Caller) -> Caller:
    """The caller with the key as it stands now; raises like `authenticate` if it was withdrawn.

    Its time was looked at when it was let in, and is not again.
    """
    return _caller(kv, caller.key_sha256)


def _caller(kv: KeyValue, sha256: str) -> Caller:
    item = kv.get(key_key(sha256))
    if item is None:
        raise KeyUnknown
    key = ApiKey.model_validate(item.value)
    if key.state is KeyState.REVOKED:
        raise KeyUnknown
    if key.state is KeyState.INACTIVE:
        raise KeyInactive
    return Caller(key.account_id, sha256, key, item.version)


def has_valid_checksum(body: str) -> bool:
    """Whether the text has the length, the alphabet and the checksum of a key's body."""
    coded = body.removeprefix(_SANDBOX)
    if len(coded) != _RANDOM_CHARS + _CHECKSUM_CHARS or not set(coded) <= set(_DIGITS):
        return False
    return coded[_RANDOM_CHARS:] == _checksum(coded[:_RANDOM_CHARS])


def keys_of(
    kv: KeyValue, account_id: str, *, after: str | None = None, limit: int = MAX_PAGE
) -> list[ApiKey]:
    """A page of an account's keys, in the order of their ids; `after` is the last one seen."""
    rows = kv.query(list_partition(account_id), after=after, limit=limit)
    items = [kv.get(key_key(row.value["sha256"])) for row in rows]
    return [ApiKey.model_validate(item.value) for item in items if item is not None]


def find_item(kv: KeyValue, account_id: str, key_id: str) -> Item | None:
    """The item of an account's key; None for what is no key's id, too."""
    if not _ID.fullmatch(key_id):
        return None
    row = kv.get(row_key(account_id, key_id))
    return None if row is None else kv.get(key_key(row.value["sha256"]))


def key_key(sha256: str) -> Key:
    """Where a key's record lives."""
    return Key(f"key#{sha256}", "key")


def list_partition(account_id: str) -> str:
    """The partition of an account's list of keys."""
    return f"keys#{account_id}"


def row_key(account_id: str, key_id: str) -> Key:
    """Where a key's row in its account's list lives; it holds the digest."""
    return Key(list_partition(account_id), key_id)


def _digest(body: str) -> str:
    return hashlib.sha256(f"afk_{body}".encode()).hexdigest()


def _checksum(random_part: str) -> str:
    number = zlib.crc32(random_part.encode())
    digits = []
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
