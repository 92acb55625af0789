"""One attempt to deliver an event: what is sent, and what its outcome is called."""

import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobs.ids import Clock
from jobs.metrics import Attempt
from jobs.outbound import (
    AddressRefused,
    Answer,
    BadResponse,
    Outbound,
    OutboundError,
    TimedOut,
    Unreachable,
    UnsupportedUrl,
)
from jobs.webhooks import Delivery, HmacKey, Reason, Tried, headers

log = logging.getLogger(__name__)

ATTEMPT_DEADLINE_S = 15.0

_GONE = 410
_AWAY = {429, 502, 503, 504}


class Outcome(NamedTuple):
    """How an attempt went. `is_away`: the host is absent or overloaded, for other events as well;
    `retry_after_s` is what it asks for.
    """

    tried: Tried
    attempt: Attempt
    is_away: bool
    retry_after_s: int | None = None


@dataclass(frozen=True)
class Sender:
    """Sends events; `seconds` is a clock that never goes back."""

    outbound: Outbound
    clock: Clock
    seconds: Callable[[], float]
    hmac_key: HmacKey

    def send(self, delivery: Delivery, *, webhook_secrets: Sequence[str]) -> Outcome:
        """Make one attempt, of `ATTEMPT_DEADLINE_S` at most. Redirects are not followed."""
        now_ms, begun_s = self.clock(), self.seconds()
        signed = headers(
            delivery, webhook_secrets=webhook_secrets, hmac_key=self.hmac_key, now_ms=now_ms
        )
        answer: Answer | None = None
        failure: OutboundError | None = None
        try:
            answer = self.outbound.post(
                delivery.url,
                body=delivery.body.encode(),
                headers=signed,
                deadline_s=ATTEMPT_DEADLINE_S,
            )
        except OutboundError as error:
            failure = error
        tried = Tried(
            at_ms=now_ms,
            status=None if answer is None else answer.status,
            duration_ms=max(round((self.seconds() - begun_s) * 1000), 0),
            error=_reason(answer, failure),
        )
        if tried.error is not None:
            what = (delivery.webhook_id, delivery.attempts, tried.error.message)
            log.info("webhook %s: attempt %d: %s", *what)
        return Outcome(
            tried,
            _attempt(answer),
            is_away=_is_away(answer, failure),
            retry_after_s=None if answer is None else answer.retry_after_s,
        )


def _reason(answer: Answer | None, failure: OutboundError | None) -> Reason | None:
    """None for a success. The sentence is ours: nothing of what the receiver said is in it."""
    if failure is not None:
        return _reason_of(failure)
    assert answer is not None
    if 200 <= answer.status < 300:
        return None
    if answer.status == _GONE:
        return Reason(code="gone", message="The receiver answered 410: it wants no more of this")
    if 300 <= answer.status < 400:
        message = f"The receiver answered {answer.status}, and redirects are not followed"
        return Reason(code="redirect", message=message)
    return Reason(code="status", message=f"The receiver answered {answer.status}, not 2xx")


def _reason_of(failure: OutboundError) -> Reason:
    match failure, failure.__cause__:
        case TimedOut(), _:
            message = f"The receiver did not answer within {ATTEMPT_DEADLINE_S:.0f} seconds"
            return Reason(code="timeout", message=message)
        case AddressRefused(), _:
            message = "The address leads to a private or reserved network"
            return Reason(code="private_address", message=message)
        case UnsupportedUrl(), _:
            return Reason(code="unsupported_address", message=str(UnsupportedUrl()))
        case Unreachable(), socket.gaierror():
            return Reason(code="dns", message="The receiver's name could not be looked up")
        case Unreachable(), ConnectionRefusedError():
            return Reason(code="refused", message="The receiver's host refused the connection")
        case Unreachable(), ssl.SSLError():
            message = "No secure connection: TLS failed, or the certificate is not trusted"
            return Reason(code="tls", message=message)
        case BadResponse(), _:
            message = "The receiver closed the connection early, or its answer is not HTTP"
            return Reason(code="broken_answer", message=message)
        case _:
            return Reason(code="unreachable", message="The receiver's host could not be reached")


def _attempt(answer: Answer | None) -> Attempt:
    if answer is None:
        return Attempt.UNREACHABLE
    if 200 <= answer.status < 300:
        return Attempt.DELIVERED
    return Attempt.GONE if answer.status == _GONE else Attempt.REFUSED


def _is_away(answer: Answer | None, failure: OutboundError | None) -> bool:
    if answer is not None:
        return answer.status in _AWAY
    return isinstance(failure, TimedOut | Unreachable | BadResponse)
