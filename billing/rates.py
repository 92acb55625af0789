"""Request rates: how fast each key may ask, about, counted in this process alone.

Each key has a bucket of a minute's requests that fills evenly. Several processes each count by
themselves, so a key has the rate once in each of them; nothing is written anywhere.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from billing.errors import TooManyRequests

MINUTE_MS = 60_000
MAX_KEYS = 10_000
"""How many keys are remembered; of more, those that asked last. Who is forgotten starts anew."""

LIMIT_KEPT_MS = 60_000
"""How long a key's limit is believed before its plan is looked at again."""


class Rate(NamedTuple):
    """What is left of a key's minute, and in how many whole seconds all of it will be there."""

    limit: int
    remaining: int
    resets_in_s: int


@dataclass
class _Bucket:
    """What is in it is counted in request-milliseconds: a request takes out `MINUTE_MS`."""

    limit: int | None
    looked_at_ms: int
    filled_at_ms: int
    content: int


class Rates:
    """Every key's bucket. Safe to call from threads."""

    def __init__(self, *, clock: Callable[[], int], max_keys: int = MAX_KEYS) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._changing = threading.Lock()

    def count(self, key_id: str, limit_of: Callable[[], int | None]) -> Rate | None:
        """Count a request of a key; what is left, or None for a key without a limit.

        `limit_of` tells how many requests a minute may have; it is asked when that is not known or
        was last asked a while ago. Raises `TooManyRequests` for one request too many, and what
        `limit_of` raises.
        """
        now_ms = self._clock()
        with self._changing:
            known = self._buckets.get(key_id)
            is_known = known is not None and 0 <= now_ms - known.looked_at_ms < LIMIT_KEPT_MS
        limit = known.limit if known is not None and is_known else limit_of()  # may take its time
        with self._changing:
            bucket = self._bucket(key_id, limit, now_ms=now_ms, is_new=not is_known)
            return None if limit is None else _taken(bucket, limit, now_ms=now_ms)

    def _bucket(self, key_id: str, limit: int | None, *, now_ms: int, is_new: bool) -> _Bucket:
        bucket = self._buckets.get(key_id)
        if bucket is None:
            full = (limit or 0) * MINUTE_MS
            bucket = self._buckets[key_id] = _Bucket(limit, now_ms, now_ms, full)
        elif is_new:
            if bucket.limit is None and limit is not None:
                bucket.content, bucket.filled_at_ms = limit * MINUTE_MS, now_ms
            bucket.limit, bucket.looked_at_ms = limit, now_ms
        self._buckets.move_to_end(key_id)
        while len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return bucket


def _taken(bucket: _Bucket, limit: int, *, now_ms: int) -> Rate:
    full = limit * MINUTE_MS
    passed_ms = max(now_ms - bucket.filled_at_ms, 0)
    bucket.content = min(bucket.content + passed_ms * limit, full)
    bucket.filled_at_ms = now_ms
    if bucket.content < MINUTE_MS:
        rate = _rate(bucket, limit)
        wait_ms = -(-(MINUTE_MS - bucket.content) // limit)
        raise TooManyRequests(limit=limit, wait_s=_whole_s(wait_ms), resets_in_s=rate.resets_in_s)
    bucket.content -= MINUTE_MS
    return _rate(bucket, limit)


def _rate(bucket: _Bucket, limit: int) -> Rate:
    missing = limit * MINUTE_MS - bucket.content
    return Rate(limit, bucket.content // MINUTE_MS, _whole_s(-(-missing // limit)))


def _whole_s(duration_ms: int) -> int:
    return -(-duration_ms // 1000)
