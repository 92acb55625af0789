"""RRDBNet: residual blocks in residual blocks of densely connected convolutions.

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks" (2018,
arXiv:1809.00219) and "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
Data" (2021, arXiv:2107.10833). The weights that we use are Real-ESRGAN's, under BSD-3-Clause;
parameters carry their names.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.networks.network import Network
from inference.networks.state import State, length, shuffle_factor

GROWTH = 4
"""The features are enlarged by this; a smaller scale is made by shrinking the input first."""

RESIDUAL = 0.2
"""The share of its result that each block adds to its input."""

REACH = 64
"""Features farther away hardly count, though every convolution reaches one on: 350 for 23 blocks.

Measured with the weights of x4plus on three Kodak pictures, a tile cut out so far from its edges
differs from the whole by at most 11 levels of 255 at 32, 5 at 48, 1 at 64 and 0.1 at 96. (Random
weights, which do not count on the zeros around a tile, make 10 look enough.)
"""


class RRDBNet(Network):
    """`blocks` blocks of `channels` feature maps, which gain `growth` maps in each dense layer.

    Of a scale below four it sees squares of `4 / scale` pixels as one; so sides are multiples of
    that, and so should the places be that a picture is cut at.
    """

    def __init__(self, *, scale: int, channels: int, blocks: int, growth: int) -> None:
        super().__init__()
        self.scale = scale
        self.multiple_px = GROWTH // scale
        # All 3x3 in line; what is done at two and four times the size reaches less than two more.
        self.radius_px = min(15 * blocks + 4, REACH) * self.multiple_px
        self.conv_first = _conv(3 * self.multiple_px**2, channels)
        self.body = nn.ModuleList(Block(channels, growth=growth) for _ in range(blocks))
        self.conv_body = _conv(channels, channels)
        self.conv_up1 = _conv(channels, channels)
        self.conv_up2 = _conv(channels, channels)
        self.conv_hr = _conv(channels, channels)
        self.conv_last = _conv(channels, 3)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """A checkpoint's network; raises LookupError, ValueError or RuntimeError for others."""
        channels, in_channels = state["conv_first.weight"].shape[:2]
        network = cls(
            scale=_scale(in_channels),
            channels=channels,
            blocks=length(state, "body."),
            growth=state["body.0.rdb1.conv1.weight"].shape[0],
        )
        network.load_state_dict(state)
        return network

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge a batch."""
        squares = F.pixel_unshuffle(picture.to(self.computes_in), self.multiple_px)
        shallow = features = self.conv_first(squares)
        for block in self.body:
            features = block(features)
        features = shallow + self.conv_body(features)
        for conv in (self.conv_up1, self.conv_up2):
            features = _activated(conv(F.interpolate(features, scale_factor=2.0, mode="nearest")))
        enlarged: Tensor = self.conv_last(_activated(self.conv_hr(features)))
        return enlarged.float()


class Block(nn.Module):
    """Three dense blocks in a row, and a residual around them."""

    def __init__(self, channels: int, *, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(channels, growth=growth)
        self.rdb2 = DenseBlock(channels, growth=growth)
        self.rdb3 = DenseBlock(channels, growth=growth)

    def forward(self, features: Tensor) -> Tensor:
        out = self.rdb3(self.rdb2(self.rdb1(features)))
        return torch.add(features, out, alpha=RESIDUAL)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it gave."""

    def __init__(self, channels: int, *, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, growth)
        self.conv2 = _conv(channels + growth, growth)
        self.conv3 = _conv(channels + 2 * growth, growth)
        self.conv4 = _conv(channels + 3 * growth, growth)
        self.conv5 = _conv(channels + 4 * growth, channels)

    def forward(self, features: Tensor) -> Tensor:
        seen = features
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, _activated(conv(seen))), dim=1)
        return torch.add(features, self.conv5(seen), alpha=RESIDUAL)


def _scale(in_channels: int) -> int:
    shrunk = shuffle_factor(in_channels)
    if math.gcd(shrunk, GROWTH) != shrunk:
        raise ValueError(f"input shrunk by {shrunk} and enlarged by {GROWTH} is of no whole scale")
    return GROWTH // shrunk


def _activated(features: Tensor) -> Tensor:
    return F.leaky_relu(features, 0.2, inplace=True)


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)
