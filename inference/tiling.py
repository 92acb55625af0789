"""How a picture is cut into overlapping windows: a plan of plain values, made of integers alone."""

from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """From `start` up to but not including `end`, in source pixels."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many pixels it has."""
        return self.end - self.start


class Part(NamedTuple):
    """One window on one axis.

    `window` is what a network is given; its `core` is its own, and `kept` is the core with what is
    faded into the neighbours' cores. Where nothing is faded, core and kept are the same.
    """

    window: Span
    core: Span
    kept: Span


class Plan(NamedTuple):
    """Tiles are all pairs of a row part and a column part; all their windows have one shape.

    The cores cover the picture exactly once. Windows may end beyond the picture, by less than the
    multiple that was asked for.
    """

    rows: tuple[Part, ...]
    columns: tuple[Part, ...]

    def below(self, row: int) -> "Plan":
        """Only the tile rows that the picture's rows from `row` on depend on."""
        return Plan(tuple(part for part in self.rows if part.kept.end > row), self.columns)

    @property
    def tiles(self) -> int:
        """How many tiles there are."""
        return len(self.rows) * len(self.columns)


class Windows(NamedTuple):
    """The largest window that is to be planned with."""

    rows_px: int
    columns_px: int


class Overlap(NamedTuple):
    """What a network asks of its windows.

    A core stays `halo_px` away from its window's edges, except at the picture's own. Neighbours are
    faded into each other over `fade_px`, at most twice the halo; 0 for networks that give the same
    in every window. Windows begin and end at multiples of `multiple_px`.
    """

    halo_px: int
    fade_px: int = 0
    multiple_px: int = 1

    @property
    def least_px(self) -> int:
        """The smallest window side that a plan can be made with.

        Spread evenly, cores can get smaller by a third; two fades must never meet in one.
        """
        core_units = -(-2 * self.fade_px // self.multiple_px) + 1
        return (2 * self.halo_units + core_units) * self.multiple_px

    @property
    def halo_units(self) -> int:
        """The halo in multiples, rounded up."""
        return -(-self.halo_px // self.multiple_px)


def plan(
    width: int, height: int, *, windows: Windows, overlap: Overlap, is_full_size: bool = False
) -> Plan:
    """Windows of one shape, no larger than said and no larger than their number needs.

    With `is_full_size`, those of an axis that needs several are as large as said: they overlap more
    than they must, and have one shape whatever the picture's.
    """
    return Plan(
        rows=_axis(height, windows.rows_px, overlap=overlap, is_full_size=is_full_size),
        columns=_axis(width, windows.columns_px, overlap=overlap, is_full_size=is_full_size),
    )


def _axis(length: int, most_px: int, *, overlap: Overlap, is_full_size: bool) -> tuple[Part, ...]:
    """Windows spread evenly over one axis; their cores meet in mid-overlap."""
    if most_px < overlap.least_px:
        raise ValueError(f"windows of {most_px} px leave nothing between overlaps of {overlap}")
    unit, halo = overlap.multiple_px, overlap.halo_units
    units, most = -(-length // unit), most_px // unit
    count = 1 - (-max(0, units - most) // (most - 2 * halo))
    is_spread = is_full_size and count > 1
    window = most if is_spread else -(-(units + (count - 1) * 2 * halo) // count)
    last = units - window
    starts = [last * i // max(1, count - 1) for i in range(count)]
    seams = [(left + window + right) * unit // 2 for left, right in pairwise(starts)]
    return tuple(
        Part(
            Span(start * unit, (start + window) * unit),
            Span(*core),
            _with_fades(Span(*core), length, fade_px=overlap.fade_px),
        )
        for start, core in zip(starts, pairwise([0, *seams, length]), strict=True)
    )


def _with_fades(core: Span, length: int, *, fade_px: int) -> Span:
    """The core and the fades at its inner edges, which are the neighbours' as well."""
    before_px = fade_px // 2
    return Span(
        core.start - before_px if core.start > 0 else 0,
        core.end + fade_px - before_px if core.end < length else length,
    )
