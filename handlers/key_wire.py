"""What `/v2/keys` says on the wire: keys as they are wished for, and as they are shown."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from billing.caps import Caps
from billing.keyring import MAX_GRACE_MS, Edit
from billing.keys import ApiKey, IssuedKey, KeyState, Scope
from handlers.apiframe_wire import Clarity, Topaz
from jobs.ids import iso_utc

MAX_NAME_CHARS = 100
MAX_CAP = 10**9
MAX_TIME_CHARS = 40
DAY_S = 24 * 60 * 60


def instant_ms(said: object) -> object:
    """A time in ISO 8601, or a day at whose beginning it is; UTC unless it says otherwise.

    What is no text is left to be refused.
    """
    if not isinstance(said, str):
        return said
    try:
        time = datetime.fromisoformat(said[: MAX_TIME_CHARS + 1])
    except ValueError:
        raise ValueError("Input should be a time in ISO 8601") from None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - datetime.fromtimestamp(0, UTC)) // (datetime.resolution * 1000)


def _no_number(said: object) -> object:
    if isinstance(said, int | float):
        raise ValueError("Input should be a time in ISO 8601")
    return instant_ms(said)


class _Said(BaseModel):
    # Strict: "true" is not a boolean and 1 is not a string. Unknown members are errors.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


KeyName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=MAX_NAME_CHARS,
        pattern=r"^[^\x00-\x1f\x7f]*$",
    ),
]
Instant = Annotated[
    int, BeforeValidator(_no_number, json_schema_input_type=str), Field(description="ISO 8601")
]
Scopes = Annotated[
    list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=len(Scope))
]
Cap = Annotated[int, Field(ge=1, le=MAX_CAP)] | None
Models = Annotated[list[Literal[Topaz, Clarity]], Field(min_length=1, max_length=20)] | None


class CapsWished(_Said):
    """Caps that are to be; what is not named stays, null lifts."""

    jobCredits: Cap = None
    dayCredits: Cap = None
    dayJobs: Cap = None
    monthCredits: Cap = None
    monthJobs: Cap = None
    models: Models = None

    @property
    def changes(self) -> dict[str, Any]:
        """The caps that are named, as a key's record names them."""
        said = {CAP_NAMES[name]: getattr(self, name) for name in self.model_fields_set}
        if said.get("models") is not None:
            said["models"] = tuple(dict.fromkeys(said["models"]))
        return said


CAP_NAMES = {
    "jobCredits": "job_credits",
    "dayCredits": "day_credits",
    "dayJobs": "day_jobs",
    "monthCredits": "month_credits",
    "monthJobs": "month_jobs",
    "models": "models",
}
"""What the wire and the record call each cap."""


class KeyWished(_Said):
    """The body of `POST /v2/keys`. Without scopes it gets those of the asking key but `admin`; in
    the sandbox, those of them that a sandbox key can have. Without a member it is for the asking
    key's own."""

    name: KeyName
    scopes: Scopes | None = None
    expiresAt: Instant | None = None
    caps: CapsWished | None = None
    sandbox: bool = False
    memberId: Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS)] | None = None


class KeyEdit(_Said):
    """The body of `PATCH /v2/keys/{id}`: what is named changes."""

    name: KeyName | None = None
    caps: CapsWished | None = None
    paused: bool | None = None

    @property
    def edit(self) -> Edit:
        """The same in no dialect. `"caps": null` lifts them all."""
        caps: dict[str, Any] = {} if self.caps is None else self.caps.changes
        if self.caps is None and "caps" in self.model_fields_set:
            caps = Caps().model_dump()
        states = {True: KeyState.INACTIVE, False: KeyState.ACTIVE, None: None}
        return Edit(name=self.name, caps=caps, state=states[self.paused])


class Rotation(_Said):
    """The body of `POST /v2/keys/{id}/rotate`; it may be left out."""

    graceSeconds: Annotated[int, Field(ge=0, le=MAX_GRACE_MS // 1000)] = DAY_S
    expiresAt: Instant | None = None


class CapsShown(BaseModel):
    """A key's caps; null is none."""

    jobCredits: int | None
    dayCredits: int | None
    dayJobs: int | None
    monthCredits: int | None
    monthJobs: int | None
    models: list[str] | None


class KeyShown(BaseModel):
    """A key, without what opens anything."""

    id: str
    name: str
    prefix: str
    state: Literal["active", "paused", "revoked", "expired"]
    scopes: list[str]
    caps: CapsShown
    createdAt: str
    expiresAt: str | None
    lastUsedOn: str | None
    replacedBy: str | None
    sandbox: bool
    memberId: str


class NewKey(KeyShown):
    """A new key with its body in both dialects' spellings, which is shown this once."""

    key: str
    vicseeKey: str


class KeyPage(BaseModel):
    """A page of keys."""

    keys: list[KeyShown]
    nextCursor: str | None
    hasMore: bool


def shown(key: ApiKey, *, now_ms: int, last_used_day: int | None) -> KeyShown:
    """A key as a list shows it."""
    return KeyShown(**_shown(key, now_ms=now_ms, last_used_day=last_used_day))


def shown_once(issued: IssuedKey, *, now_ms: int) -> NewKey:
    """A key as it is shown to whoever has just had it made."""
    return NewKey(
        **_shown(issued.key, now_ms=now_ms, last_used_day=None),
        key=issued.apiframe_spelling,
        vicseeKey=issued.vicsee_spelling,
    )


def day_shown(day: int | None) -> str | None:
    """A day counted from 1970 as `2027-01-31`."""
    epoch = date(1970, 1, 1).toordinal()
    return None if day is None else date.fromordinal(epoch + day).isoformat()


def _shown(key: ApiKey, *, now_ms: int, last_used_day: int | None) -> dict[str, Any]:
    caps = key.caps.model_dump()
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "state": _state(key, now_ms=now_ms),
        "scopes": [*key.scopes],
        "caps": CapsShown(**{wire: caps[name] for wire, name in CAP_NAMES.items()}),
        "createdAt": iso_utc(key.created_at_ms),
        "expiresAt": None if key.expires_at_ms is None else iso_utc(key.expires_at_ms),
        "lastUsedOn": day_shown(last_used_day),
        "replacedBy": key.replaced_by,
        "sandbox": key.is_sandbox,
        "memberId": key.used_by,
    }


def _state(key: ApiKey, *, now_ms: int) -> Literal["active", "paused", "revoked", "expired"]:
    if key.state is KeyState.REVOKED:
        return "revoked"
    if key.is_expired(now_ms=now_ms):
        return "expired"
    return "paused" if key.state is KeyState.INACTIVE else "active"
