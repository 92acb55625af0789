"""What is done to whole pictures around the diffusion: doubled, colours put back, sharpened.

None of it looks farther than its radius, so that bands of rows with as much margin give what the
whole picture would; only they go to the device.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inference.picture import Canvas

CPU = torch.device("cpu")
BAND_PX = 256
WAVELET_LEVELS = 5
COLOUR_RADIUS_PX = 2**WAVELET_LEVELS - 1
BICUBIC_RADIUS_PX = 2
LEVELS = 65_535


def doubled(canvas: Canvas, *, device: torch.device = CPU) -> Iterator[Canvas]:
    """The rows of the canvas at twice its width and height, by plain bicubic interpolation."""

    def change(picture: Tensor) -> Tensor:
        return F.interpolate(picture, scale_factor=2.0, mode="bicubic")

    return _in_bands(change, canvas, device=device, radius_px=BICUBIC_RADIUS_PX, scale=2)


def recoloured(canvas: Canvas, source: Canvas, *, device: torch.device = CPU) -> Iterator[Canvas]:
    """The canvas's rows with the low frequencies of the source, which is as large.

    The low band is what five levels of a wavelet with holes leave (Starck et al. 2007, "The
    Undecimated Wavelet Decomposition"): nothing finer than about 64 px.
    """

    def change(picture: Tensor, kept: Tensor) -> Tensor:
        return picture + low_band(kept - picture)

    return _in_bands(change, canvas, source, device=device, radius_px=COLOUR_RADIUS_PX)


def sharpened(canvas: Canvas, amount: float, *, device: torch.device = CPU) -> Iterator[Canvas]:
    """The canvas's rows through a 3 x 3 kernel: -amount/10 around 1 + 0.8 * amount, 0 to 10."""

    def change(picture: Tensor) -> Tensor:
        mean = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return picture + (picture - mean) * (0.9 * amount)

    return _in_bands(change, canvas, device=device, radius_px=1)


def low_band(planes: Tensor) -> Tensor:
    """Of (n, c, h, w): smoothed by [1 2 1] / 4 with ever larger holes; edges are repeated."""
    for level in range(WAVELET_LEVELS):
        hole = 2**level
        wide = F.pad(planes, (hole, hole, 0, 0), mode="replicate")
        planes = (wide[..., : -2 * hole] + wide[..., 2 * hole :]) / 4 + planes / 2
        high = F.pad(planes, (0, 0, hole, hole), mode="replicate")
        planes = (high[..., : -2 * hole, :] + high[..., 2 * hole :, :]) / 4 + planes / 2
    return planes


def planes_of(canvas: Canvas) -> Tensor:
    """(h, w, 3) -> (1, 3, h, w), fp32, in 0..1."""
    return torch.from_numpy(canvas.astype(np.float32) / LEVELS).permute(2, 0, 1)[None]


def canvas_of(planes: Tensor) -> Canvas:
    """(1, 3, h, w), about 0..1 -> (h, w, 3)."""
    levels = (planes[0].permute(1, 2, 0).clamp(0, 1) * LEVELS).round()
    return levels.cpu().numpy().astype(np.uint16)


def _in_bands(
    change: Callable[..., Tensor],
    *canvases: Canvas,
    device: torch.device,
    radius_px: int,
    scale: int = 1,
) -> Iterator[Canvas]:
    height = len(canvases[0])
    for top in range(0, height, BAND_PX):
        start = max(0, top - radius_px)
        end = min(top + BAND_PX + radius_px, height)
        changed = change(*(planes_of(canvas[start:end]).to(device) for canvas in canvases))
        kept = slice((top - start) * scale, (min(top + BAND_PX, height) - start) * scale)
        yield canvas_of(changed[..., kept, :])
