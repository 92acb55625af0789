"""Resizing as MATLAB's imresize does it, which published super-resolution figures assume."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


class Kernel(NamedTuple):
    """A weight for each distance, and the distance from which on it is zero."""

    weigh: Callable[[Floats], Floats]
    reach: int


def _cubic(x: Floats) -> Floats:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def _lanczos3(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


CUBIC = Kernel(_cubic, 2)
"""Keys' cubic convolution with a = -0.5."""
LANCZOS3 = Kernel(_lanczos3, 3)
"""The sinc, windowed by its own third."""


def resized(picture: Pixels, *, width: int, height: int, kernel: Kernel) -> Pixels:
    """(h, w, channels) -> (height, width, channels): antialiased, edges mirrored, rows first.

    Rounded to 8 bits after each of the two passes: then it equals MATLAB's files bit for bit.
    """
    rows_done = _pass(picture, height, kernel)
    return _pass(rows_done.swapaxes(0, 1), width, kernel).swapaxes(0, 1)


def _pass(picture: Pixels, length: int, kernel: Kernel) -> Pixels:
    """Resize the first axis."""
    given = picture.shape[0]
    scale = length / given
    sharpness = min(scale, 1.0)  # when reducing, the kernel widens
    reach = kernel.reach / sharpness
    centres = (np.arange(length) + 0.5) / scale - 0.5
    first = np.floor(centres - reach)
    taps = first[:, None] + np.arange(math.ceil(2 * reach) + 2)
    weights = kernel.weigh(sharpness * (centres[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate((np.arange(given), np.arange(given)[::-1]))
    sources = mirrored[taps.astype(int) % (2 * given)]
    total = np.zeros((length, *picture.shape[1:]))
    for tap in range(taps.shape[1]):
        total += weights[:, tap, None, None] * picture[sources[:, tap]]
    return np.clip(np.floor(total + 0.5), 0, 255).astype(np.uint8)
