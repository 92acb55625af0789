"""Filters of whole pictures: bands give what the whole would."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from inference.creative.filters import (
    BAND_PX,
    canvas_of,
    doubled,
    low_band,
    planes_of,
    recoloured,
    sharpened,
)
from inference.picture import Canvas

HEIGHT = 2 * BAND_PX + 60


def noise(seed: int, *, height: int = HEIGHT, width: int = 50) -> Canvas:
    dice = np.random.default_rng(seed)
    return dice.integers(0, 65_536, (height, width, 3), dtype=np.uint16)


def difference(one: Canvas, other: Canvas) -> NDArray[np.int64]:
    apart: NDArray[np.int64] = one.astype(np.int64) - other
    return np.abs(apart)


def test_colours_of_bands_are_those_of_the_whole() -> None:
    made, source = noise(1), noise(2)
    whole = planes_of(made)
    whole = whole + low_band(planes_of(source) - whole)
    bands = np.concatenate(list(recoloured(made, source)))
    assert difference(bands, canvas_of(whole)).max() <= 1


def test_a_colour_cast_is_taken_out_and_detail_is_kept() -> None:
    source = np.full((300, 300, 3), 30_000, np.uint16)
    cast = np.array([2_000, -1_500, 900])
    detail = np.random.default_rng(3).integers(-3_000, 3_000, source.shape)
    fixed = np.concatenate(list(recoloured((source + cast + detail).astype(np.uint16), source)))
    assert difference(fixed.mean(axis=(0, 1)).astype(np.uint16), source[0, 0]).max() <= 20
    assert fixed.std() == pytest.approx(detail.std(), rel=0.02)


def test_equal_pictures_stay_as_they_are() -> None:
    canvas = noise(4)
    assert np.array_equal(np.concatenate(list(recoloured(canvas, canvas))), canvas)


@pytest.mark.parametrize("amount", [1.0, 10.0])
def test_sharpening_is_the_published_kernel(amount: float) -> None:
    canvas = noise(5)
    kernel = torch.full((3, 1, 3, 3), -amount / 10)
    kernel[:, :, 1, 1] = 1 + 0.8 * amount
    padded = F.pad(planes_of(canvas), (1, 1, 1, 1), mode="replicate")
    wanted = canvas_of(F.conv2d(padded, kernel, groups=3))
    assert difference(np.concatenate(list(sharpened(canvas, amount))), wanted).max() <= 1


def test_flat_areas_are_not_sharpened() -> None:
    flat = np.full((20, 30, 3), 12_345, np.uint16)
    assert np.array_equal(np.concatenate(list(sharpened(flat, 10.0))), flat)


def test_doubling_in_bands_is_doubling_the_whole() -> None:
    canvas = noise(6)
    wanted = canvas_of(F.interpolate(planes_of(canvas), scale_factor=2.0, mode="bicubic"))
    assert difference(np.concatenate(list(doubled(canvas))), wanted).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 2)])
def test_the_smallest_pictures_pass(size: tuple[int, int]) -> None:
    canvas = noise(7, height=size[0], width=size[1])
    assert np.concatenate(list(recoloured(canvas, canvas))).shape == canvas.shape
    assert np.concatenate(list(sharpened(canvas, 2.0))).shape == canvas.shape
    assert np.concatenate(list(doubled(canvas))).shape == (2 * size[0], 2 * size[1], 3)
