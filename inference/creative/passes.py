"""The passes of a creative enlargement: every doubling anew, each inventing less than before."""

from typing import NamedTuple

from inference.params import CreativeParams, Factor

FADING = 0.8
"""What a further pass has of the creativity of the one before it."""


class Pass(NamedTuple):
    """Enlarge by `scale`, 1 or 2, then diffuse from noise of `creativity` with that seed."""

    scale: int
    creativity: float
    seed: int


def passes(factor: Factor, creative: CreativeParams) -> tuple[Pass, ...]:
    """One for each doubling, and one for a factor of 1; raises ValueError where twos do not do."""
    count = max(1, factor.bit_length() - 1)
    scale = min(factor, 2)
    if scale**count != factor:
        raise ValueError(f"a factor of {factor} cannot be made of doublings")
    return tuple(
        Pass(scale, creative.creativity * FADING**number, creative.seed + number)
        for number in range(count)
    )
