"""The daily quota of requests: counted per account and UTC day, apart from all money."""

from typing import NamedTuple

from billing.accounts import Account
from billing.errors import RateLimited
from storage.kv import Add, Conflict, Item, Key, KeyValue, Put

_DAY_MS = 24 * 60 * 60 * 1000
_TRIES = 3


class Quota(NamedTuple):
    """What is left of an account's day."""

    limit: int
    remaining: int
    resets_at_ms: int


def quota_of(kv: KeyValue, account: Account, *, now_ms: int) -> Quota:
    """The quota as it stands."""
    return _quota(account.daily_requests, kv.get(_key(account.id, now_ms)), now_ms)


def full_quota(limit: int, *, now_ms: int) -> Quota:
    """The quota of somebody who has not asked for anything today."""
    return _quota(limit, None, now_ms)


def count_request(kv: KeyValue, account: Account, *, now_ms: int) -> Quota:
    """Count one request, and return what is left; `RateLimited` if nothing was."""
    key = _key(account.id, now_ms)
    add = Add(key, {"requests": 1}, ceilings={"requests": account.daily_requests})
    first = Put(key, {}, counters={"requests": 1}, expires_at_ms=_midnight_ms(now_ms) + _DAY_MS)
    for _ in range(_TRIES):
        item = kv.get(key)
        quota = _quota(account.daily_requests, item, now_ms)
        if quota.remaining < 1:
            break
        try:
            kv.commit(first if item is None else add)
        except Conflict:
            continue
        return quota._replace(remaining=quota.remaining - 1)
    raise RateLimited(limit=quota.limit, resets_at_ms=quota.resets_at_ms)


def _quota(limit: int, item: Item | None, now_ms: int) -> Quota:
    used = 0 if item is None else item.counters["requests"]
    return Quota(limit, max(limit - used, 0), _midnight_ms(now_ms))


def _midnight_ms(now_ms: int) -> int:
    return (now_ms // _DAY_MS + 1) * _DAY_MS


def _key(account_id: str, now_ms: int) -> Key:
    return Key(f"quota#{account_id}", f"day#{now_ms // _DAY_MS}")
