"""The daily quota: its limit, its midnight, and many requests at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.accounts import Account, new_account
from billing.errors import RateLimited
from billing.quota import Quota, count_request, full_quota, quota_of
from storage.kv import KeyValue
from tests.running import Clock

DAY_MS = 24 * 60 * 60 * 1000
LIMIT = 5


@pytest.fixture
def account(clock: Clock) -> Account:
    return new_account("Ada", now_ms=clock(), daily_requests=LIMIT)


@pytest.fixture
def midnight_ms(clock: Clock) -> int:
    return (clock() // DAY_MS + 1) * DAY_MS


def is_let_in(kv: KeyValue, account: Account, *, now_ms: int) -> bool:
    try:
        count_request(kv, account, now_ms=now_ms)
    except RateLimited:
        return False
    return True


def test_each_request_leaves_one_less(
    kv: KeyValue, account: Account, clock: Clock, midnight_ms: int
) -> None:
    counted = [count_request(kv, account, now_ms=clock()) for _ in range(LIMIT)]
    assert counted == [Quota(LIMIT, left, midnight_ms) for left in (4, 3, 2, 1, 0)]


def test_beyond_the_limit_a_request_is_refused_and_not_counted(
    kv: KeyValue, account: Account, clock: Clock, midnight_ms: int
) -> None:
    for _ in range(LIMIT):
        count_request(kv, account, now_ms=clock())
    for _ in range(2):
        with pytest.raises(RateLimited) as refusal:
            count_request(kv, account, now_ms=clock())
        assert (refusal.value.limit, refusal.value.resets_at_ms) == (LIMIT, midnight_ms)
    raised = account.model_copy(update={"daily_requests": LIMIT + 1})
    assert count_request(kv, raised, now_ms=clock()).remaining == 0


def test_a_limit_of_none_lets_nobody_in(kv: KeyValue, account: Account, clock: Clock) -> None:
    closed = account.model_copy(update={"daily_requests": 0})
    assert not is_let_in(kv, closed, now_ms=clock())


def test_the_quota_is_full_again_at_midnight_utc(
    kv: KeyValue, account: Account, clock: Clock, midnight_ms: int
) -> None:
    clock.now_ms = midnight_ms - 1
    while is_let_in(kv, account, now_ms=clock()):
        assert quota_of(kv, account, now_ms=clock()).resets_at_ms == midnight_ms
    clock.now_ms = midnight_ms
    assert count_request(kv, account, now_ms=clock()) == Quota(4 + 1, 4, midnight_ms + DAY_MS)


def test_looking_at_the_quota_does_not_use_it(kv: KeyValue, account: Account, clock: Clock) -> None:
    assert quota_of(kv, account, now_ms=clock()) == full_quota(LIMIT, now_ms=clock())
    count_request(kv, account, now_ms=clock())
    assert quota_of(kv, account, now_ms=clock()).remaining == 4
    assert quota_of(kv, account, now_ms=clock()).remaining == 4


def test_accounts_do_not_share_a_quota(kv: KeyValue, account: Account, clock: Clock) -> None:
    count_request(kv, account, now_ms=clock())
    other = new_account("Grace", now_ms=clock(), daily_requests=LIMIT)
    assert quota_of(kv, other, now_ms=clock()).remaining == LIMIT


def test_yesterdays_count_is_swept_away(
    kv: KeyValue, account: Account, clock: Clock, midnight_ms: int
) -> None:
    count_request(kv, account, now_ms=clock())
    clock.now_ms = midnight_ms + DAY_MS
    assert kv.purge(limit=10) == 1


def test_forty_requests_at_once_use_twenty_places_once_each(
    kv: KeyValue, account: Account, clock: Clock
) -> None:
    busy = account.model_copy(update={"daily_requests": 20})
    with ThreadPoolExecutor(8) as pool:
        let_in = list(pool.map(lambda _: is_let_in(kv, busy, now_ms=clock()), range(40)))
    assert let_in.count(True) == 20
    assert quota_of(kv, busy, now_ms=clock()).remaining == 0
