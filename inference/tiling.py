"""How a picture is cut into overlapping windows, and put together again after enlarging them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class Span(NamedTuple):
    """From `start` up to but not including `end`, in source pixels."""

    start: int
    end: int


class Tile(NamedTuple):
    """A window that is read, and the part of it, its core, that is kept."""

    rows: Span
    columns: Span
    core_rows: Span
    core_columns: Span


def plan(width: int, height: int, *, tile_px: int, overlap_px: int) -> tuple[Tile, ...]:
    """Tiles whose cores cover the picture exactly once, row by row.

    Every window has the same size: at most `tile_px` square, and no more than that many windows
    need. A core stays at least `overlap_px` away from its window's edges, except at the picture's
    own: with the network's radius for an overlap, tiled equals whole.
    """
    if tile_px <= 2 * overlap_px:
        raise ValueError(f"tiles of {tile_px} px leave nothing between overlaps of {overlap_px} px")
    rows = _axis(height, tile_px=tile_px, overlap_px=overlap_px)
    columns = _axis(width, tile_px=tile_px, overlap_px=overlap_px)
    return tuple(
        Tile(window_rows, window_columns, core_rows, core_columns)
        for window_rows, core_rows in rows
        for window_columns, core_columns in columns
    )


def _axis(length: int, *, tile_px: int, overlap_px: int) -> list[tuple[Span, Span]]:
    """Windows spread evenly over one axis, each with its core: they meet in mid-overlap."""
    slack_px = max(0, length - tile_px)
    count = 1 - (-slack_px // (tile_px - 2 * overlap_px))
    window_px = -(-(length + (count - 1) * 2 * overlap_px) // count)
    last = length - window_px
    starts = [last * i // max(1, count - 1) for i in range(count)]
    seams = [(left + window_px + right) // 2 for left, right in pairwise(starts)]
    cores = pairwise([0, *seams, length])
    return [
        (Span(start, start + window_px), Span(*core))
        for start, core in zip(starts, cores, strict=True)
    ]


def blend(canvas: Pixels, tile: Tile, enlarged: Pixels, *, scale: int) -> None:
    """Put an enlarged window's core in its place; `canvas` is the whole output, changed in place.

    Cores are cut and not faded into each other: where the overlap covers the network's radius,
    there is no seam to hide.
    """
    to_rows, to_columns = _scaled(tile.core_rows, scale), _scaled(tile.core_columns, scale)
    from_rows = _scaled(tile.core_rows, scale, origin=tile.rows.start)
    from_columns = _scaled(tile.core_columns, scale, origin=tile.columns.start)
    canvas[to_rows, to_columns] = enlarged[from_rows, from_columns]


def _scaled(span: Span, scale: int, *, origin: int = 0) -> slice:
    return slice((span.start - origin) * scale, (span.end - origin) * scale)
