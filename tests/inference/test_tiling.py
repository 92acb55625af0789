"""Plans as arithmetic: every pixel once, every core far enough from its window's edges."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.tiling import Overlap, Plan, Windows, plan

sides = st.integers(1, 120)


def square(side_px: int) -> Windows:
    return Windows(side_px, side_px)


@st.composite
def overlaps(draw: st.DrawFn) -> Overlap:
    halo_px = draw(st.integers(0, 20))
    return Overlap(halo_px, draw(st.integers(0, 2 * halo_px)), draw(st.integers(1, 9)))


@settings(deadline=None)
@given(width=sides, height=sides, overlap=overlaps(), inner_px=st.integers(0, 40))
def test_every_pixel_has_one_core_and_every_core_its_distance(
    width: int, height: int, overlap: Overlap, inner_px: int
) -> None:
    most_px = overlap.least_px + inner_px
    planned = plan(width, height, windows=square(most_px), overlap=overlap)
    covered = np.zeros((height, width), int)
    for row in planned.rows:
        for column in planned.columns:
            covered[slice(*row.core), slice(*column.core)] += 1
    assert (covered == 1).all()
    for parts, side in ((planned.rows, height), (planned.columns, width)):
        assert len({part.window.length for part in parts}) == 1
        for window, core, kept in parts:
            assert window.length <= most_px
            assert window.start % overlap.multiple_px == window.end % overlap.multiple_px == 0
            assert window.end < side + overlap.multiple_px
            assert core.start == 0 or core.start - window.start >= overlap.halo_px
            assert core.end == side or window.end - core.end >= overlap.halo_px
            assert window.start <= kept.start <= core.start
            assert core.end <= kept.end <= min(window.end, side)


@settings(deadline=None)
@given(length=sides, overlap=overlaps(), inner_px=st.integers(0, 40))
def test_only_neighbours_fade_into_each_other_and_by_as_much_as_was_asked(
    length: int, overlap: Overlap, inner_px: int
) -> None:
    windows = square(overlap.least_px + inner_px)
    parts = plan(length, 1, windows=windows, overlap=overlap).columns
    for left, right in pairwise(parts):
        assert left.kept.end - right.kept.start == overlap.fade_px
    for left, right in zip(parts, parts[2:], strict=False):
        assert left.kept.end <= right.kept.start


def test_no_more_tiles_than_needed() -> None:
    for width, tiles in ((64, 1), (65, 2), (96, 2), (97, 3)):
        assert plan(width, 64, windows=square(64), overlap=Overlap(16)).tiles == tiles


def test_windows_are_equal_and_no_larger_than_their_number_needs() -> None:
    planned = plan(480, 270, windows=square(256), overlap=Overlap(21))
    assert {part.window.length for part in planned.rows} == {156}
    assert {part.window.length for part in planned.columns} == {188}


def test_windows_need_not_be_square() -> None:
    planned = plan(480, 270, windows=Windows(rows_px=100, columns_px=480), overlap=Overlap(5))
    assert (len(planned.rows), len(planned.columns)) == (3, 1)


@pytest.mark.parametrize(("row", "left"), [(0, 3), (33, 3), (34, 2), (61, 2), (62, 1), (95, 1)])
def test_below_a_row_only_what_it_depends_on_is_left(row: int, left: int) -> None:
    planned = plan(8, 96, windows=square(44), overlap=Overlap(6))
    assert [part.core.end for part in planned.rows] == [34, 62, 96]
    assert planned.below(row) == Plan(planned.rows[-left:], planned.columns)


def test_what_fades_into_a_row_is_left_as_well() -> None:
    planned = plan(8, 96, windows=square(44), overlap=Overlap(6, fade_px=8))
    assert planned.below(37).rows == planned.rows
    assert planned.below(38).rows == planned.rows[1:]


@pytest.mark.parametrize("overlap", [Overlap(20), Overlap(15, fade_px=5), Overlap(19, 0, 4)])
def test_windows_that_are_all_overlap_are_refused(overlap: Overlap) -> None:
    with pytest.raises(ValueError, match="nothing between"):
        plan(100, 100, windows=square(40), overlap=overlap)
