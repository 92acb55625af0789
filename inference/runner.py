"""Pictures through a chain of networks, tile by tile, into finished rows from the top."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from inference.bands import CutBands, FadedBands, Form
from inference.chain import Chain
from inference.devices import TORCH_TYPES, Bits, Device, Fetched, Sizes, Source
from inference.errors import OutOfMemory
from inference.picture import Samples
from inference.tiling import Plan, plan

Progress = Callable[[int, int], None]
"""Takes the tiles done and all of them; what it raises ends the work."""


MAX_PLANS = 8
"""How often a picture is planned with ever smaller pieces before memory is given up on."""

_MEMORY_COMPLAINTS = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
"""What errors say that torch raises for want of memory, but not as its `OutOfMemoryError`."""


def run(
    chain: Chain,
    layers: Sequence[Samples],
    *,
    device: Device,
    bits: Bits,
    progress: Progress,
    sizes: Sizes | None = None,
) -> Iterator[Samples]:
    """The enlarged picture's rows, in order: (n, scale * w, channels) of 8 or 16 `bits`.

    `layers` are arrays of one height and width, (h, w, 3) or (h, w, 1); each goes through the chain
    by itself, and their channels stand side by side in the result. Of 1 channel the network sees
    three alike, and what it makes of them is averaged.

    When memory runs out, the rows that are still to come are planned anew in smaller pieces:
    `OutOfMemory` when that does not help. Raises `NotANumber` before any row that is not sound.
    """
    height, width = layers[0].shape[:2]
    sizes = sizes or device.sizes(chain)
    delivered = 0
    for _ in range(MAX_PLANS):
        whole = plan(width, height, windows=sizes.windows, overlap=chain.overlap)
        rest = whole.below(delivered // chain.scale)
        top = rest.rows[0].kept.start * chain.scale
        work = _Work(chain, layers, rest, sizes.batch_tiles, of_tiles=whole.tiles * len(layers))
        try:
            for rows in work.rows(device, bits=bits, progress=progress):
                news = rows[max(0, delivered - top) :]
                top += len(rows)
                delivered += len(news)
                if len(news):
                    yield news
            return
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        device.release()
        sizes = sizes.smaller()
        if min(sizes.windows) < chain.overlap.least_px:
            break
    raise OutOfMemory


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is what an error of torch's or Python's is about."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        complaint in str(error) for complaint in _MEMORY_COMPLAINTS
    )


class _Tile(NamedTuple):
    row: int
    column: int
    layer: int


class _Work(NamedTuple):
    """What one plan has the chain do; `of_tiles` is what there was to do at first."""

    chain: Chain
    layers: Sequence[Samples]
    plan: Plan
    batch_tiles: int
    of_tiles: int

    @torch.inference_mode()
    def rows(self, device: Device, *, bits: Bits, progress: Progress) -> Iterator[Samples]:
        """All rows of the plan, as they are finished."""
        sources = self._uploaded(device)
        bands = self._bands(device, bits=bits)
        is_finite = torch.ones((), dtype=torch.bool, device=device.torch_device)
        on_their_way: deque[Fetched] = deque()
        done = self.of_tiles - self.plan.tiles * len(self.layers)
        for batch in self._batches():
            enlarged = self.chain(self._planes(batch, sources, device.torch_device))
            is_finite = is_finite & enlarged.is_finite
            for tile, window in zip(batch, enlarged.pixels, strict=False):  # the rest is padding
                bands.put(tile.row, tile.column, *self._kept(window, tile))
                if self._ends_a_row(tile):
                    on_their_way.append(device.fetch(bands.finish(tile.row), is_finite=is_finite))
            done += len(batch)
            progress(done, self.of_tiles)
            while len(on_their_way) > device.ahead:
                yield on_their_way.popleft()()
        while on_their_way:
            yield on_their_way.popleft()()

    def _uploaded(self, device: Device) -> list[Source]:
        width_px, height_px = self.plan.columns[-1].window.end, self.plan.rows[-1].window.end
        return [
            device.upload(layer, width_px=width_px, height_px=height_px) for layer in self.layers
        ]

    def _bands(self, device: Device, *, bits: Bits) -> CutBands | FadedBands:
        kind = CutBands if self.chain.is_local else FadedBands
        form = Form(
            width_px=self.layers[0].shape[1] * self.chain.scale,
            channels=sum(layer.shape[2] for layer in self.layers),
            dtype=TORCH_TYPES[bits],
            device=device.torch_device,
        )
        return kind(self.plan, form, scale=self.chain.scale)

    @property
    def _batch_size(self) -> int:
        """No more than there are tiles; else as said, and then the last batch is filled up."""
        return min(self.batch_tiles, self.plan.tiles * len(self.layers))

    def _batches(self) -> Iterator[list[_Tile]]:
        """Tiles row by row, in batches of one size but for the last."""
        tiles = iter(
            _Tile(row, column, layer)
            for row in range(len(self.plan.rows))
            for layer in range(len(self.layers))
            for column in range(len(self.plan.columns))
        )
        while batch := list(islice(tiles, self._batch_size)):
            yield batch

    def _planes(self, batch: list[_Tile], sources: list[Source], device: torch.device) -> Tensor:
        """(n, 3, h, w) in 0..1, interleaved in memory, of one shape in every batch."""
        rows, columns = self.plan.rows[0].window, self.plan.columns[0].window
        planes = torch.empty(
            (self._batch_size, 3, rows.length, columns.length),
            memory_format=torch.channels_last,
            device=device,
        )
        padding = [batch[-1]] * (self._batch_size - len(batch))
        for plane, tile in zip(planes, batch + padding, strict=True):
            place = self.plan.rows[tile.row].window, self.plan.columns[tile.column].window
            plane.copy_(sources[tile.layer](*place))
        return planes.div_(float(np.iinfo(self.layers[0].dtype).max))

    def _kept(self, window: Tensor, tile: _Tile) -> tuple[Tensor, slice]:
        """What a tile's layer keeps of an enlarged window, and the channels that it goes to."""
        channels = self.layers[tile.layer].shape[2]
        first = sum(layer.shape[2] for layer in self.layers[: tile.layer])
        if channels == 1:
            window = window.mean(dim=0, keepdim=True)
        return window, slice(first, first + channels)

    def _ends_a_row(self, tile: _Tile) -> bool:
        return (tile.column, tile.layer) == (len(self.plan.columns) - 1, len(self.layers) - 1)
