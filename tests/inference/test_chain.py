"""The networks in a row: factors, radius, tiles, and what happens to broken numbers."""

import numpy as np
import pytest
import torch

from inference.catalogue import WEIGHTS_FOLDER
from inference.chain import RECIPES, Chain, chain_for
from inference.checkpoints import load_network
from inference.engine import enlarge
from inference.errors import NotANumber
from inference.images import Picture
from inference.networks.builtin import BuiltIn
from inference.params import Factor
from inference.published import CLEAN
from tests.inference.drawings import noise, silent

FACTORS: tuple[Factor, ...] = (1, 2, 4, 6, 8)
NETWORKS = {each.scale: load_network(each, folder=WEIGHTS_FOLDER) for each in CLEAN}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("width", "height"), [(97, 60), (33, 85)])
def test_tiled_equals_whole(factor: Factor, width: int, height: int) -> None:
    picture = Picture(noise(height, width, 3))
    links = chain_for(factor, NETWORKS)
    tiled, whole = (
        enlarge(
            picture, links, progress=silent, largest_input_px=tile_px * links.input_scale
        ).colour.astype(int)
        for tile_px in (2 * links.radius_px + 15, 100)
    )
    assert tiled.shape == whole.shape == (height * factor, width * factor, 3)
    assert np.abs(tiled - whole).max() <= 1


@pytest.mark.parametrize("factor", FACTORS)
@torch.inference_mode()
def test_nothing_reaches_farther_than_the_radius(factor: Factor) -> None:
    links = chain_for(factor, NETWORKS)
    side, middle = 2 * links.radius_px + 5, links.radius_px + 2
    before = torch.from_numpy(noise(1, 3, side, side)).float() / 255
    after = before.clone()
    after[:, :, middle, middle] = 1 - after[:, :, middle, middle].round()
    changed = (links(after) - links(before)).abs().amax(dim=(0, 1)) > 1e-6
    rows, columns = torch.nonzero(changed, as_tuple=True)
    nearest = (middle - links.radius_px) * factor
    farthest = (middle + links.radius_px + 1) * factor
    for places in (rows, columns):
        assert nearest <= places.min() and places.max() < farthest  # noqa: PT018, one interval


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1, 3), (3, 5, 3), (1, 1, 3)])
def test_sizes_are_exact_down_to_a_single_pixel(factor: Factor, shape: tuple[int, ...]) -> None:
    enlarged = enlarge(Picture(noise(*shape)), chain_for(factor, NETWORKS), progress=silent)
    assert enlarged.colour.shape == (shape[0] * factor, shape[1] * factor, *shape[2:])


@pytest.mark.parametrize("factor", FACTORS)
def test_a_flat_picture_stays_flat(factor: Factor) -> None:
    flat = np.full((40, 40, 3), 140, np.uint8)
    enlarged = enlarge(Picture(flat), chain_for(factor, NETWORKS), progress=silent).colour
    assert np.abs(enlarged.astype(int) - 140).max() <= 3


def test_every_factor_has_a_recipe() -> None:
    assert set(RECIPES) == set(FACTORS)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_never_delivered(bad: float) -> None:
    broken = BuiltIn(scale=2, channels=8)
    torch.nn.init.constant_(broken.tail.weight, bad)
    with pytest.raises(NotANumber):
        enlarge(Picture(noise(9, 9)), Chain([broken], scale=2), progress=silent)


def test_progress_counts_tiles_over_both_passes() -> None:
    alpha = noise(100, 150)
    reports: list[tuple[int, int]] = []
    picture = Picture(noise(100, 150, 3), alpha)
    enlarge(picture, chain_for(2, NETWORKS), largest_input_px=100,
            progress=lambda done, every: reports.append((done, every)))  # fmt: skip
    tiles = len(reports)
    assert tiles == 2 * 2
    assert reports == [(done, tiles) for done in range(1, tiles + 1)]


def test_constant_alpha_costs_no_pass() -> None:
    reports: list[tuple[int, int]] = []
    picture = Picture(noise(9, 9, 3), np.full((9, 9), 77, np.uint8))
    enlarged = enlarge(picture, chain_for(2, NETWORKS),
                       progress=lambda done, every: reports.append((done, every)))  # fmt: skip
    assert reports == [(1, 1)]
    assert enlarged.alpha is not None
    assert enlarged.alpha.shape == (18, 18)
    assert set(enlarged.alpha.flat) == {77}


def test_transparent_black_does_not_darken_the_edge() -> None:
    colour = np.zeros((40, 40, 3), np.uint8)
    alpha = np.zeros((40, 40), np.uint8)
    colour[:, :20], alpha[:, :20] = 200, 255
    enlarged = enlarge(Picture(colour, alpha), chain_for(2, NETWORKS), progress=silent)
    assert enlarged.alpha is not None
    assert np.abs(enlarged.colour[enlarged.alpha > 10].astype(int) - 200).max() <= 6
