"""A tile with enough context is what the whole picture gives there."""

import pytest
import torch

from inference.networks.network import Network
from inference.networks.rrdbnet import REACH, RRDBNet
from tests.inference.networks.tiny import TINY, tiny

LOCAL = [name for name in TINY if tiny(name).is_local]


def cut_out(network: Network, *, side_px: int) -> float:
    """How far a tile of that side, cut from the middle of a picture, is from the whole."""
    unit, halo_px = network.multiple_px, network.radius_px
    start, end = halo_px + 4 * unit, halo_px + 4 * unit + side_px
    whole_px = end + halo_px + 8 * unit
    picture = torch.rand(1, 3, whole_px, whole_px, generator=torch.Generator().manual_seed(0))
    window = slice(start - halo_px, end + halo_px)
    kept = slice(start * network.scale, end * network.scale)
    inner = slice(halo_px * network.scale, (halo_px + side_px) * network.scale)
    with torch.inference_mode():
        whole = network(picture)[..., kept, kept]
        tile = network(picture[..., window, window])[..., inner, inner]
    return float((whole - tile).abs().max())


@pytest.mark.parametrize("name", LOCAL)
def test_a_tile_equals_the_whole(name: str) -> None:
    network = tiny(name)
    assert cut_out(network, side_px=4 * network.multiple_px) < 1e-5


@pytest.mark.parametrize("scale", [4, 2])
def test_what_rrdbnet_sees_beyond_its_radius_does_not_count(scale: int) -> None:
    torch.manual_seed(0)
    deep = RRDBNet(scale=scale, channels=8, blocks=5, growth=8).eval()
    assert deep.radius_px == REACH * deep.multiple_px < (15 * 5 + 2) * deep.multiple_px
    assert cut_out(deep, side_px=8) < 1e-5
