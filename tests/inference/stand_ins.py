"""Networks without weights, each with one trait that a test is about, and how they are run."""

from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inference.chain import Chain
from inference.devices import Bits, Cpu, Sizes
from inference.networks.network import Network
from inference.picture import Samples
from inference.runner import Progress, run
from inference.tiling import Windows
from tests.inference.drawings import silent

CPU = Cpu()


class Nearest(Network):
    """Repeats pixels; what it was given is on record."""

    def __init__(self, scale: int, *, radius_px: int = 0, multiple_px: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.radius_px = radius_px
        self.multiple_px = multiple_px
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, picture: Tensor) -> Tensor:
        self.shapes.append(tuple(picture.shape))
        assert all(side % self.multiple_px == 0 for side in picture.shape[2:])
        return F.interpolate(picture, scale_factor=float(self.scale), mode="nearest")


class Blur(Nearest):
    """Means over 5 x 5 pixels, then repeats: a convolution with zeros around the picture."""

    def __init__(self, scale: int, *, multiple_px: int = 1) -> None:
        super().__init__(scale, radius_px=2, multiple_px=multiple_px)

    def forward(self, picture: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(picture, 5, stride=1, padding=2))


class Levelling(Nearest):
    """Adds a tenth of what its input's mean lacks to one half: it is not local."""

    is_local = False

    def forward(self, picture: Tensor) -> Tensor:
        mean = picture.mean(dim=(2, 3), keepdim=True)
        return super().forward(picture + (0.5 - mean) / 10)


class Greedy(Nearest):
    """Has memory for so many pixels at a time, and raises `error` where there are more."""

    def __init__(self, scale: int, *, pixels: int, error: Exception, after: int = 0) -> None:
        super().__init__(scale, radius_px=2)
        self.pixels, self.error, self.after = pixels, error, after

    def forward(self, picture: Tensor) -> Tensor:
        count, _, height, width = picture.shape
        if count * height * width > self.pixels and len(self.shapes) >= self.after:
            self.shapes.append(tuple(picture.shape))
            raise self.error
        return super().forward(picture)


class Broken(Nearest):
    """Gives one value that is none, in windows that hold a pixel of full white."""

    def __init__(self, scale: int, *, value: float) -> None:
        super().__init__(scale)
        self.value = value

    def forward(self, picture: Tensor) -> Tensor:
        enlarged = super().forward(picture)
        if picture.max() >= 1:
            enlarged[0, 0, 0, 0] = torch.tensor(self.value)
        return enlarged


def sizes(side_px: int, *, batch_tiles: int = 1) -> Sizes:
    """Square windows."""
    return Sizes(Windows(side_px, side_px), batch_tiles)


def made(
    chain: Chain,
    *layers: Samples,
    sizes: Sizes | None = None,
    bits: Bits = 8,
    progress: Progress = silent,
) -> Samples:
    """All rows of the result at once."""
    rows = list(run(chain, layers, device=CPU, bits=bits, progress=progress, sizes=sizes))
    return cast(Samples, np.concatenate(rows))
