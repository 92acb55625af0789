"""The learned sampling, against what it is defined as."""

import pytest
import torch
from torch.nn import functional as F

from inference.networks.dysample import DySample


def made(*, scale: int, groups: int) -> DySample:
    torch.manual_seed(scale)
    return DySample(3 * scale * scale, scale=scale, groups=groups).eval()


@pytest.mark.parametrize("scale", [2, 3, 4])
@torch.inference_mode()
def test_without_offsets_it_enlarges_bilinearly(scale: int) -> None:
    layer = made(scale=scale, groups=3)
    for parameter in layer.offset.parameters():
        parameter.zero_()
    maps = torch.rand(2, 3 * scale * scale, 5, 7)
    enlarged = F.interpolate(maps, scale_factor=float(scale), mode="bilinear")
    assert layer.end_conv is not None
    torch.testing.assert_close(layer(maps), layer.end_conv(enlarged), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_offsets_move_the_places_across_and_down() -> None:
    layer = made(scale=1, groups=3)
    assert layer.offset.bias is not None
    layer.offset.weight.zero_()
    layer.scope.weight.zero_()  # a gate of one half, of which one half counts
    layer.offset.bias.copy_(torch.tensor([4.0] * 3 + [0.0] * 3))  # x of each group, then y
    maps = torch.rand(1, 3, 4, 6)
    torch.testing.assert_close(layer(maps)[..., :-1], maps[..., 1:])
    layer.offset.bias.copy_(layer.offset.bias.flip(0))
    torch.testing.assert_close(layer(maps)[..., :-1, :], maps[..., 1:, :])


def test_each_group_of_channels_has_its_own_places() -> None:
    layer = made(scale=2, groups=4)
    assert layer.init_pos.shape == (1, 2 * 4 * 4, 1, 1)
    across, down = layer.init_pos.view(2, 4, 2, 2)
    assert torch.equal(across[0], torch.tensor([[-0.25, 0.25], [-0.25, 0.25]]))
    assert torch.equal(down, across.transpose(1, 2))
