"""Whether an enlargement shows where its tiles meet: the score of its seams."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.picture import Samples

STRETCH_PX = 16
"""Seams are judged in stretches of so many source pixels."""
MIN_STRETCHES = 8
"""Fewer say nothing about how much they differ by chance."""
_OFFSETS = (0, -1, 1, -4, -3, -2, 2, 3, 4)
_NEAR = 3  # of the offsets: an edge of the source's there reaches the seam once it is enlarged
_ROUNDING = 1 / 6
"""The variance, in squared levels of 8 bits, of a difference between two rounded numbers."""

Sums = NDArray[np.float64]


class Seams(NamedTuple):
    """Output rows and columns at which a tile's core begins, but for the first at 0."""

    rows_px: tuple[int, ...] = ()
    columns_px: tuple[int, ...] = ()


class Steps:
    """Adds up the squared steps across lines, and across the lines beside them.

    They come in as rows from the top, any number at a time. Lines beside are at multiples of
    `spacing_px`: within an enlargement only steps of the same phase are alike.
    """

    def __init__(self, size_px: tuple[int, int], seams: Seams, *, spacing_px: int) -> None:
        height_px, width_px = size_px
        self._stretch_px = STRETCH_PX * spacing_px
        self._across_rows = _cuts(seams.rows_px, height_px, spacing_px)
        self._across_columns = _cuts(seams.columns_px, width_px, spacing_px)
        self._of_rows = np.zeros((*self._across_rows.shape, -(-width_px // self._stretch_px)))
        stretches = -(-height_px // self._stretch_px)
        self._of_columns = np.zeros((*self._across_columns.shape, stretches))
        self._top_px = 0
        self._above: Samples | None = None

    def add(self, rows: Samples) -> None:
        """The next rows, (n, w) or (n, w, channels)."""
        if not len(rows):
            return
        self._add_across_columns(rows)
        self._add_across_rows(rows)
        self._above = rows[-1].copy()
        self._top_px += len(rows)

    def log_ratios(self, *, lines: int = 1) -> Sums:
        """Of every stretch: the energy across its line over that beside it, as a logarithm.

        With three `lines`, across the mean of the line and its two neighbours, if that is more.
        """
        axes = ((self._of_rows, self._across_rows), (self._of_columns, self._across_columns))
        rounding = _ROUNDING * self._stretch_px
        ratios = []
        for steps, cuts in axes:
            across = np.maximum(steps[:, 0], _mean(steps[:, :lines], cuts[:, :lines]))
            beside = _mean(steps[:, _NEAR:], cuts[:, _NEAR:])
            ratios.append(np.log((across + rounding) / (beside + rounding)).ravel())
        return np.concatenate(ratios)

    def _add_across_rows(self, rows: Samples) -> None:
        starts = np.arange(0, rows.shape[1], self._stretch_px)
        for line, cuts in enumerate(self._across_rows):
            for at, row in enumerate(cuts - self._top_px):
                if 0 <= row < len(rows) and row + self._top_px > 0:
                    above = rows[row - 1] if row > 0 else self._above
                    assert above is not None  # there is a row above, so it has been here
                    steps = _energy(rows[row], above, dimensions=1)
                    self._of_rows[line, at] += np.add.reduceat(steps, starts)

    def _add_across_columns(self, rows: Samples) -> None:
        cuts = self._across_columns
        if not cuts.size:
            return
        right = np.clip(cuts, 1, rows.shape[1] - 1)
        steps = _energy(rows[:, right], rows[:, right - 1], dimensions=3)
        stretches = np.arange(self._top_px, self._top_px + len(rows)) // self._stretch_px
        first, starts = np.unique(stretches, return_index=True)
        self._of_columns[..., first] += np.moveaxis(np.add.reduceat(steps, starts), 0, -1)


def seam_score(result: Steps, source: Steps) -> float | None:
    """How much larger the steps across seams are than those beside them; 1 where none shows.

    Each stretch has a ratio of energies, divided by the source's own at that place: an edge or a
    block of JPEG that lies along a seam is no seam. The score is their geometric mean, less two
    of its standard errors, but at least 1: what chance explains is no seam either. A stretch of
    sky counts as much as one of grass. None where there are fewer than `MIN_STRETCHES`.
    """
    excess = result.log_ratios() - source.log_ratios(lines=_NEAR)
    if len(excess) < MIN_STRETCHES:
        return None
    error = excess.std(ddof=1) / math.sqrt(len(excess))
    return math.exp(max(0.0, float(excess.mean() - 2 * error)))


def _cuts(lines: tuple[int, ...], side_px: int, spacing_px: int) -> NDArray[np.int64]:
    """(lines, offsets): each line that is inside the picture, and those around; outside is -1."""
    inside = np.array([line for line in lines if 0 < line < side_px], np.int64)
    cuts = inside[:, None] + np.array(_OFFSETS) * spacing_px
    return np.where((cuts > 0) & (cuts < side_px), cuts, -1)


def _energy(one: Samples, other: Samples, *, dimensions: int) -> NDArray[np.float32]:
    """Squared difference in levels of 8 bits; the mean of an axis beyond the `dimensions`."""
    difference: NDArray[np.float32] = one.astype(np.float32) - other
    if one.dtype == np.uint16:
        difference /= 257
    if difference.ndim == dimensions:
        return np.square(difference)
    squares = np.einsum("...c,...c->...", difference, difference)
    return np.asarray(squares / difference.shape[-1])


def _mean(steps: Sums, cuts: NDArray[np.int64]) -> Sums:
    """Over the cuts that are inside the picture: (lines, cuts, stretches) -> (lines, stretches)."""
    is_there = (cuts > 0)[..., None]
    return np.asarray((steps * is_there).sum(axis=1) / np.maximum(1, is_there.sum(axis=1)))
