"""SPAN: a small convnet whose attention has no parameters.

Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution" (2023,
arXiv:2311.12770). The weights that we know are Philip Hofmann's, under CC-BY-4.0; parameters carry
their names.
"""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.networks.exact import Mean
from inference.networks.network import Network
from inference.networks.state import State, shuffle_factor

PEAK = 255.0
"""The value of white for a network that normalises its input."""


class SPAN(Network):
    """Six blocks of `channels` feature maps. With `is_normalising` it wants -255..255 about a mean.

    While they are trained, its convolutions are sums of branches; here each is one of 3x3.
    """

    def __init__(self, *, scale: int, channels: int, is_normalising: bool) -> None:
        super().__init__()
        self.scale = scale
        self.radius_px = 21  # every 3x3 in line
        self.conv_1 = Conv(3, channels)
        self.block_1 = Block(channels)
        self.block_2 = Block(channels)
        self.block_3 = Block(channels)
        self.block_4 = Block(channels)
        self.block_5 = Block(channels)
        self.block_6 = Block(channels)
        self.conv_cat = nn.Conv2d(4 * channels, channels, 1)
        self.conv_2 = Conv(channels, channels)
        self.upsampler = nn.Sequential(
            nn.Conv2d(channels, 3 * scale * scale, 3, padding=1), nn.PixelShuffle(scale)
        )
        self.mean = Mean() if is_normalising else None

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The network of a checkpoint, its branches fused or not.

        Raises LookupError, ValueError or RuntimeError for other networks.
        """
        network = cls(
            scale=shuffle_factor(state["upsampler.0.weight"].shape[0]),
            channels=state["conv_cat.weight"].shape[0],
            is_normalising="no_norm" not in state,
        )
        network.load_state_dict(fused(state))
        return network

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge a batch."""
        if self.mean is not None:
            picture = (picture - self.mean.rgb) * PEAK
        shallow = self.conv_1(picture.to(self.computes_in))
        early, first = self.block_1(shallow)
        features = early
        for block in (self.block_2, self.block_3, self.block_4, self.block_5, self.block_6):
            features, first = block(features)
        maps = torch.cat((shallow, self.conv_2(features), early, first), dim=1)
        enlarged: Tensor = self.upsampler(self.conv_cat(maps))
        return enlarged.float()


class Block(nn.Module):
    """Three convolutions and a gate made of what they give; also gives its first feature map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c1_r = Conv(channels, channels)
        self.c2_r = Conv(channels, channels)
        self.c3_r = Conv(channels, channels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        # The activated map is handed on: in training the activation overwrote what it was given.
        first = F.silu(self.c1_r(features))
        out = self.c3_r(F.silu(self.c2_r(first)))
        return (features + out) * (torch.sigmoid(out) - 0.5), first


class Conv(nn.Module):
    """A convolution, under the name that the fused one has in checkpoints."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.eval_conv = nn.Conv2d(before, after, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        convolved: Tensor = self.eval_conv(maps)
        return convolved


def fused(state: State) -> dict[str, Tensor]:
    """The same network without branches; what is fused already is left as it is.

    A fused convolution that lies beside its branches may be older than they are, and is replaced.
    """
    branched = {name.removesuffix(".sk.weight") for name in state if name.endswith(".sk.weight")}
    kept = {
        name: tensor
        for name, tensor in state.items()
        if name != "no_norm" and not any(name.startswith(f"{conv}.") for conv in branched)
    }
    return kept | {name: tensor for conv in branched for name, tensor in _fused(state, conv)}


def _fused(state: State, conv: str) -> Iterator[tuple[str, Tensor]]:
    """A 1x1, a 3x3 and a 1x1 in a row, plus a 1x1 beside them, as one 3x3 (paper, section 3.3)."""
    (first, bias_1), (second, bias_2), (third, bias_3), (skip, bias_skip) = (
        (state[f"{conv}.{part}.weight"], state[f"{conv}.{part}.bias"])
        for part in ("conv.0", "conv.1", "conv.2", "sk")
    )
    first, third = first.flatten(1), third.flatten(1)
    weight = torch.einsum("ob,bayx,ai->oiyx", third, second, first)
    weight[:, :, 1, 1] += skip.flatten(1)
    yield f"{conv}.eval_conv.weight", weight
    bias = third @ (second.sum(dim=(2, 3)) @ bias_1 + bias_2) + bias_3
    yield f"{conv}.eval_conv.bias", bias + bias_skip
