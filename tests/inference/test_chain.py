"""The networks in a row: factors, radius, windows, and what happens to broken numbers."""

import numpy as np
import pytest
import torch

from inference.catalogue import WEIGHTS_FOLDER
from inference.chain import Chain
from inference.checkpoints import load_network
from inference.networks.builtin import BuiltIn
from inference.published import PHOTO
from tests.inference.drawings import noise
from tests.inference.stand_ins import Blur, Broken, Levelling, Nearest, made, sizes


def tiny(scale: int) -> BuiltIn:
    """The built-in network's shape, thin, with weights that show in every pixel."""
    torch.manual_seed(scale)
    network = BuiltIn(scale=scale, channels=8, blocks=2)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    return network.eval()


def trained() -> Chain:
    """The network that ships, and that most of what is enlarged here goes through."""
    return Chain([load_network(PHOTO.x4, folder=WEIGHTS_FOLDER)], scale=4)


CHAINS = {
    "1": Chain([tiny(2)], scale=1),
    "2": Chain([tiny(2)], scale=2),
    "2 of 4": Chain([tiny(4)], scale=2),
    "4": Chain([tiny(4)], scale=4),
    "6": Chain([tiny(4), tiny(2)], scale=6),
    "8": Chain([tiny(4), tiny(2)], scale=8),
    "2 guarded": Chain([tiny(2)], scale=2, is_guarded=True),
    "trained": trained(),
}


@pytest.mark.parametrize("which", CHAINS)
@pytest.mark.parametrize(("width", "height"), [(97, 30), (33, 65)])
def test_tiled_equals_whole(which: str, width: int, height: int) -> None:
    chain, picture = CHAINS[which], noise(height, width, 3)
    tiled, whole = (
        made(chain, picture, sizes=sizes(side_px)).astype(int)
        for side_px in (2 * chain.radius_px + 15, 100)
    )
    assert tiled.shape == whole.shape == (height * chain.scale, width * chain.scale, 3)
    assert np.abs(tiled - whole).max() <= 1


@pytest.mark.parametrize("which", CHAINS)
@torch.inference_mode()
def test_nothing_reaches_farther_than_the_radius(which: str) -> None:
    chain = CHAINS[which]
    side, middle = 2 * chain.radius_px + 5, chain.radius_px + 2
    before = torch.from_numpy(noise(1, 3, side, side)).float() / 255
    after = before.clone()
    after[:, :, middle, middle] = 1 - after[:, :, middle, middle].round()
    changed = (chain(after).pixels - chain(before).pixels).abs().amax(dim=(0, 1)) > 1e-6
    rows, columns = torch.nonzero(changed, as_tuple=True)
    nearest = (middle - chain.radius_px) * chain.scale
    farthest = (middle + chain.radius_px + 1) * chain.scale
    for places in (rows, columns):
        assert nearest <= places.min() and places.max() < farthest  # noqa: PT018, one interval


@pytest.mark.parametrize("which", CHAINS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 1), (7, 1, 3), (3, 5, 3), (1, 1, 3)])
def test_sizes_are_exact_down_to_a_single_pixel(which: str, shape: tuple[int, ...]) -> None:
    scale = CHAINS[which].scale
    enlarged = made(CHAINS[which], noise(*shape))
    assert enlarged.shape == (shape[0] * scale, shape[1] * scale, shape[2])


def test_a_flat_picture_stays_flat() -> None:
    enlarged = made(CHAINS["trained"], np.full((40, 40, 3), 140, np.uint8))
    assert np.abs(enlarged.astype(int) - 140).max() <= 3


def test_a_guarded_result_reduces_to_its_source() -> None:
    source = noise(20, 30, 3)
    free, guarded = (
        made(chain, source).reshape(20, 2, 30, 2, 3).mean(axis=(1, 3)) - source
        for chain in (CHAINS["2"], CHAINS["2 guarded"])
    )
    assert np.abs(guarded).mean() < np.abs(free).mean() / 2


def test_a_network_for_the_same_size_runs_at_that_size() -> None:
    network = Nearest(1)
    source = noise(9, 8, 3)
    assert np.array_equal(made(Chain([network], scale=1), source), source)
    assert network.shapes == [(1, 3, 9, 8)]


def test_networks_that_do_not_reach_the_factor_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot make a factor of 6"):
        Chain([Nearest(2), Nearest(2)], scale=6)


def test_a_chain_asks_for_what_each_of_its_networks_needs() -> None:
    chain = Chain([Blur(4, multiple_px=3), Nearest(2, radius_px=9, multiple_px=8)], scale=8)
    assert (chain.radius_px, chain.multiple_px, chain.input_scale) == (2 + 3, 6, 4)
    assert chain.is_local
    assert chain.overlap.fade_px == 0
    reducing = Chain([Blur(4), Levelling(2)], scale=6)
    assert not reducing.is_local
    assert reducing.overlap.fade_px == reducing.radius_px == 2 + 0 + 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("position", [0, 1])
def test_numbers_that_are_none_are_told_wherever_they_come_up(value: float, position: int) -> None:
    networks: list[Nearest] = [Nearest(1), Nearest(1)]
    networks[position] = Broken(1, value=value)
    chain = Chain(networks, scale=1)
    assert not chain(torch.ones(1, 3, 4, 4)).is_finite
    assert chain(torch.zeros(1, 3, 4, 4)).is_finite
