"""Blending: what creativity allows of a restored face, and colours that fit."""

import numpy as np
import pytest
import torch
from torch import Tensor

from inference.faces.blending import LEAST_SIGMA_PX, MOST_CONTRAST, blended, low_band

SIZE = 192
MIDDLE = (..., slice(48, 144), slice(48, 144))
"""Where the weight is; the square's edge, where waves are cut off, is never shown."""


def waves(period_px: float) -> Tensor:
    """Grey waves of a tenth around the middle, (1, 3, n, n)."""
    across = torch.arange(SIZE) / period_px * 2 * torch.pi
    return (0.5 + 0.1 * torch.sin(across)).expand(1, 3, SIZE, SIZE)


def blend(given: Tensor, restored: Tensor, *, creativity: float, side_px: float = SIZE) -> Tensor:
    weight = torch.zeros(1, 1, SIZE, SIZE)
    weight[MIDDLE] = 1
    return blended(given, restored, creativity=creativity, side_px=side_px, weight=weight)


def assert_alike(shown: Tensor, expected: Tensor, *, to: float) -> None:
    torch.testing.assert_close(shown[MIDDLE], expected[MIDDLE], atol=to, rtol=0)


def test_full_creativity_is_the_restored_face() -> None:
    given, restored = waves(48), waves(48) + waves(5) - 0.5
    assert_alike(blend(given, restored, creativity=1), restored, to=0.01)


def test_without_creativity_the_low_band_is_the_given_ones() -> None:
    given, restored = waves(48), waves(48) + waves(5) + waves(96) - 1
    low = low_band(blend(given, restored, creativity=0) - given, sigma_px=2 * LEAST_SIGMA_PX)
    assert_alike(low, torch.zeros_like(low), to=0.01)


def test_without_creativity_detail_is_the_restored_ones() -> None:
    given, restored = waves(48), waves(48) + waves(5) - 0.5
    assert_alike(blend(given, restored, creativity=0), restored, to=0.01)


def test_more_creativity_leads_further_away_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    given, restored = waves(64), torch.rand(1, 3, SIZE, SIZE, generator=generator)
    low = low_band(given, sigma_px=8)
    away = [
        float((low_band(blend(given, restored, creativity=step / 5), sigma_px=8) - low).norm())
        for step in range(6)
    ]
    assert away == sorted(away)
    assert away[0] < away[-1]


def test_a_face_of_few_pixels_keeps_only_what_those_can_hold() -> None:
    given, restored = waves(64), waves(24)
    of_few = blend(given, restored, creativity=0, side_px=SIZE / 16)
    of_many = blend(given, restored, creativity=0, side_px=SIZE)
    assert (of_few - restored).norm() < (of_many - restored).norm()


def test_a_restorer_that_shifts_colours_is_fitted_to_what_it_was_given() -> None:
    given = waves(48)
    shifted = given * 0.9 + torch.tensor([0.2, 0.0, -0.1]).view(1, 3, 1, 1)
    assert_alike(blend(given, shifted, creativity=1), given, to=0.002)


def test_the_contrast_is_changed_within_bounds() -> None:
    given, strong = waves(48), 3 * waves(48) - 1
    expected = 3 / MOST_CONTRAST * (given - 0.5) + 0.5
    assert_alike(blend(given, strong, creativity=1), expected, to=0.002)


def test_a_restored_face_without_any_contrast_stays_even() -> None:
    shown = blend(waves(48), torch.full((1, 3, SIZE, SIZE), 0.4), creativity=1)
    assert shown.std() < 1e-6


@pytest.mark.parametrize("sigma_px", [1.0, 4.0, 32.0])
def test_the_low_band_of_an_even_picture_is_the_picture(sigma_px: float) -> None:
    even = torch.full((1, 3, 20, 30), 0.3)
    torch.testing.assert_close(low_band(even, sigma_px=sigma_px), even)


def test_the_low_band_is_a_gaussians_mean() -> None:
    dot = torch.zeros(1, 3, 41, 41)
    dot[..., 20, 20] = 1
    low = low_band(dot, sigma_px=3)[0, 0, 20, 20:].numpy()
    np.testing.assert_allclose(
        low / low[0], np.exp(-(np.arange(21) ** 2) / 18) * (np.arange(21) < 10), atol=1e-5
    )
