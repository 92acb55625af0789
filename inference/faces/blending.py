"""How much of a restored face is taken: its colours fitted, and its low band as far as allowed."""

import math

import torch
from torch import Tensor

LEAST_SIGMA_PX = 4.0
"""In the square: what is coarser is who somebody is, what is finer is skin and lashes."""

COLOUR_SIGMA_PX = 16.0
MOST_CONTRAST = 1.25
"""How much the restored face's contrast may be changed to fit, either way."""


def blended(
    given: Tensor, restored: Tensor, *, creativity: float, side_px: float, weight: Tensor
) -> Tensor:
    """What is shown of a restored face, all of them (1, 3, n, n) in 0..1.

    At a `creativity` of 1 that is the restored face, its colours fitted to those given where
    `weight`, (1, 1, n, n), is high. At 0 what it changed in the low band is taken back, so that
    only detail is new; in between, in proportion. The given face has come from `side_px` pixels
    of the picture, and what is coarser than those is its low band.
    """
    fitted = _fitted(restored, to=given, weight=weight)
    sigma_px = max(LEAST_SIGMA_PX, given.shape[-1] / side_px)
    changed = low_band(given - fitted, sigma_px=sigma_px)
    return (fitted + (1 - creativity) * changed).clamp_(0, 1)


def low_band(picture: Tensor, *, sigma_px: float) -> Tensor:
    """A Gaussian's mean around each pixel, (n, c, h, w); beyond the picture its edge goes on."""
    height, width = picture.shape[2:]
    return _gaussian(height, sigma_px) @ picture @ _gaussian(width, sigma_px).T


def _gaussian(length: int, sigma_px: float) -> Tensor:
    """The weights that each of so many samples has in the mean around each, (mean, sample).

    With wide Gaussians two products of matrices are many times as fast as convolutions.
    """
    radius_px = math.ceil(3 * sigma_px)
    steps = torch.arange(-radius_px, radius_px + 1)
    weights = torch.exp(-(steps**2) / (2 * sigma_px**2))
    weights /= weights.sum()
    samples = (torch.arange(length)[:, None] + steps).clamp_(0, length - 1)
    means = torch.zeros(length, length)
    return means.scatter_add_(1, samples, weights.expand(length, -1))


def _fitted(restored: Tensor, *, to: Tensor, weight: Tensor) -> Tensor:
    """The restored face with the mean and the contrast that each of the given colours has."""
    mean, contrast = _statistics(restored, weight)
    wanted_mean, wanted_contrast = _statistics(to, weight)
    gain = (wanted_contrast / contrast.clamp_min(1e-4)).clamp_(1 / MOST_CONTRAST, MOST_CONTRAST)
    return (restored - mean) * gain + wanted_mean


def _statistics(picture: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each colour's low band, (1, 3, 1, 1)."""
    low = low_band(picture, sigma_px=COLOUR_SIGMA_PX)
    shares = weight / weight.sum()
    mean = (low * shares).sum(dim=(2, 3), keepdim=True)
    variance = ((low - mean) ** 2 * shares).sum(dim=(2, 3), keepdim=True)
    return mean, variance.sqrt()
