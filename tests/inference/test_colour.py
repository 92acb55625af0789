"""What lies under transparency."""

import numpy as np

from inference.colour import bleed
from tests.inference.drawings import noise


def test_invisible_pixels_take_the_colour_of_the_nearest_visible_ones() -> None:
    colour = np.zeros((40, 60, 3), np.uint8)
    colour[:, :20], colour[:, 40:] = (200, 10, 10), (10, 10, 200)
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, :20] = alpha[:, 40:] = 255
    filled = bleed(colour, alpha=alpha)
    assert (filled[:, :26] == (200, 10, 10)).all()
    assert (filled[:, 34:] == (10, 10, 200)).all()


def test_visible_pixels_are_untouched_however_faint() -> None:
    colour, alpha = noise(7, 9, 3), noise(7, 9) % 3
    filled = bleed(colour, alpha=alpha)
    assert np.array_equal(filled[alpha > 0], colour[alpha > 0])


def test_sixteen_bits_bleed_as_such() -> None:
    colour = np.zeros((8, 8, 3), np.uint16)
    colour[:, :3], colour[:, 5:] = (65_535, 256, 3), (65_535, 256, 3)
    alpha = np.where(colour[..., 0] > 0, 65_535, 0).astype(np.uint16)
    filled = bleed(colour, alpha=alpha)
    assert filled.dtype == np.uint16
    assert (filled == (65_535, 256, 3)).all()


def test_grey_bleeds_too_from_a_single_pixel() -> None:
    colour, alpha = noise(5, 13), np.zeros((5, 13), np.uint8)
    alpha[4, 12] = 1
    assert (bleed(colour, alpha=alpha) == colour[4, 12]).all()


def test_where_nothing_is_visible_nothing_changes() -> None:
    colour = noise(4, 4, 3)
    assert np.array_equal(bleed(colour, alpha=np.zeros((4, 4), np.uint8)), colour)
