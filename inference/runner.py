"""Tiles through a network: from 8-bit pixels in batches to 8-bit pixels tile by tile."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.chain import Chain
from inference.tiling import Tile

Pixels = NDArray[np.uint8]


def run(
    chain: Chain, picture: Pixels, tiles: Sequence[Tile], *, batch_tiles: int
) -> Iterator[tuple[Tile, Pixels]]:
    """Each tile with its enlarged window, in order; `picture` is (h, w, 3) or, grey, (h, w)."""
    remaining = iter(tiles)
    while batch := list(islice(remaining, batch_tiles)):
        windows = [picture[slice(*tile.rows), slice(*tile.columns)] for tile in batch]
        yield from zip(batch, _enlarged(chain, np.stack(windows)), strict=True)


@torch.inference_mode()
def _enlarged(chain: Chain, windows: Pixels) -> Pixels:
    """(n, h, w, 3) -> (n, scale * h, scale * w, 3), or the same without the last for grey."""
    is_grey = windows.ndim == 3
    pixels = torch.from_numpy(windows)
    pixels = pixels[..., None].expand(-1, -1, -1, 3) if is_grey else pixels
    output: Tensor = chain(_planes(pixels))
    if is_grey:
        output = output.mean(dim=1, keepdim=True)
    levels = output.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1)
    enlarged: Pixels = levels.numpy()
    return enlarged[..., 0] if is_grey else enlarged


def _planes(pixels: Tensor) -> Tensor:
    """(n, h, w, 3) bytes -> (n, 3, h, w) in 0..1, still interleaved in memory."""
    planes = pixels.permute(0, 3, 1, 2).float().div_(255)
    return planes.contiguous(memory_format=torch.channels_last)
