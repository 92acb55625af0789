"""Time and ids, as they are passed in everywhere."""

import secrets
import time
from collections.abc import Callable
from uuid import UUID

Clock = Callable[[], int]
"""Milliseconds since 1970-01-01 UTC."""


def system_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


def new_job_id(now_ms: int) -> UUID:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of time, then 74 random ones.

    Job ids sort by their age, and cannot be guessed.
    """
    bits = now_ms << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62
    return UUID(int=bits | secrets.randbits(62))


def made_at_ms(job_id: UUID) -> int:
    """When a job's id was made."""
    return job_id.int >> 80


def new_seed() -> int:
    """A seed for who names none, of 32 bits."""
    return secrets.randbits(32)


def iso_utc(ms: int) -> str:
    """ISO 8601 with milliseconds and `Z`, as both dialects write times."""
    seconds, rest_ms = divmod(ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest_ms:03d}Z"
