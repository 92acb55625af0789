"""Layers that stay in fp32."""

import pytest
import torch
from torch.nn import functional as F

from inference.networks.dat import DAT
from inference.networks.exact import ExactConv2d, Mean
from tests.inference.networks.tiny import tiny


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_cast_does_not_round_them(half: torch.dtype) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), ExactConv2d(4, 2, 1), Mean())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    after = network.to(half).state_dict()
    assert after["0.weight"].dtype == half
    assert torch.equal(after["1.weight"], before["1.weight"])
    assert network[2].rgb.dtype == torch.float32


def test_they_follow_to_another_device() -> None:
    assert ExactConv2d(4, 2, 1).to("meta", torch.bfloat16).weight.device.type == "meta"


def test_they_take_any_type_and_give_fp32() -> None:
    conv, maps = ExactConv2d(4, 2, 3), torch.rand(1, 4, 5, 5).bfloat16()
    with torch.inference_mode():
        assert torch.equal(conv(maps), F.conv2d(maps.float(), conv.weight, conv.bias))


def test_a_network_that_only_bears_bfloat16_ends_in_fp32() -> None:
    network = tiny("dat x4").bfloat16()
    assert isinstance(network, DAT)
    assert network.computes_in == torch.bfloat16
    ends = (network.conv_after_body, network.upsample[0], network.conv_last)
    assert {end.weight.dtype for end in ends} == {torch.float32}
