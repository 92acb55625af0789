"""Enlarged tiles put together into bands: full rows of the result, finished from the top."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from inference.tiling import Part, Plan, Span


class Form(NamedTuple):
    """What finished rows are: their width, channels and integer type, and where they are made."""

    width_px: int
    channels: int
    dtype: torch.dtype
    device: torch.device

    @property
    def levels(self) -> int:
        """The highest value: 255 or 65,535."""
        return int(torch.iinfo(self.dtype).max)


class Bands(ABC):
    """Takes tile after tile, in the order of the plan's rows, and gives the rows that are done.

    `rows_px` of the enlarged picture have been given so far; a plan that does not begin at the
    picture's top starts where its first row does.
    """

    def __init__(self, plan: Plan, form: Form, *, scale: int) -> None:
        self._plan = plan
        self._form = form
        self._scale = scale

    @abstractmethod
    def put(self, row: int, column: int, enlarged: Tensor, channels: slice) -> None:
        """Place a tile's enlarged window, (c, h, w) in 0..1, into these channels."""

    @abstractmethod
    def finish(self, row: int) -> Tensor:
        """The rows, (n, width, channels), that are complete once tile row `row` has been put."""

    def _cut(self, row: int, column: int, enlarged: Tensor) -> Tensor:
        """What is kept of a window, (h, w, c)."""
        rows, columns = self._plan.rows[row], self._plan.columns[column]
        kept = enlarged[
            :,
            _scaled(rows.kept, self._scale, origin=rows.window.start),
            _scaled(columns.kept, self._scale, origin=columns.window.start),
        ]
        return kept.permute(1, 2, 0)

    def _levels(self, pixels: Tensor) -> Tensor:
        return (pixels * self._form.levels).round_()


class CutBands(Bands):
    """For networks that give the same in every window: cores side by side, no seam to hide."""

    def __init__(self, plan: Plan, form: Form, *, scale: int) -> None:
        super().__init__(plan, form, scale=scale)
        self._band: Tensor | None = None

    def put(self, row: int, column: int, enlarged: Tensor, channels: slice) -> None:
        """Place a tile; it is rounded at once."""
        if self._band is None:
            size = (self._plan.rows[row].core.length * self._scale, *self._form[:2])
            self._band = torch.empty(size, dtype=self._form.dtype, device=self._form.device)
        columns = _scaled(self._plan.columns[column].core, self._scale)
        self._band[:, columns, channels] = self._levels(self._cut(row, column, enlarged))

    def finish(self, row: int) -> Tensor:  # noqa: ARG002, its rows are the band
        """The row's cores."""
        band, self._band = self._band, None
        assert band is not None
        return band


class FadedBands(Bands):
    """For networks whose windows differ: a weighted sum in fp32, its weights adding up to one.

    Across a seam the weights follow a raised cosine; rows that the next tile row will still add to
    are carried over to it.
    """

    def __init__(self, plan: Plan, form: Form, *, scale: int) -> None:
        super().__init__(plan, form, scale=scale)
        self._sum: Tensor | None = None
        self._weights = [
            [ramps(part, scale=scale, of=axis).to(form.device) for part in axis]
            for axis in (plan.rows, plan.columns)
        ]

    def put(self, row: int, column: int, enlarged: Tensor, channels: slice) -> None:
        """Add a tile with its weights."""
        if self._sum is None:
            self._sum = self._zeros(row)
        columns = _scaled(self._plan.columns[column].kept, self._scale)
        rows, across = self._weights[0][row], self._weights[1][column]
        weighted = self._cut(row, column, enlarged) * rows[:, None, None] * across[:, None]
        self._sum[:, columns, channels] += weighted

    def finish(self, row: int) -> Tensor:
        """The rows above the next tile row."""
        total = self._sum
        assert total is not None
        if row + 1 == len(self._plan.rows):
            self._sum = None
            return self._levels(total).to(self._form.dtype)
        here, following = self._plan.rows[row].kept, self._plan.rows[row + 1].kept
        done = (following.start - here.start) * self._scale
        self._sum = self._zeros(row + 1)
        self._sum[: len(total) - done] = total[done:]
        return self._levels(total[:done]).to(self._form.dtype)

    def _zeros(self, row: int) -> Tensor:
        size = (self._plan.rows[row].kept.length * self._scale, *self._form[:2])
        return torch.zeros(size, dtype=torch.float32, device=self._form.device)


def ramps(part: Part, *, scale: int, of: tuple[Part, ...]) -> Tensor:
    """The weight of each enlarged pixel that a part keeps on its axis, fp32.

    Rises where the part before still has some, falls where the next one already has, as a raised
    cosine; over all parts they add up to one.
    """
    weights = torch.ones(part.kept.length * scale, dtype=torch.float64)
    for other in of:
        shared = Span(max(part.kept.start, other.kept.start), min(part.kept.end, other.kept.end))
        if other is part or shared.length <= 0:
            continue
        length = shared.length * scale
        places = torch.arange(length, dtype=torch.float64) + 0.5
        rising = torch.sin(places * (math.pi / 2 / length)).square()
        weights[_scaled(shared, scale, origin=part.kept.start)] *= (
            rising if other.core.start < part.core.start else rising.flip(0)
        )
    return weights.float()


def _scaled(span: Span, scale: int, *, origin: int = 0) -> slice:
    return slice((span.start - origin) * scale, (span.end - origin) * scale)
