"""Where a face lies: the similarity that brings it upright into a square, and the square itself.

Points are (x, y) from the top left corner; the middle of the first pixel is (0.5, 0.5).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from inference.picture import Samples

Points = NDArray[np.float64]

SQUARE_PX = 512
CORNERS: Points = np.array([(0, 0), (1, 0), (0, 1), (1, 1)]) * float(SQUARE_PX)
TEMPLATE: Points = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.19360),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)
"""Where eyes, nose and corners of the mouth lie in the square in which restorers learn faces: the
mean places of FFHQ's, as that collection is aligned.
"""


@dataclass(frozen=True)
class Similarity:
    """Turns, scales and moves points, and mirrors none: `scale * rotation @ point + shift`."""

    scale: float
    rotation: NDArray[np.float64]
    shift: NDArray[np.float64]

    def __call__(self, points: Points) -> Points:
        """Where the points, (n, 2), go."""
        (a, b), (c, d) = self.scale * self.rotation
        x, y = points.T
        # Written out it is ten times as fast as a product with so thin a matrix.
        return np.stack((a * x + b * y + self.shift[0], c * x + d * y + self.shift[1]), axis=1)

    def inverse(self) -> "Similarity":
        """The way back."""
        back = self.rotation.T
        return Similarity(1 / self.scale, back, -back @ self.shift / self.scale)

    def of_enlarged(self, factor: float) -> "Similarity":
        """The same for points of a picture that is `factor` times as large."""
        return Similarity(self.scale / factor, self.rotation, self.shift)


def similarity(source: Points, target: Points) -> Similarity:
    """The one that brings the source's points nearest to the target's in the mean of squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns"
    (PAMI 1991), equations 38 to 43. The source's points must not all be the same.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_rays, target_rays = source - source_mean, target - target_mean
    left, stretch, right = np.linalg.svd(target_rays.T @ source_rays / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left * signs @ right
    scale = float((stretch * signs).sum() / source_rays.var(axis=0).sum())
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def square_of(landmarks: Points) -> Similarity:
    """From the picture to the square: brings a face's five landmarks to the template's."""
    return similarity(landmarks, TEMPLATE)


@cache
def square_points() -> Points:
    """The middles of the square's pixels, row by row; not to be changed."""
    middles = np.arange(SQUARE_PX, dtype=np.float64) + 0.5
    return np.stack(np.meshgrid(middles, middles), axis=2).reshape(-1, 2)


def in_square(colour: Samples, to_square: Similarity) -> Tensor:
    """The square's pixels, (1, 3, `SQUARE_PX`, `SQUARE_PX`), 0..1.

    Beyond the picture its edge goes on. For a square that is smaller in the picture, as it does
    not smooth what it would reduce.
    """
    to_picture = to_square.inverse()
    window, origin = _around(colour, to_picture(CORNERS))
    places = to_picture(square_points())
    return sampled(window, places - origin).view(1, 3, SQUARE_PX, SQUARE_PX)


def sampled(picture: Tensor, places: Points) -> Tensor:
    """A picture's, (c, h, w), bicubic values at the places, (c, n), within 0..1."""
    height, width = picture.shape[1:]
    around = torch.from_numpy(places / (width, height) * 2 - 1).float()[None, None]
    values = F.grid_sample(
        picture[None], around, mode="bicubic", padding_mode="border", align_corners=False
    )
    return values[0, :, 0].clamp_(0, 1)


def _around(colour: Samples, places: Points) -> tuple[Tensor, NDArray[np.int64]]:
    """The picture around and between the places, (3, h, w), and where that begins, as (x, y)."""
    margin_px = 2  # what bicubic sampling looks at
    size = np.array(colour.shape[1::-1])
    first = np.floor(places.min(axis=0)).astype(np.int64) - margin_px
    last = np.ceil(places.max(axis=0)).astype(np.int64) + margin_px
    first, last = np.clip(first, 0, size - 1), np.clip(last, 1, size)
    part = colour[first[1] : last[1], first[0] : last[0]].astype(np.float32)
    part /= np.iinfo(colour.dtype).max
    planes = torch.from_numpy(part.reshape(*part.shape[:2], -1)).permute(2, 0, 1)
    return planes.expand(3, -1, -1), first
