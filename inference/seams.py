"""Whether an enlargement shows where its tiles meet: the score of its seams."""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.picture import Samples

STRETCH_PX = 16
"""Seams are judged in stretches of so many source pixels."""
MIN_STRETCHES = 8
"""Fewer say nothing about how much they differ by chance."""
BLOCK_PX = 8
"""The side of JPEG's blocks: lines so many source pixels apart lie alike among the blocks."""
_OFFSETS = (0, -1, 1, *(BLOCK_PX * blocks for blocks in (-2, -1, 1, 2)))
_NEAR = 3  # of the offsets: an edge of the source's there reaches the seam once it is enlarged
_MOST_IN_SOURCE = math.log(4)
_ROUNDING = 5 / 12
"""The variance, in squared levels of 8 bits, that rounding alone gives a jump."""

Sums = NDArray[np.float64]


class Seams(NamedTuple):
    """Output rows and columns at which a tile's core begins, but for the first at 0."""

    rows_px: tuple[int, ...] = ()
    columns_px: tuple[int, ...] = ()


class Jumps:
    """Adds up the squared jumps across lines, and across the lines beside them.

    A jump is the step across a line less the mean of the steps on either side of it: on a slope
    there is none. (Minami and Zakhor 1995, "An optimization approach for removing blocking effects
    in transform coding", judge blocks by this difference of slope.) Rows come in from the top, any
    number at a time. Lines beside are at multiples of `spacing_px`: within an enlargement only
    jumps of the same phase are alike.
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
        self._above: deque[Samples] = deque(maxlen=3)  # the last rows, which jumps reach

    def add(self, rows: Samples) -> None:
        """The next rows, (n, w) or (n, w, channels)."""
        if not len(rows):
            return
        self._add_across_columns(rows)
        self._add_across_rows(rows)
        self._above.extend(rows[-3:].copy())
        self._top_px += len(rows)

    def log_ratios(self, *, lines: int = 1) -> Sums:
        """Of every stretch: the energy across its line over that beside it, as a logarithm.

        With three `lines`, across the mean of the line and its two neighbours, if that is more.
        """
        axes = ((self._of_rows, self._across_rows), (self._of_columns, self._across_columns))
        rounding = _ROUNDING * self._stretch_px
        ratios = []
        for jumps, cuts in axes:
            across = np.maximum(jumps[:, 0], _mean(jumps[:, :lines], cuts[:, :lines]))
            beside = _mean(jumps[:, _NEAR:], cuts[:, _NEAR:])
            ratios.append(np.log((across + rounding) / (beside + rounding)).ravel())
        return np.concatenate(ratios)

    def _add_across_rows(self, rows: Samples) -> None:
        starts = np.arange(0, rows.shape[1], self._stretch_px)
        for line, cuts in enumerate(self._across_rows):
            for at, cut in enumerate(cuts):
                below = int(cut) + 1 - self._top_px  # the last of the four rows that it takes
                if cut > 0 and 0 <= below < len(rows):
                    four = [
                        rows[row] if row >= 0 else self._above[row]
                        for row in range(below - 3, below + 1)
                    ]
                    jumps = _energy(four, dimensions=1)
                    self._of_rows[line, at] += np.add.reduceat(jumps, starts)

    def _add_across_columns(self, rows: Samples) -> None:
        cuts = self._across_columns
        if not cuts.size:
            return
        right = np.clip(cuts, 2, rows.shape[1] - 2)
        jumps = _energy([rows[:, right + at] for at in (-2, -1, 0, 1)], dimensions=3)
        stretches = np.arange(self._top_px, self._top_px + len(rows)) // self._stretch_px
        first, starts = np.unique(stretches, return_index=True)
        self._of_columns[..., first] += np.moveaxis(np.add.reduceat(jumps, starts), 0, -1)


def seam_score(result: Jumps, source: Jumps) -> float | None:
    """How much more energy the jumps across seams have than those beside them; 1 where none shows.

    Each stretch has a ratio of energies. Where the source itself jumps, by more than four times
    the energy beside, an edge lies along the seam, and the stretch is left out. The score is the
    geometric mean of the others, less two of its standard errors, but at least 1: what chance
    explains is no seam either. A stretch of sky counts as much as one of grass. None where there
    are fewer than `MIN_STRETCHES`.
    """
    ratios = result.log_ratios()[source.log_ratios(lines=_NEAR) < _MOST_IN_SOURCE]
    if len(ratios) < MIN_STRETCHES:
        return None
    error = ratios.std(ddof=1) / math.sqrt(len(ratios))
    return math.exp(max(0.0, float(ratios.mean() - 2 * error)))


def _cuts(lines: tuple[int, ...], side_px: int, spacing_px: int) -> NDArray[np.int64]:
    """(lines, offsets): each line that can be judged, and those around; what is no use is -1.

    Two source pixels on each side must be inside the picture; lines beside must be no seams.
    """
    side = side_px // spacing_px
    inside = np.array([line for line in lines if 1 < line // spacing_px < side - 1], np.int64)
    cuts = inside[:, None] + np.array(_OFFSETS) * spacing_px
    places = cuts // spacing_px
    is_of_use: NDArray[np.bool_] = (places > 1) & (places < side - 1)
    is_of_use[:, 1:] &= ~np.isin(places[:, 1:], inside // spacing_px)
    has_beside = is_of_use[:, _NEAR:].any(axis=1)
    return np.asarray(np.where(is_of_use, cuts, -1)[has_beside])


def _energy(four: Sequence[Samples], *, dimensions: int) -> NDArray[np.float32]:
    """Squared jumps amid four lines, in levels of 8 bits; the mean of an axis beyond those."""
    before, left, right, after = (line.astype(np.float32) for line in four)
    jumps = 1.5 * (right - left) - 0.5 * (after - before)
    if four[0].dtype == np.uint16:
        jumps /= 257
    if jumps.ndim == dimensions:
        return np.square(jumps)
    squares = np.einsum("...c,...c->...", jumps, jumps)
    return np.asarray(squares / jumps.shape[-1])


def _mean(jumps: Sums, cuts: NDArray[np.int64]) -> Sums:
    """Over the cuts that are inside the picture: (lines, cuts, stretches) -> (lines, stretches)."""
    is_there = (cuts > 0)[..., None]
    return np.asarray((jumps * is_there).sum(axis=1) / np.maximum(1, is_there.sum(axis=1)))
