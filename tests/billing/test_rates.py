"""Request rates: a bucket for each key, turned by hand."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.errors import TooManyRequests
from billing.rates import LIMIT_KEPT_MS, Rate, Rates
from tests.running import Clock

LIMIT = 6


@pytest.fixture
def rates(clock: Clock) -> Rates:
    return Rates(clock=clock)


def limit(requests: int | None = LIMIT) -> Callable[[], int | None]:
    return lambda: requests


def counted(rates: Rates, key_id: str = "key_a", *, requests: int = LIMIT) -> int:
    """How many requests a key has left; -1 if it had none."""
    try:
        rate = rates.count(key_id, limit(requests))
    except TooManyRequests:
        return -1
    assert rate is not None
    return rate.remaining


def test_a_minutes_requests_may_come_at_once_and_not_one_more(rates: Rates) -> None:
    assert [counted(rates) for _ in range(LIMIT + 2)] == [5, 4, 3, 2, 1, 0, -1, -1]


def test_the_refusal_says_when_there_is_a_place_and_when_there_are_all(
    rates: Rates, clock: Clock
) -> None:
    for _ in range(LIMIT):
        counted(rates)
    clock.advance(seconds=1.5)  # of the ten seconds that a request takes at six a minute
    with pytest.raises(TooManyRequests, match="6/minute") as refusal:
        rates.count("key_a", limit())
    assert (refusal.value.limit, refusal.value.wait_s, refusal.value.resets_in_s) == (6, 9, 59)
    clock.advance(seconds=refusal.value.wait_s)
    assert counted(rates) == 0


def test_a_refused_request_costs_nothing(rates: Rates, clock: Clock) -> None:
    for _ in range(LIMIT + 50):
        counted(rates)
    clock.advance(seconds=10)
    assert [counted(rates), counted(rates)] == [0, -1]


def test_the_bucket_fills_evenly_and_holds_a_minutes_requests(rates: Rates, clock: Clock) -> None:
    assert rates.count("key_a", limit()) == Rate(LIMIT, 5, 10)
    clock.advance(seconds=5)
    assert rates.count("key_a", limit()) == Rate(LIMIT, 4, 15)
    clock.advance(seconds=3600)
    assert rates.count("key_a", limit()) == Rate(LIMIT, 5, 10)


def test_keys_do_not_share_a_bucket(rates: Rates) -> None:
    for _ in range(LIMIT):
        counted(rates, "key_a")
    assert counted(rates, "key_a") == -1
    assert counted(rates, "key_b") == 5


def test_a_key_without_a_limit_is_let_through(rates: Rates) -> None:
    assert {rates.count("key_a", limit(None)) for _ in range(1000)} == {None}


def test_the_limit_is_asked_for_again_after_a_while(rates: Rates, clock: Clock) -> None:
    asked: list[int] = []

    def limit_of() -> int:
        asked.append(clock())
        return LIMIT

    for _ in range(3):
        rates.count("key_a", limit_of)
    clock.now_ms += LIMIT_KEPT_MS - 1
    rates.count("key_a", limit_of)
    assert len(asked) == 1
    clock.now_ms += 1
    rates.count("key_a", limit_of)
    assert len(asked) == 2


@pytest.mark.parametrize(("before", "after", "left"), [(None, 4, 3), (6, 3, 2), (2, 6, 1)])
def test_a_new_limit_holds_once_it_is_known(
    rates: Rates, clock: Clock, before: int | None, after: int, left: int
) -> None:
    rates.count("key_a", limit(before))
    clock.now_ms += LIMIT_KEPT_MS
    rate = rates.count("key_a", limit(after))
    assert rate is not None
    assert rate.limit == after
    assert rate.remaining <= after - 1
    if before is None or before > after:
        assert rate.remaining == left


def test_what_the_limit_raises_is_raised(rates: Rates) -> None:
    def limit_of() -> int:
        raise ConnectionError("no store")

    with pytest.raises(ConnectionError):
        rates.count("key_a", limit_of)
    assert counted(rates) == LIMIT - 1


def test_only_so_many_keys_are_remembered_the_last_ones(clock: Clock) -> None:
    rates = Rates(clock=clock, max_keys=2)
    for key_id in ("key_a", "key_b", "key_a", "key_c"):
        counted(rates, key_id)
    assert counted(rates, "key_a") == LIMIT - 3
    assert counted(rates, "key_b") == LIMIT - 1  # forgotten, and so starts anew


def test_a_clock_that_is_set_back_takes_nothing_away(rates: Rates, clock: Clock) -> None:
    assert counted(rates) == 5
    clock.now_ms -= 3_600_000
    assert counted(rates) == 4
    clock.advance(seconds=20)
    assert counted(rates) == 5


def test_forty_at_once_use_twenty_places_once_each(rates: Rates) -> None:
    with ThreadPoolExecutor(8) as pool:
        left = list(pool.map(lambda _: counted(rates, requests=20), range(40)))
    assert sorted(left) == [-1] * 20 + list(range(20))
