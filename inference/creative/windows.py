"""The windows through which the denoiser sees large latents, and the weights that join them.

After Bar-Tal et al. 2023, "MultiDiffusion" (arXiv:2302.08113): every step looks through all
windows, and what they predict is averaged.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from inference.bands import ramps
from inference.tiling import Overlap, Part, Plan, Windows, plan

WINDOW = Windows(rows_px=144, columns_px=112)
"""In latents, which are 8 px wide and high: what the original looks through."""

MULTIPLE = 8
"""The UNet halves three times; windows and latents are multiples of it."""

OVERLAP = Overlap(halo_px=8, fade_px=16, multiple_px=MULTIPLE)
"""Neighbours share 16 latents at least, and fade into each other over that many."""


class Window(NamedTuple):
    """A place in the latents. Over all windows the `weights`, (h, w), of a latent add up to one."""

    rows: slice
    columns: slice
    weights: Tensor

    def of(self, latents: Tensor) -> Tensor:
        """What is seen through it, of (..., H, W)."""
        return latents[..., self.rows, self.columns]

    def on_pixels(self, scale: int) -> tuple[slice, slice]:
        """The same place where each latent is `scale` pixels wide and high."""
        return (
            slice(self.rows.start * scale, self.rows.stop * scale),
            slice(self.columns.start * scale, self.columns.stop * scale),
        )


def windows(height: int, width: int, *, largest: Windows, device: torch.device) -> list[Window]:
    """Windows of one shape over latents whose sides are multiples of 8.

    Along a side that needs several they are as large as allowed: one shape for all large pictures.
    """
    whole = _plan(height, width, largest)
    return [
        Window(
            slice(*row.window),
            slice(*column.window),
            (_weights(row, whole.rows)[:, None] * _weights(column, whole.columns)).to(device),
        )
        for row in whole.rows
        for column in whole.columns
    ]


def count(height: int, width: int, *, largest: Windows) -> int:
    """How many windows there are."""
    return _plan(height, width, largest).tiles


def seams(height: int, width: int, *, largest: Windows) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The rows and the columns in whose middle windows fade into each other."""
    rows, columns = _plan(height, width, largest)
    return (
        tuple(part.core.start for part in rows[1:]),
        tuple(part.core.start for part in columns[1:]),
    )


def _plan(height: int, width: int, largest: Windows) -> Plan:
    return plan(width, height, windows=largest, overlap=OVERLAP, is_full_size=True)


def _weights(part: Part, axis: tuple[Part, ...]) -> Tensor:
    """A weight for each latent that the part's window has."""
    weights = torch.zeros(part.window.length)
    start = part.kept.start - part.window.start
    weights[start : start + part.kept.length] = ramps(part, scale=1, of=axis)
    return weights
