"""Restored faces put into the finished rows of the enlarged picture, feathered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inference.faces.alignment import SQUARE_PX, Points, Similarity, sampled
from inference.picture import Samples

MASK_MIDDLE = (256.0, 272.0)
MASK_RADII = (208.0, 232.0)
"""Of the rounded rectangle, in the square, outside which nothing of a patch shows."""
FEATHER_FROM = 0.7
"""The share of the radii within which a patch shows whole."""

STRIP_ROWS = 64
"""How many rows are composed at once, to bound the memory that their coordinates take."""


@dataclass(frozen=True)
class Patch:
    """A restored face, and where in the enlarged picture it goes.

    The rectangle is in the enlarged picture's pixels. `colour`, (3, n, n) in 0..1, is the face in
    its square, `to_square` brings the enlarged picture's points there, and `opacity`, 0..1, is how
    much of the face shows in the middle.
    """

    top_px: int
    left_px: int
    height_px: int
    width_px: int
    colour: Tensor
    to_square: Similarity
    opacity: float


def paste(patches: Sequence[Patch], rows: Samples, *, top_px: int) -> None:
    """Compose the patches onto rows of the enlarged picture, in place.

    `rows`, (n, w) or (n, w, channels) of grey, grey and alpha, RGB or RGBA, begin `top_px` below
    the picture's top. Each pixel is what it would be if all rows came at once; alpha stays.
    """
    height, _, channels = (*rows.shape, 1)[:3]
    colour = rows.reshape(*rows.shape[:2], -1)[:, :, : 3 if channels > 2 else 1]
    for patch in patches:
        first = max(patch.top_px - top_px, 0)
        end = min(patch.top_px + patch.height_px - top_px, height)
        for row in range(first, end, STRIP_ROWS):
            strip = colour[row : min(row + STRIP_ROWS, end)]
            _compose(patch, strip[:, patch.left_px :][:, : patch.width_px], top_px=top_px + row)


def mask_at(points: Points) -> NDArray[np.float64]:
    """How much shows at points of the square, 0..1: a rounded rectangle with a soft edge."""
    across, down = np.abs((points - MASK_MIDDLE) / MASK_RADII).T
    outwards = (across**4 + down**4) ** 0.25
    share = np.clip((1 - outwards) / (1 - FEATHER_FROM), 0, 1)
    mask: NDArray[np.float64] = share * share * (3 - 2 * share)
    return mask


def _compose(patch: Patch, rows: Samples, *, top_px: int) -> None:
    """Compose a patch onto the pixels of its rectangle's rows that begin at `top_px`."""
    height, width, channels = rows.shape
    down, across = np.mgrid[:height, :width] + 0.5
    places = np.stack((across + patch.left_px, down + top_px), axis=2).reshape(-1, 2)
    in_square = patch.to_square(places)
    mask = patch.opacity * mask_at(in_square)
    shown = np.flatnonzero(mask)
    colour = sampled(patch.colour, in_square[shown] * (patch.colour.shape[1] / SQUARE_PX)).numpy()
    if channels == 1:
        colour = colour.mean(axis=0, keepdims=True)
    at = np.divmod(shown, width)
    below = rows[at].astype(np.float64)
    over = colour.T * np.float64(np.iinfo(rows.dtype).max)
    rows[at] = np.rint(below + mask[shown, None] * (over - below)).astype(rows.dtype)
