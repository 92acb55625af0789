"""Alignment: five landmarks are brought to the template, and the picture with them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.faces.alignment import (
    SQUARE_PX,
    TEMPLATE,
    Similarity,
    in_square,
    similarity,
    square_of,
    square_points,
)

turns = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)
shifts = st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000))


def turned(turn: float, scale: float, shift: tuple[float, float]) -> Similarity:
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return Similarity(scale, rotation, np.array(shift))


@given(turn=turns, scale=scales, shift=shifts)
def test_a_similarity_is_found_again_from_where_it_brings_points(
    turn: float, scale: float, shift: tuple[float, float]
) -> None:
    moved = turned(turn, scale, shift)
    found = similarity(TEMPLATE, moved(TEMPLATE))
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.rotation, moved.rotation, atol=1e-9)
    np.testing.assert_allclose(found.shift, moved.shift, atol=1e-6)


@given(turn=turns, scale=scales, shift=shifts)
def test_there_and_back_is_where_it_began(
    turn: float, scale: float, shift: tuple[float, float]
) -> None:
    moved = turned(turn, scale, shift)
    np.testing.assert_allclose(moved.inverse()(moved(TEMPLATE)), TEMPLATE, atol=1e-6)


def test_a_mirrored_face_is_turned_and_not_mirrored() -> None:
    found = similarity(TEMPLATE * (-1, 1), TEMPLATE)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_landmarks_that_are_off_are_met_in_the_mean() -> None:
    wobbly = TEMPLATE + np.random.default_rng(0).normal(0, 5, TEMPLATE.shape)
    best = square_of(wobbly)
    least = ((best(wobbly) - TEMPLATE) ** 2).sum()
    for change in (0.99, 1.01):
        other = Similarity(best.scale * change, best.rotation, best.shift)
        assert ((other(wobbly) - TEMPLATE) ** 2).sum() > least


def test_points_of_the_enlarged_picture_go_where_those_of_the_picture_do() -> None:
    found = square_of(TEMPLATE / 3 + 7)
    enlarged = found.of_enlarged(4)
    np.testing.assert_allclose(enlarged((TEMPLATE / 3 + 7) * 4), TEMPLATE, atol=1e-9)


def test_a_face_that_is_in_place_already_is_not_changed() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (SQUARE_PX, SQUARE_PX, 3), np.uint8)
    square = in_square(colour, square_of(TEMPLATE))
    torch.testing.assert_close(
        square[0].permute(1, 2, 0), torch.from_numpy(colour / 255).float(), atol=1e-3, rtol=0
    )


def test_a_quarter_turn_is_taken_back_pixel_by_pixel() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (SQUARE_PX, SQUARE_PX, 3), np.uint8)
    lying = np.rot90(colour).copy()
    x, y = TEMPLATE.T
    square = in_square(lying, square_of(np.stack((y, SQUARE_PX - x), axis=1)))
    torch.testing.assert_close(
        square[0].permute(1, 2, 0), torch.from_numpy(colour / 255).float(), atol=2e-3, rtol=0
    )


def test_a_small_face_is_enlarged_to_the_square() -> None:
    ramp = np.arange(128, dtype=np.uint16) * 500
    colour = np.broadcast_to(ramp[None, :, None], (128, 128, 3))
    square = in_square(colour, square_of(TEMPLATE / 4))
    expected = (square_points()[:SQUARE_PX, 0] / 4 - 0.5) * 500 / 65535
    np.testing.assert_allclose(square[0, 0, 256, 16:-16], expected[16:-16], atol=4e-4)


def test_beyond_the_picture_its_edge_goes_on() -> None:
    colour = np.zeros((100, 100), np.uint8)
    colour[:, :50] = 255
    square = in_square(colour, square_of(TEMPLATE / 4 + (-64, 10)))  # half of it is outside
    assert square.shape == (1, 3, SQUARE_PX, SQUARE_PX)
    torch.testing.assert_close(square[..., :250], torch.ones(1, 3, SQUARE_PX, 250))


def test_a_square_wholly_outside_the_picture_has_the_nearest_edge() -> None:
    colour = np.full((40, 40, 3), 51, np.uint8)
    square = in_square(colour, square_of(TEMPLATE / 8 + 1000))
    torch.testing.assert_close(square, torch.full_like(square, 0.2))
