"""Passes: which doublings a factor is made of."""

import pytest

from inference.creative.passes import Pass, passes
from inference.params import Factor
from tests.inference.creative.tiny import KNOBS


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (1, (Pass(1, 0.5, 7),)),
        (2, (Pass(2, 0.5, 7),)),
        (4, (Pass(2, 0.5, 7), Pass(2, 0.4, 8))),
    ],
)
def test_each_further_pass_invents_less_with_the_next_seed(
    factor: Factor, expected: tuple[Pass, ...]
) -> None:
    assert passes(factor, KNOBS) == expected


def test_eight_is_three_doublings() -> None:
    *_, last = passes(8, KNOBS)
    assert (last.scale, last.seed) == (2, 9)
    assert last.creativity == pytest.approx(0.32)


def test_six_is_not_made_of_doublings() -> None:
    with pytest.raises(ValueError, match="factor of 6"):
        passes(6, KNOBS)
