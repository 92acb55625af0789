"""API keys: one body in two spellings, of which only the SHA-256 is kept.

A body is 24 random base-62 characters (142 bits) and six more that encode the CRC-32 of those, so
that a mistyped key is told from an unknown one without a look-up. Apiframe's clients send
`afk_<body>`, VicSee's `sk-<body>`. The digest is that of the `afk_` spelling, because it is also
what signs Apiframe's webhooks.
"""

import hashlib
import secrets
import string
import zlib
from enum import StrEnum
from typing import NamedTuple

from billing.caps import Caps
from billing.errors import KeyFormatInvalid, KeyInactive, KeyUnknown
from storage.kv import MAX_PAGE, Check, Item, Key, KeyValue, Put
from storage.record import Record

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARS = 24
_CHECKSUM_CHARS = 6
_PREFIX_CHARS = 8


class KeyState(StrEnum):
    """What a key may do: everything, nothing for now, nothing for good."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    REVOKED = "revoked"


class ApiKey(Record):
    """A key as stored, under its digest. `prefix` is what may be shown again."""

    id: str
    account_id: str
    name: str
    prefix: str
    state: KeyState = KeyState.ACTIVE
    created_at_ms: int
    caps: Caps = Caps()


class Caller(NamedTuple):
    """Who is calling: an active key as read, good for a `Check` in the commit that spends."""

    account_id: str
    key_sha256: str
    key: ApiKey
    key_version: int

    def still_active(self) -> Check:
        """The condition that the key has not changed since the request was let in."""
        return Check(_key_key(self.key_sha256), version=self.key_version)


class IssuedKey(NamedTuple):
    """A new key: its body, to be shown once, its record, and the changes that store it."""

    body: str
    key: ApiKey
    changes: tuple[Put, ...]

    @property
    def apiframe_spelling(self) -> str:
        """The key as Apiframe's clients send it, in `X-API-Key`."""
        return f"afk_{self.body}"

    @property
    def vicsee_spelling(self) -> str:
        """The same key as VicSee's clients send it, as a Bearer token."""
        return f"sk-{self.body}"


def issue(account_id: str, name: str, *, now_ms: int) -> IssuedKey:
    """A new active key for an account."""
    random_part = "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_CHARS))
    body = random_part + _checksum(random_part)
    key = ApiKey(
        id=f"key_{secrets.token_hex(8)}",
        account_id=account_id,
        name=name,
        prefix=f"afk_{body}"[:_PREFIX_CHARS],
        created_at_ms=now_ms,
    )
    sha256 = _digest(body)
    changes = (
        Put(_key_key(sha256), key.model_dump()),
        Put(Key(f"keys#{account_id}", key.id), {"sha256": sha256}),
    )
    return IssuedKey(body, key, changes)


def authenticate(kv: KeyValue, body: str) -> Caller:
    """The caller whose key has this body (the part after `afk_` or `sk-`).

    Raises `KeyFormatInvalid` without asking the store if the checksum is wrong, `KeyUnknown` for
    a missing or revoked key, `KeyInactive` for a paused one.
    """
    if not has_valid_checksum(body):
        raise KeyFormatInvalid
    return _caller(kv, _digest(body))


def read_again(kv: KeyValue, caller: Caller) -> Caller:
    """The caller with the key as it stands now; raises like `authenticate` if it was withdrawn."""
    return _caller(kv, caller.key_sha256)


def _caller(kv: KeyValue, sha256: str) -> Caller:
    item = kv.get(_key_key(sha256))
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
    if len(body) != _RANDOM_CHARS + _CHECKSUM_CHARS or not set(body) <= set(_DIGITS):
        return False
    return body[_RANDOM_CHARS:] == _checksum(body[:_RANDOM_CHARS])


def keys_of(kv: KeyValue, account_id: str) -> list[ApiKey]:
    """An account's keys, up to a page of them."""
    rows = kv.query(f"keys#{account_id}", limit=MAX_PAGE)
    items = [kv.get(_key_key(row.value["sha256"])) for row in rows]
    return [ApiKey.model_validate(item.value) for item in items if item is not None]


def change_state(kv: KeyValue, account_id: str, *, key_id: str, state: KeyState) -> Put:
    """The change that pauses, resumes or revokes a key; `KeyUnknown` if there is none, or it has
    been revoked, which is for good."""
    item = _item_of(kv, account_id, key_id)
    if item is None:
        raise KeyUnknown(f"No such key: {key_id}")
    key = ApiKey.model_validate(item.value)
    if key.state is KeyState.REVOKED:
        raise KeyUnknown(f"The key {key_id} has been revoked, which is for good")
    updated = key.model_copy(update={"state": state})
    return Put(item.key, updated.model_dump(), replaces=item.version)


def _item_of(kv: KeyValue, account_id: str, key_id: str) -> Item | None:
    row = kv.get(Key(f"keys#{account_id}", key_id))
    return None if row is None else kv.get(_key_key(row.value["sha256"]))


def _key_key(sha256: str) -> Key:
    return Key(f"key#{sha256}", "key")


def _digest(body: str) -> str:
    return hashlib.sha256(f"afk_{body}".encode()).hexdigest()


def _checksum(random_part: str) -> str:
    number = zlib.crc32(random_part.encode())
    digits = []
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
