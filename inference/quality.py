"""The quality report: how faithful an enlargement is to its source, measured as it is made."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from inference.metrics import MAX_PSNR_DB, WINDOW_PX, Floats, ciede2000, lab, luma, psnr_db, ssim
from inference.picture import Picture, Samples
from inference.seams import Jumps, Seams, seam_score

__all__ = ["Quality", "QualityMeter", "Seams"]

CELLS = 64
"""Colours are compared between the means of at most so many cells each way."""
STRIP_PX = 32
MAX_SSIM_PX = 500_000
"""Where the source has more pixels, SSIM looks at strips of it, spread evenly, of so many."""
PIECE_PX = 1_000_000
"""So much of the result is worked on at a time: what has just been made is then still at hand."""

Means = NDArray[np.float32]
"""Block means on the scale of 8 bits, whatever the depth they come from."""


class Quality(BaseModel):
    """An enlargement, reduced again by area, against its source.

    `psnr_db` is over all samples, at most 100 (which equal pictures have); `ssim` is on luma.
    `delta_e` is the mean CIEDE2000 between the two at low resolution, both taken for sRGB: a drift
    in colour of 1 is just visible. `seam_score` is 1 where the tiles' seams do not show, and None
    where there are none, or too little of them to tell.
    """

    # Jobs keep it: a field of a newer release survives a rewrite by this one.
    model_config = ConfigDict(frozen=True, extra="allow")

    psnr_db: float = Field(le=MAX_PSNR_DB)
    ssim: float = Field(ge=-1, le=1)
    delta_e: float = Field(ge=0)
    seam_score: float | None = Field(default=None, ge=1)


class QualityMeter:
    """Takes an enlargement's rows as they are made, and keeps less than the source is large.

    `source` is what the networks were given; the result has its kind of colour, at `scale` times
    its width and height.
    """

    def __init__(self, source: Picture, *, scale: int, seams: Seams) -> None:
        self._source = source.colour
        self._height, self._width = source.colour.shape[:2]
        self._scale = scale
        self._seams = seams
        self._jumps = Jumps((self._height * scale, self._width * scale), seams, spacing_px=scale)
        self._unfinished: Samples = self._source[:0]  # less than one row of blocks
        self._done_px = 0  # rows of the source that have been compared
        self._squares = 0.0
        self._result_cells, self._source_cells = Cells(self._source), Cells(self._source)
        self._strips = Strips(self._height, self._width)

    def add(self, rows: Samples) -> None:
        """The next rows of the result from the top, any number: (n, W, 3) or, grey, (n, W)."""
        for piece in self._pieces(rows):
            self._jumps.add(piece)
            blocks = _joined(self._unfinished, piece)
            whole = len(blocks) // self._scale * self._scale
            self._unfinished = blocks[whole:].copy()
            if whole:
                self._compare(block_means(blocks[:whole], self._scale))

    def report(self) -> Quality:
        """Once every row has been added; `ValueError` before."""
        if self._done_px != self._height:
            raise ValueError(f"{self._done_px} of {self._height} rows have come so far")
        drift = ciede2000(lab(self._source_cells.means()), lab(self._result_cells.means()))
        return Quality(
            psnr_db=psnr_db(self._squares / self._source.size),
            ssim=self._strips.mean(),
            delta_e=float(drift.mean()),
            seam_score=self._seam_score(),
        )

    def _pieces(self, rows: Samples) -> Iterator[Samples]:
        step = max(1, PIECE_PX // (self._width * self._scale**2)) * self._scale
        for top in range(0, len(rows), step):
            yield rows[top : top + step]

    def _compare(self, result: Means) -> None:
        top = self._done_px
        source = block_means(self._source[top : top + len(result)], 1)
        difference = (result - source).ravel()
        self._squares += float(difference @ difference)
        self._result_cells.add(result, top_px=top)
        self._source_cells.add(source, top_px=top)
        self._strips.add(result, source, top_px=top)
        self._done_px += len(result)

    def _seam_score(self) -> float | None:
        own = Seams(*(tuple(line // self._scale for line in lines) for lines in self._seams))
        jumps = Jumps((self._height, self._width), own, spacing_px=1)
        jumps.add(self._source)
        return seam_score(self._jumps, jumps)


class Cells:
    """The means of a picture's cells, from rows that come from the top."""

    def __init__(self, like: Samples) -> None:
        self._rows, self._columns = (_edges(side) for side in like.shape[:2])
        self._sums = np.zeros((len(self._rows) - 1, len(self._columns) - 1, *like.shape[2:]))

    def add(self, rows: Means, *, top_px: int) -> None:
        """Rows that begin at `top_px`."""
        first = int(np.searchsorted(self._rows, top_px, side="right")) - 1
        for cell in range(first, len(self._sums)):
            start, end = np.clip(self._rows[cell : cell + 2] - top_px, 0, len(rows))
            if start == end:
                return
            total = rows[start:end].sum(axis=0)
            self._sums[cell] += np.add.reduceat(total, self._columns[:-1], axis=0)

    def means(self) -> NDArray[np.float64]:
        """(cells, cells, 3); grey is spread over the three."""
        counts = np.outer(np.diff(self._rows), np.diff(self._columns))[..., None]
        sums = self._sums if self._sums.ndim == 3 else np.repeat(self._sums[..., None], 3, axis=2)
        return np.asarray(sums / counts)


class _Strip(NamedTuple):
    """The rows that its windows reach, and the luma of those that have come; strips overlap."""

    start: int
    end: int
    results: list[Floats]
    sources: list[Floats]


class Strips:
    """SSIM over the picture, or over strips of it, from rows that come from the top."""

    def __init__(self, height: int, width: int) -> None:
        window_px = min(WINDOW_PX, height)
        places = height - window_px + 1
        count = -(-places // STRIP_PX)
        most = max(1, MAX_SSIM_PX // (STRIP_PX * width))
        chosen = np.linspace(0, count - 1, min(count, most)).round().astype(int)
        self._waiting = [
            _Strip(int(first), min(int(first) + STRIP_PX, places) + window_px - 1, [], [])
            for first in chosen * STRIP_PX
        ]
        self._total, self._places = 0.0, 0

    def add(self, result: Means, source: Means, *, top_px: int) -> None:
        """Rows of both that begin at `top_px`."""
        end_px = top_px + len(result)
        for strip in self._waiting:
            if strip.start >= end_px:
                break
            here = slice(max(strip.start - top_px, 0), strip.end - top_px)
            strip.results.append(luma(result[here]))
            strip.sources.append(luma(source[here]))
            if strip.end <= end_px:
                found = ssim(*(np.concatenate(lumas, dtype=np.float32) for lumas in strip[2:]))
                self._total += float(found.sum(dtype=np.float64))
                self._places += found.size
        self._waiting = [strip for strip in self._waiting if strip.end > end_px]

    def mean(self) -> float:
        """Of every place that was looked at, within -1 and 1."""
        return min(1.0, max(-1.0, self._total / self._places))


def block_means(rows: Samples, scale: int) -> Means:
    """Blocks of scale x scale, (scale * n, scale * w[, 3]) -> (n, w[, 3]): exact, then fp32."""
    height, width = rows.shape[0] // scale, rows.shape[1] // scale
    channels = rows.shape[2] if rows.ndim == 3 else 1
    share = 1 / (scale**2 * (257 if rows.dtype == np.uint16 else 1))
    if scale == 1:
        return rows * np.float32(share)
    flat = rows.reshape(height, scale, -1)
    wide: type[np.unsignedinteger] = np.uint16 if rows.dtype == np.uint8 else np.uint32
    down: NDArray[np.unsignedinteger] = flat[:, 0].astype(wide)
    for line in range(1, scale):
        np.add(down, flat[:, line], out=down)
    means = np.empty((height, width, channels), np.float32)
    for channel in range(channels):
        across = down[:, channel :: scale * channels].astype(np.uint32)
        for column in range(1, scale):
            np.add(across, down[:, column * channels + channel :: scale * channels], out=across)
        np.multiply(across, np.float32(share), out=means[..., channel], casting="same_kind")
    return means.reshape(height, width, *rows.shape[2:])


def _joined(above: Samples, below: Samples) -> Samples:
    return cast("Samples", np.concatenate((above, below))) if len(above) else below


def _edges(side: int) -> NDArray[np.int64]:
    """Where cells begin, and the end."""
    count = min(CELLS, side)
    return np.arange(count + 1) * side // count
