"""The resizer of the benchmarks: what its kernels must give, whatever the picture."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.resampling import CUBIC, LANCZOS3, Kernel, resized
from tests.inference.drawings import noise, scene

Pixels = NDArray[np.uint8]

both = pytest.mark.parametrize("kernel", [CUBIC, LANCZOS3], ids=["cubic", "lanczos3"])
at_every_scale = pytest.mark.parametrize("side", [6, 12, 18, 24, 31, 36, 48, 96])


def row(values: list[int]) -> Pixels:
    """One row of one channel, three times: its columns are all that can change."""
    return np.array([values] * 3, np.uint8)[..., None]


def slowly(samples: list[int], length: int, kernel: Kernel) -> list[int]:
    """The definition, sample by sample: the kernel centred on each new one, edges mirrored."""
    scale = length / len(samples)
    sharpness = min(scale, 1.0)
    mirrored = samples + samples[::-1]
    made = []
    for place in range(length):
        centre = (place + 0.5) / scale - 0.5
        reach = kernel.reach / sharpness
        taps = range(math.ceil(centre - reach), math.floor(centre + reach) + 1)
        weights = [float(kernel.weigh(np.array(sharpness * (centre - tap)))) for tap in taps]
        total = sum(
            weight * mirrored[tap % len(mirrored)]
            for weight, tap in zip(weights, taps, strict=True)
        )
        made.append(min(255, max(0, math.floor(total / sum(weights) + 0.5))))
    return made


@both
@at_every_scale
def test_it_gives_what_the_definition_gives(kernel: Kernel, side: int) -> None:
    samples = [int(value) for value in noise(24)]
    made = resized(row(samples), width=side, height=3, kernel=kernel)
    assert made[1, :, 0].tolist() == slowly(samples, side, kernel)


@both
def test_the_same_size_is_the_same_picture(kernel: Kernel) -> None:
    picture = noise(13, 17, 3)
    assert np.array_equal(resized(picture, width=17, height=13, kernel=kernel), picture)


@both
@at_every_scale
def test_one_colour_stays_that_colour(kernel: Kernel, side: int) -> None:
    made = resized(np.full((24, 24, 3), 77, np.uint8), width=side, height=side, kernel=kernel)
    assert made.shape == (side, side, 3)
    assert (made == 77).all()


def test_an_edge_shows_the_weights_of_keys_cubic_convolution() -> None:
    made = resized(row([40, 40, 40, 168, 168, 168]), width=12, height=3, kernel=CUBIC)
    # In 128ths, at distances of 1/4, 3/4, 5/4 and 7/4: 111, 29, -9 and -3.
    steps = [0, 0, 0, -3, -9, 29 - 3, 111 - 9, 128 + 9, 128 + 3, 128, 128, 128]
    assert made[0, :, 0].tolist() == [40 + step for step in steps]


@both
def test_a_straight_ramp_stays_straight_inside(kernel: Kernel) -> None:
    made = resized(row(list(range(0, 240, 8))), width=60, height=3, kernel=kernel)
    inner = made[0, 12:-12, 0].astype(int)
    assert all(step in (3, 4, 5) for step in (later - at for at, later in pairwise(inner)))


@both
def test_a_reduction_averages_what_is_finer_than_its_grid(kernel: Kernel) -> None:
    stripes = row([0, 200] * 32)
    made = resized(stripes, width=8, height=3, kernel=kernel)
    assert np.abs(made[0, 2:-2, 0].astype(int) - 100).max() <= 1


@both
def test_a_mirrored_picture_is_resized_to_the_mirror_image(kernel: Kernel) -> None:
    picture = np.asarray(scene(36, 20))
    made = resized(picture, width=25, height=40, kernel=kernel)
    mirrored = resized(picture[:, ::-1], width=25, height=40, kernel=kernel)
    assert np.abs(made[:, ::-1].astype(int) - mirrored).max() <= 1  # halves round upwards
