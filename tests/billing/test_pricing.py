"""Prices: each boundary of both tables, and price lists that make no sense."""

from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from billing.errors import OutputTooLarge
from billing.pricing import Prices, Tier

TOPAZ_TIERS = [
    (24, 8), (48, 16), (60, 24), (96, 32), (132, 40), (168, 48), (336, 88), (512, 136),
]  # fmt: skip


@pytest.mark.parametrize(("megapixels", "credits"), TOPAZ_TIERS)
def test_a_topaz_tier_goes_up_to_its_last_pixel(megapixels: int, credits: int) -> None:
    assert Prices().topaz(megapixels * 1_000_000) == credits
    assert Prices().topaz(megapixels * 1_000_000 - 1) == credits


@pytest.mark.parametrize(
    ("megapixels", "credits_above"),
    [(low[0], high[1]) for low, high in pairwise(TOPAZ_TIERS)],
)
def test_one_pixel_more_is_the_next_topaz_tier(megapixels: int, credits_above: int) -> None:
    assert Prices().topaz(megapixels * 1_000_000 + 1) == credits_above


def test_the_smallest_picture_has_the_first_topaz_tier() -> None:
    assert Prices().topaz(1) == 8


def test_above_the_last_topaz_tier_nothing_is_offered() -> None:
    with pytest.raises(OutputTooLarge, match=r"512\.0 megapixels; at most 512"):
        Prices().topaz(512_000_001)


def test_clarity_is_flat() -> None:
    assert Prices().clarity() == 3


@pytest.mark.parametrize(("factor", "credits"), [(1, 20), (2, 20), (4, 40), (8, 80)])
def test_vicsee_is_priced_by_the_factor(factor: int, credits: int) -> None:
    assert Prices().vicsee(factor) == credits


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"topaz_tiers": ()}, "must rise"),
        ({"topaz_tiers": (Tier(megapixels=2, credits=1), Tier(megapixels=1, credits=2))}, "rise"),
        ({"topaz_tiers": (Tier(megapixels=2, credits=1), Tier(megapixels=2, credits=2))}, "rise"),
        ({"topaz_tiers": (Tier(megapixels=2, credits=0),)}, "at least 1 credit"),
        ({"topaz_tiers": (Tier(megapixels=0, credits=1),)}, "at least 1 megapixel"),
        ({"clarity_credits": 0}, "at least 1 credit"),
        ({"clarity_credits": -3}, "at least 1 credit"),
        ({"clarity_credits": 2.5}, "integer"),
        ({"vicsee_credits": {1: 20, 2: 20, 4: 40}}, "factors 1, 2, 4 and 8"),
        ({"vicsee_credits": {1: 20, 2: 20, 4: 40, 8: 80, 16: 160}}, "factors 1, 2, 4 and 8"),
        ({"vicsee_credits": {1: 20, 2: 0, 4: 40, 8: 80}}, "at least 1 credit"),
        ({"topaz_credits": 8}, "not permitted"),
    ],
)
def test_a_price_list_that_makes_no_sense_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Prices(**changed)


def test_an_operator_may_set_other_prices() -> None:
    prices = Prices(topaz_tiers=(Tier(megapixels=1, credits=5),), clarity_credits=1)
    assert (prices.topaz(1_000_000), prices.clarity()) == (5, 1)
    with pytest.raises(OutputTooLarge):
        prices.topaz(1_000_001)
