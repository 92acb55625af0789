"""Caps: what a key may not do, and which cap says so."""

import pytest

from billing.caps import Caps, check
from billing.errors import CapReached

TOPAZ = "topaz-image-upscale"


def test_a_key_without_caps_may_do_everything() -> None:
    check(Caps(), model=TOPAZ, credits=10**9, day={"credits": 10**9, "jobs": 10**9})
    assert not Caps().are_counted


@pytest.mark.parametrize(
    ("caps", "told"),
    [
        (Caps(job_credits=19), "this key's cap is 19 credits a job"),
        (Caps(day_credits=99), "cap of 99 credits a day"),
        (Caps(day_jobs=4), "cap of 4 jobs a day"),
        (Caps(month_credits=219), "cap of 219 credits a month"),
        (Caps(month_jobs=10), "cap of 10 jobs a month"),
        (Caps(models=("clarity-upscale",)), "may not use topaz-image-upscale"),
        (Caps(models=()), "may not use topaz-image-upscale"),
    ],
)
def test_each_cap_is_named_when_it_is_reached(caps: Caps, told: str) -> None:
    day, month = {"credits": 80, "jobs": 4}, {"credits": 200, "jobs": 10}
    with pytest.raises(CapReached, match=told):
        check(caps, model=TOPAZ, credits=20, day=day, month=month)


@pytest.mark.parametrize(
    "caps",
    [
        Caps(job_credits=20),
        Caps(day_credits=100),
        Caps(day_jobs=5),
        Caps(month_credits=220),
        Caps(month_jobs=11),
        Caps(models=(TOPAZ,)),
    ],
)
def test_a_cap_may_be_used_up(caps: Caps) -> None:
    day, month = {"credits": 80, "jobs": 4}, {"credits": 200, "jobs": 10}
    check(caps, model=TOPAZ, credits=20, day=day, month=month)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "many"])
def test_a_cap_is_a_whole_number_of_at_least_one(wrong: object) -> None:
    with pytest.raises(ValueError, match="day_credits"):
        Caps.model_validate({"day_credits": wrong})
