"""What can be read off a network's parameters, by their names and shapes."""

import math
from collections.abc import Mapping

from torch import Tensor

State = Mapping[str, Tensor]
"""Parameters and buffers by their names, as a checkpoint holds them."""


def length(state: State, prefix: str) -> int:
    """How many numbers follow a prefix such as `body.`, if they count up from 0."""
    starts = (name.removeprefix(prefix) for name in state if name.startswith(prefix))
    numbers = {int(start.partition(".")[0]) for start in starts}
    return max(numbers) + 1 if numbers else 0


def shuffle_factor(channels: int, *, of: int = 3) -> int:
    """The factor of a pixel shuffle that makes `of` channels out of these.

    Raises ValueError if there is none.
    """
    factor = math.isqrt(max(0, channels // of))
    if factor == 0 or of * factor * factor != channels:
        raise ValueError(f"{channels} channels cannot be shuffled into pixels of {of}")
    return factor
