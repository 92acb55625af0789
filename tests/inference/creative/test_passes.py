"""Passes: which doublings a factor is made of."""

import pytest

from inference.creative.passes import Pass, passes
from inference.params import CreativeParams, Factor

USUAL = CreativeParams(
    prompt="",
    negative_prompt="",
    creativity=0.5,
    resemblance=0.6,
    dynamic=6,
    steps=18,
    sharpen=0,
    seed=1337,
)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (1, (Pass(1, 0.5, 1337),)),
        (2, (Pass(2, 0.5, 1337),)),
        (4, (Pass(2, 0.5, 1337), Pass(2, 0.4, 1338))),
    ],
)
def test_each_further_pass_invents_less_with_the_next_seed(
    factor: Factor, expected: tuple[Pass, ...]
) -> None:
    assert passes(factor, USUAL) == expected


def test_eight_is_three_doublings() -> None:
    *_, last = passes(8, USUAL)
    assert (last.scale, last.seed) == (2, 1339)
    assert last.creativity == pytest.approx(0.32)


def test_six_is_not_made_of_doublings() -> None:
    with pytest.raises(ValueError, match="factor of 6"):
        passes(6, USUAL)
