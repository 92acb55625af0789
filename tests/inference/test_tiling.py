"""Plans as arithmetic: every pixel once, every core far enough from its window's edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.tiling import blend, plan
from tests.inference.drawings import noise

sides = st.integers(1, 120)


@settings(deadline=None)
@given(width=sides, height=sides, overlap_px=st.integers(0, 20), inner_px=st.integers(3, 40))
def test_cores_cover_the_picture_exactly_once(
    width: int, height: int, overlap_px: int, inner_px: int
) -> None:
    covered = np.zeros((height, width), int)
    tile_px = 2 * overlap_px + inner_px
    for tile in plan(width, height, tile_px=tile_px, overlap_px=overlap_px):
        covered[slice(*tile.core_rows), slice(*tile.core_columns)] += 1
        for window, core, side in (
            (tile.rows, tile.core_rows, height),
            (tile.columns, tile.core_columns, width),
        ):
            assert 0 <= window.start < window.end <= side
            assert window.end - window.start <= tile_px
            assert core.start == 0 or core.start - window.start >= overlap_px
            assert core.end == side or window.end - core.end >= overlap_px
    assert (covered == 1).all()


def test_no_more_tiles_than_needed() -> None:
    assert len(plan(64, 64, tile_px=64, overlap_px=16)) == 1
    assert len(plan(65, 64, tile_px=64, overlap_px=16)) == 2
    assert len(plan(96, 96, tile_px=64, overlap_px=16)) == 4


def test_windows_are_equal_and_no_larger_than_their_number_needs() -> None:
    tiles = plan(480, 270, tile_px=256, overlap_px=21)
    assert {(t.rows.end - t.rows.start, t.columns.end - t.columns.start) for t in tiles} == {
        (156, 188)
    }


def test_tiles_that_are_all_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing between"):
        plan(100, 100, tile_px=40, overlap_px=20)


def test_blend_puts_every_core_in_its_place() -> None:
    picture = noise(50, 70, 3)
    canvas = np.zeros((100, 140, 3), np.uint8)
    for tile in plan(70, 50, tile_px=32, overlap_px=6):
        window = picture[slice(*tile.rows), slice(*tile.columns)]
        blend(canvas, tile, window.repeat(2, axis=0).repeat(2, axis=1), scale=2)
    assert np.array_equal(canvas, picture.repeat(2, axis=0).repeat(2, axis=1))
