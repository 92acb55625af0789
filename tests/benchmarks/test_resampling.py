"""The benchmarks' resizer against a slow version of itself, and what its kernels promise."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.resampling import CUBIC, LANCZOS3, Kernel, resized

Pixels = NDArray[np.uint8]


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def weight(kernel: Kernel, distance: float) -> float:
    """The kernels as their authors print them."""
    x = abs(distance)
    if kernel is LANCZOS3:
        if x == 0:
            return 1.0
        turn = math.pi * x
        return 0.0 if x >= 3 else math.sin(turn) * math.sin(turn / 3) / (turn * turn / 3)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def slow_line(line: list[float], length: int, kernel: Kernel) -> list[int]:
    """One line, one sample at a time: each weighs all that its kernel reaches, beyond ends too."""
    given = len(line)
    scale = length / given
    widening = max(1.0, 1 / scale)
    made = []
    for at in range(length):
        centre = (at + 0.5) / scale - 0.5
        total = weights = 0.0
        for tap in range(-3 * given, 4 * given):
            share = weight(kernel, (centre - tap) / widening)
            place = tap % (2 * given)
            total += share * line[min(place, 2 * given - 1 - place)]
            weights += share
        made.append(min(255, max(0, math.floor(total / weights + 0.5))))
    return made


@pytest.mark.parametrize("kernel", [CUBIC, LANCZOS3])
@pytest.mark.parametrize(("width", "height"), [(24, 18), (6, 5), (4, 3), (12, 9), (17, 4)])
def test_it_equals_the_slow_one(kernel: Kernel, width: int, height: int) -> None:
    picture = noise(9, 12, 1)
    columns = [slow_line(list(column), height, kernel) for column in picture[..., 0].T]
    rows = [slow_line(list(row), width, kernel) for row in np.array(columns).T]
    assert resized(picture, width=width, height=height, kernel=kernel)[..., 0].tolist() == rows


@pytest.mark.parametrize("kernel", [CUBIC, LANCZOS3])
def test_the_same_size_changes_nothing(kernel: Kernel) -> None:
    picture = noise(13, 8, 3)
    assert np.array_equal(resized(picture, width=8, height=13, kernel=kernel), picture)


@pytest.mark.parametrize("kernel", [CUBIC, LANCZOS3])
def test_a_plain_colour_stays_what_it_is(kernel: Kernel) -> None:
    picture = np.full((7, 9, 3), (3, 128, 255), np.uint8)
    for width, height in ((31, 20), (3, 2), (1, 1)):
        made = resized(picture, width=width, height=height, kernel=kernel)
        assert (made == picture[0, 0]).all()


def test_channels_do_not_mix() -> None:
    picture = noise(10, 11, 3)
    whole = resized(picture, width=5, height=21, kernel=CUBIC)
    for channel in range(3):
        alone = resized(picture[..., channel : channel + 1], width=5, height=21, kernel=CUBIC)
        assert np.array_equal(whole[..., channel : channel + 1], alone)


def test_a_reduction_takes_fine_patterns_for_their_mean() -> None:
    picture = np.tile(np.array([0, 255], np.uint8), (64, 32))[..., None]
    made = resized(picture, width=16, height=16, kernel=CUBIC)[2:-2, 2:-2]
    assert np.abs(made.astype(int) - 128).max() <= 8
