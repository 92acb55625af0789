"""Which status and code each refusal gets, in both dialects: the one table."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from billing.errors import (
    AlreadySubscribed,
    BillingError,
    CapReached,
    InsufficientCredits,
    KeyEnded,
    KeyExpired,
    KeyFormatInvalid,
    KeyInactive,
    KeyNotFound,
    KeyUnknown,
    MemberNotFound,
    OverMaxCredits,
    OwnerStays,
    PaymentsOff,
    PaymentsUnavailable,
    RateLimited,
    ScopeMissing,
    TooManyInFlight,
    TooManyKeys,
    TooManyMembers,
    TooManyRequests,
)
from billing.errors import OutputTooLarge as PricedOutputTooLarge
from handlers.auth import AuthorizationInvalid, AuthorizationMissing, KeyMissing
from inference.errors import ImageError, OutputTooLarge
from jobs.errors import (
    DeliveryOver,
    DeliveryUnknown,
    EventIdInvalid,
    IdempotencyKeyInvalid,
    IdempotencyMismatch,
    JobFinished,
    JobForeign,
    JobsError,
    JobUnknown,
    ModelUnavailable,
    ResultMissing,
    RetentionTooLong,
    SecretRotating,
    TooManyAtOnce,
    UploadRefused,
    WaitInvalid,
)
from jobs.ids import Clock
from jobs.outbound import OutboundError
from storage.kv import StoreError, Unknown
from storage.objects import ObjectsError
from storage.record import RecordTooNew

RETRY_AFTER_S = 10
"""What a client is told to wait when the store, or a free place, is missing."""


class Refusal(NamedTuple):
    """How one kind of error is answered; a message of None is the error's own."""

    apiframe: int
    vicsee: int
    code: str
    apiframe_message: str | None = None
    vicsee_message: str | None = None


_NO_STORE = "The service cannot reach its storage; nothing was charged. Try again"
_UPDATING = "The service is being updated; nothing was charged. Try again"
_UNKNOWN = (
    "The service lost its storage's answer, so this may have been accepted. "
    "Look at your jobs, or repeat it with the same Idempotency-Key"
)

REFUSALS: dict[type[Exception], Refusal] = {
    KeyMissing: Refusal(401, 401, "MISSING_AUTH_HEADER"),
    AuthorizationMissing: Refusal(401, 401, "MISSING_AUTH_HEADER"),
    AuthorizationInvalid: Refusal(401, 401, "INVALID_AUTH_FORMAT"),
    KeyFormatInvalid: Refusal(401, 401, "INVALID_KEY_FORMAT", "Invalid API key"),
    KeyUnknown: Refusal(
        401, 401, "INVALID_API_KEY", "Invalid API key", "Invalid or inactive API key"
    ),
    KeyExpired: Refusal(401, 401, "INVALID_API_KEY", vicsee_message="Invalid or inactive API key"),
    ScopeMissing: Refusal(403, 403, "FORBIDDEN"),
    KeyNotFound: Refusal(404, 404, "KEY_NOT_FOUND", "Key not found", "Key not found"),
    MemberNotFound: Refusal(404, 404, "MEMBER_NOT_FOUND"),
    OwnerStays: Refusal(409, 409, "OWNER_STAYS"),
    TooManyMembers: Refusal(409, 409, "TOO_MANY_MEMBERS"),
    KeyEnded: Refusal(409, 409, "KEY_ENDED"),
    TooManyKeys: Refusal(409, 409, "TOO_MANY_KEYS"),
    KeyInactive: Refusal(403, 401, "INVALID_API_KEY", vicsee_message="Invalid or inactive API key"),
    InsufficientCredits: Refusal(402, 402, "INSUFFICIENT_CREDITS"),
    CapReached: Refusal(402, 402, "CAP_REACHED"),
    OverMaxCredits: Refusal(402, 402, "OVER_MAX_CREDITS"),
    TooManyInFlight: Refusal(429, 429, "RATE_LIMITED"),
    RateLimited: Refusal(429, 429, "RATE_LIMITED"),
    TooManyRequests: Refusal(429, 429, "RATE_LIMITED"),
    AlreadySubscribed: Refusal(409, 409, "ALREADY_SUBSCRIBED"),
    PaymentsOff: Refusal(503, 503, "SERVICE_UNAVAILABLE"),
    PaymentsUnavailable: Refusal(503, 503, "SERVICE_UNAVAILABLE"),
    PricedOutputTooLarge: Refusal(400, 422, "OUTPUT_TOO_LARGE"),
    BillingError: Refusal(400, 400, "BILLING_ERROR"),
    OutputTooLarge: Refusal(400, 422, "OUTPUT_TOO_LARGE"),
    ImageError: Refusal(400, 422, "PROBE_FAILED"),
    OutboundError: Refusal(400, 422, "PROBE_FAILED"),
    JobForeign: Refusal(404, 403, "FORBIDDEN", "Job not found"),
    JobUnknown: Refusal(404, 404, "TASK_NOT_FOUND", "Job not found", "Task not found"),
    JobFinished: Refusal(409, 409, "TASK_FINISHED"),
    DeliveryUnknown: Refusal(404, 404, "DELIVERY_NOT_FOUND"),
    DeliveryOver: Refusal(409, 409, "TASK_FINISHED"),
    SecretRotating: Refusal(409, 409, "SECRET_ROTATING"),
    IdempotencyKeyInvalid: Refusal(400, 400, "INVALID_IDEMPOTENCY_KEY"),
    IdempotencyMismatch: Refusal(409, 422, "IDEMPOTENCY_KEY_REUSED"),
    ModelUnavailable: Refusal(503, 503, "SERVICE_UNAVAILABLE"),
    ResultMissing: Refusal(404, 404, "NO_RESULT"),
    RetentionTooLong: Refusal(400, 400, "INVALID_RETENTION_DAYS"),
    TooManyAtOnce: Refusal(429, 429, "RATE_LIMITED"),
    EventIdInvalid: Refusal(400, 400, "INVALID_EVENT_ID"),
    WaitInvalid: Refusal(400, 400, "INVALID_WAIT"),
    UploadRefused: Refusal(400, 400, "INVALID_UPLOAD"),
    JobsError: Refusal(400, 422, "PROBE_FAILED"),
    Unknown: Refusal(503, 503, "SERVICE_UNAVAILABLE", _UNKNOWN, _UNKNOWN),
    RecordTooNew: Refusal(503, 503, "SERVICE_UNAVAILABLE", _UPDATING, _UPDATING),
    StoreError: Refusal(503, 503, "SERVICE_UNAVAILABLE", _NO_STORE, _NO_STORE),
    ObjectsError: Refusal(503, 503, "SERVICE_UNAVAILABLE", _NO_STORE, _NO_STORE),
}

ROOTS = (BillingError, ImageError, JobsError, OutboundError, StoreError, ObjectsError)
"""The roots of the error trees: an app that handles these handles every row."""


def refusal_of(error: Exception) -> Refusal:
    """The row of the error's own class, or of its nearest ancestor."""
    return next(REFUSALS[cls] for cls in type(error).__mro__ if cls in REFUSALS)


def retry_after(error: Exception, status: int, *, clock: Clock) -> dict[str, str] | None:
    """The header that says when to come back, for the statuses that invite to."""
    if status not in (429, 503):
        return None
    wait_s = RETRY_AFTER_S
    if isinstance(error, RateLimited):
        wait_s = max((error.resets_at_ms - clock()) // 1000 + 1, 1)
    if isinstance(error, TooManyRequests):
        wait_s = error.wait_s
    return {"Retry-After": str(wait_s)}


Answers = dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]
"""How an app answers each kind of error."""


class BodyTooLarge(HTTPException):
    """The request's body is over the limit; raised while it is being read."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(400, f"The request body may have at most {max_bytes} bytes")
