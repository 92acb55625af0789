"""Pasting: patches come into rows where they belong, and only there."""

from typing import cast

import numpy as np
import pytest
import torch

from inference.faces.alignment import SQUARE_PX, TEMPLATE, Similarity, square_of
from inference.faces.paste import STRIP_ROWS, Patch, mask_at, paste
from inference.picture import Samples

MIDDLE = np.array([(256.0, 272.0)])


def patch(
    to_square: Similarity, *, opacity: float = 1.0, side_px: int = 300, level: float = 1.0
) -> Patch:
    """An even patch of that brightness for the rectangle of `side_px` from (20, 10)."""
    colour = torch.full((3, 64, 64), level)
    return Patch(10, 20, side_px, side_px, colour, to_square, opacity)


def squarely(side_px: float = 300) -> Similarity:
    """Brings the rectangle of `patch` to the square."""
    scale = SQUARE_PX / side_px
    return Similarity(scale, np.eye(2), np.array((-20.0, -10.0)) * scale)


def noise(*shape: int, dtype: type[np.generic] = np.uint8) -> Samples:
    most = np.iinfo(cast(type[np.uint8], dtype)).max
    drawn = np.random.default_rng(0).integers(0, most, shape, endpoint=True)
    return cast(Samples, drawn.astype(dtype))


def lying() -> Patch:
    """A colourful patch that lies askew."""
    landmarks = (TEMPLATE - 256) / 3 @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + 140
    colour = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    return Patch(0, 0, 280, 280, colour, square_of(landmarks), 0.8)


def test_the_middle_shows_the_patch_and_the_outside_the_rows() -> None:
    rows = np.zeros((400, 400, 3), np.uint8)
    paste([patch(squarely())], rows, top_px=0)
    assert (rows[100:240, 110:230] == 255).all()
    outside = np.ones((400, 400), bool)
    outside[10:310, 20:320] = False
    assert (rows[outside] == 0).all()


def test_the_edge_is_feathered() -> None:
    rows = np.zeros((400, 400, 3), np.uint8)
    paste([patch(squarely())], rows, top_px=0)
    profile = rows[170, 20:170, 0].astype(int)
    steps = np.diff(profile)
    assert profile[0] == 0
    assert profile[-1] == 255
    assert (steps >= 0).all()
    assert steps.max() < 24


def test_the_opacity_is_how_much_of_the_middle_is_the_patch() -> None:
    shown = []
    for opacity in (0.0, 0.25, 0.5, 1.0):
        rows = np.full((400, 400, 3), 55, np.uint8)
        paste([patch(squarely(), opacity=opacity)], rows, top_px=0)
        shown.append(rows[170, 170, 0])
    assert shown == [55, 105, 155, 255]


def test_an_opacity_of_nothing_leaves_the_rows_as_they_are() -> None:
    rows = noise(400, 400, 3)
    before = rows.copy()
    paste([patch(squarely(), opacity=0.0)], rows, top_px=0)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_rows_in_bands_become_what_they_become_at_once(
    dtype: type[np.generic], channels: int
) -> None:
    whole = noise(300, 260, channels, dtype=dtype)
    bands = [whole[start:end].copy() for start, end in ((0, 7), (7, 150), (150, 151), (151, 300))]
    paste([lying()], whole, top_px=0)
    top_px = 0
    for band in bands:
        paste([lying()], band, top_px=top_px)
        top_px += len(band)
    np.testing.assert_array_equal(np.concatenate(bands), whole)


def test_grey_rows_without_a_channel_get_the_mean_of_the_colours() -> None:
    colour = torch.tensor([0.2, 0.4, 0.9]).view(3, 1, 1).expand(3, 64, 64)
    grey = Patch(10, 20, 300, 300, colour, squarely(), 1.0)
    rows = np.zeros((400, 400), np.uint8)
    paste([grey], rows, top_px=0)
    assert rows[170, 170] == round(0.5 * 255)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_stays(channels: int) -> None:
    rows = noise(300, 260, channels)
    alpha = rows[..., -1].copy()
    paste([lying()], rows, top_px=0)
    np.testing.assert_array_equal(rows[..., -1], alpha)


def test_sixteen_bits_are_used() -> None:
    rows = np.zeros((400, 400, 3), np.uint16)
    paste([patch(squarely(), level=0.123)], rows, top_px=0)
    assert rows[170, 170, 0] == round(0.123 * 65535)


def test_rows_above_and_below_a_patch_are_left_alone() -> None:
    for top_px in (-1000, 1000):
        rows = noise(40, 400, 3)
        before = rows.copy()
        paste([patch(squarely())], rows, top_px=top_px + 20)
        np.testing.assert_array_equal(rows, before)


def test_a_patch_taller_than_a_strip_has_no_seams() -> None:
    rows = np.zeros((400, 400, 3), np.uint8)
    paste([patch(squarely())], rows, top_px=0)
    downwards = np.abs(np.diff(rows[..., 0].astype(int), axis=0))
    seams = range(10 + STRIP_ROWS, 310, STRIP_ROWS)
    assert all(downwards[row - 1].max() <= 24 for row in seams)


def test_of_two_patches_the_later_lies_on_top() -> None:
    rows = np.zeros((400, 400, 3), np.uint8)
    paste([patch(squarely(), level=0.2), patch(squarely(), level=0.6)], rows, top_px=0)
    assert rows[170, 170, 0] == round(0.6 * 255)


def test_the_mask_is_whole_in_the_middle_and_nothing_at_the_squares_edge() -> None:
    edge = np.linspace(0, SQUARE_PX, 33)
    ends = np.concatenate(
        [np.stack((edge, np.full_like(edge, at)), axis=1) for at in (0.0, SQUARE_PX)]
    )
    assert mask_at(MIDDLE) == pytest.approx(1)
    assert (mask_at(TEMPLATE) == 1).all()
    assert (mask_at(ends) == 0).all()
    assert (mask_at(ends[:, ::-1]) == 0).all()
