"""The client of DynamoDB: how it calls, what its errors are to us, and what is tried again."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ProxyConnectionError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from storage.addresses import DynamoAddress
from storage.aws import new_session
from storage.kv import Unavailable, Unsuitable

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 3.0
MAX_CONNECTIONS = 160
"""More than the web app has threads, so that none waits for another's connection."""

MAX_TRIES = 14
PATIENCE_S = 12.0
"""No call is tried again later than this after its first try. DynamoDB knows a commit's token for
ten minutes; a try after that would be another commit."""
FIRST_PAUSE_S = 0.025
LONGEST_PAUSE_S = 1.0
IN_PROGRESS_PAUSE_S = 1.0
"""DynamoDB takes up a commit that is under way only some five seconds later."""

BUSY = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
}
BUSY_REASONS = {
    "ProvisionedThroughputExceeded",
    "ThrottlingError",
    "TransactionConflict",
}
IN_PROGRESS = "TransactionInProgressException"
MISMATCH = "IdempotentParameterMismatchException"
TELLING = {"AccessDeniedException", "ResourceNotFoundException", "ValidationException"}
"""Whose sentences are shown: those about signatures repeat the session's token."""

NOT_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
LOST = (HTTPClientError, IncompleteReadError, ResponseParserError, SSLError)
FAILURES = (BotoCoreError, ClientError, ResponseParserError)


def _now_s() -> float:
    # Where it can be told, also the time in which the machine slept: the token ages then too.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Pace(NamedTuple):
    """Where the randomness, the pauses and the seconds of repeated calls come from."""

    fraction: Callable[[], float] = random.random
    sleep: Callable[[float], None] = time.sleep
    now_s: Callable[[], float] = _now_s


class Refused(Exception):
    """The condition of the action at `index`, and of none before it, did not hold.

    `may_still_happen`: the answer to an earlier try was lost, and it may yet be on its way.
    """

    def __init__(self, index: int, *, may_still_happen: bool) -> None:
        super().__init__(f"condition {index}")
        self.index = index
        self.may_still_happen = may_still_happen


class Failed(Exception):
    """There is no answer; `may_have_happened` if one was lost."""

    def __init__(self, told: str, *, may_have_happened: bool) -> None:
        super().__init__(told)
        self.may_have_happened = may_have_happened


class Fault(NamedTuple):
    """What an error says about a call. `is_lost`: it may have happened all the same."""

    told: str
    is_passing: bool = False
    is_lost: bool = False
    least_pause_s: float = 0.0
    refused: int | None = None


def open_client(
    address: DynamoAddress, *, read_timeout_s: float = READ_TIMEOUT_S, max_attempts: int = 1
) -> Any:
    """A client by botocore; safe from threads.

    It sends a request up to `max_attempts` times where sending it again may help. Raises
    `Unsuitable` if it does not know where to go, or who it is.
    """
    session = new_session()
    try:
        region = address.region or session.get_config_variable("region")
        if region is None:
            raise Unsuitable(
                f"the region of the table {address.table} is missing: "
                f"add ?region=<region> to its address, or set AWS_DEFAULT_REGION"
            )
        if session.get_credentials() is None:
            raise Unsuitable(
                "the credentials of AWS are missing: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or give the machine a role"
            )
        client = session.create_client(
            "dynamodb",
            region_name=region,
            endpoint_url=address.endpoint,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=read_timeout_s,
                retries={"mode": "standard", "total_max_attempts": max_attempts},
                max_pool_connections=MAX_CONNECTIONS,
                tcp_keepalive=True,
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise Unsuitable(str(error)) from error
    client.meta.events.register("before-parse.dynamodb", _check_whole)
    return client


def answered(call: Callable[[], Any], *, pace: Pace) -> Any:
    """What the call answers, tried again while that may help, for about `PATIENCE_S`.

    Raises `Refused` or `Failed`. The call must be the same each time, its token too.
    """
    began_s = pace.now_s()
    is_lost = False
    for tried in range(1, MAX_TRIES + 1):
        try:
            return call()
        except FAILURES as error:
            fault = judged(error)
            is_lost = is_lost or fault.is_lost
            if fault.refused is not None:
                raise Refused(fault.refused, may_still_happen=is_lost) from error
            if not fault.is_passing or tried == MAX_TRIES:
                raise Failed(fault.told, may_have_happened=is_lost) from error
        pace.sleep(_pause_s(tried, fault, pace.fraction()))
        if pace.now_s() - began_s > PATIENCE_S:
            raise Failed(fault.told, may_have_happened=is_lost)
    raise AssertionError("the last try returns or raises")


def judged(error: Exception) -> Fault:
    """What an error of the library says. A token used for two commits is a defect, and raised."""
    if isinstance(error, ClientError):
        return _judged_answer(error)
    if isinstance(error, NOT_SENT):
        return Fault(str(error), is_passing=True)
    if isinstance(error, LOST):
        return Fault(str(error), is_passing=True, is_lost=True)
    return Fault(str(error))  # found before anything was sent


@contextmanager
def reported() -> Iterator[None]:
    """What the service or the network has against the block is `Unavailable`."""
    try:
        yield
    except FAILURES as error:
        raise Unavailable(judged(error).told) from error


def code_of(error: ClientError) -> str:
    """The service's code for the error; for an answer without a body, its HTTP status."""
    return str(error.response.get("Error", {}).get("Code", "nothing"))


def _judged_answer(error: ClientError) -> Fault:
    code = code_of(error)
    told = f"DynamoDB answered {code} to {error.operation_name}"
    if code == MISMATCH:
        raise error
    if code == "TransactionCanceledException":
        return _judged_reasons(error.response.get("CancellationReasons", []), told)
    if code in BUSY:
        return Fault(told, is_passing=True)
    if code == IN_PROGRESS:
        return Fault(told, is_passing=True, is_lost=True, least_pause_s=IN_PROGRESS_PAUSE_S)
    if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return Fault(told, is_passing=True, is_lost=True)
    return Fault(f"{told}: {error.response['Error']['Message']}" if code in TELLING else told)


def _judged_reasons(reasons: list[dict[str, Any]], told: str) -> Fault:
    """The first reason decides: behind a collision, it is not known which condition is the first
    that does not hold."""
    for index, reason in enumerate(reasons):
        code = reason.get("Code", "None")
        if code == "ConditionalCheckFailed":
            return Fault(told, refused=index)
        if code != "None":
            why = f"{told}: {code} {reason.get('Message', '')}".rstrip()
            return Fault(why, is_passing=code in BUSY_REASONS)
    return Fault(told)


def _pause_s(tried: int, fault: Fault, fraction: float) -> float:
    longest_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * float(2 ** (tried - 1)))
    return fault.least_pause_s + longest_s * fraction


def _check_whole(response_dict: dict[str, Any], **_: Any) -> None:
    """Raise if an answer was cut short: the library would read what is left of it, and an empty
    answer says that there is no item."""
    expected = response_dict["headers"].get("Content-Length")
    actual = len(response_dict["body"])
    if expected is not None and int(expected) != actual:
        raise IncompleteReadError(actual_bytes=actual, expected_bytes=int(expected))
