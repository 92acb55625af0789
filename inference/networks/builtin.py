"""The built-in network: a small plain convnet that enlarges by two or by four, in two widths.

Shaped after Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution"
(2023, arXiv:2311.12770). Two things are ours: it predicts the difference from a fixed bilinear
enlargement instead of the picture, and its first gates are initialised open. Its weights are ours,
too: `training/`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.networks.network import Network
from inference.networks.state import State, length, shuffle_factor

WIDTHS: Mapping[str, int] = MappingProxyType({"small": 32, "base": 48})
BLOCKS = 6


class BuiltIn(Network):
    """`blocks` blocks of `channels` feature maps; purely convolutional."""

    bears_bfloat16 = True  # what is rounded is the difference alone

    def __init__(self, *, scale: int, channels: int, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.scale = scale
        self.radius_px = 3 * blocks + 3  # every 3x3 in line; the bilinear skip reaches one pixel
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.neck = nn.Conv2d(channels, channels, 3, padding=1)
        self.fuse = nn.Conv2d(4 * channels, channels, 1)
        self.tail = nn.Conv2d(channels, 3 * scale * scale, 3, padding=1)
        for parameter in self.tail.parameters():  # untrained, it is exactly the bilinear skip
            nn.init.zeros_(parameter)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """A checkpoint's network; raises LookupError, ValueError or RuntimeError for others."""
        network = cls(
            scale=shuffle_factor(state["tail.bias"].shape[0]),
            channels=state["head.bias"].shape[0],
            blocks=length(state, "blocks."),
        )
        network.load_state_dict(state)
        return network

    def forward(self, picture: Tensor) -> Tensor:
        shallow = self.head(picture.to(self.computes_in))  # (n, channels, h, w)
        first, features = self.blocks[0](shallow)
        early = features
        for block in self.blocks[1:]:
            first, features = block(features)
        maps = torch.cat((shallow, self.neck(features), early, first), dim=1)
        detail = F.pixel_shuffle(self.tail(self.fuse(maps)), self.scale)
        return detail + F.interpolate(picture, scale_factor=self.scale, mode="bilinear")


class Block(nn.Module):
    """Three convolutions and the paper's parameter-free gate; also gives its first feature map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        for conv in convs:  # the default leaves the gates shut, and little passes six of them
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        self.convs = nn.ModuleList(convs)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        first = F.silu(self.convs[0](features))
        out = self.convs[2](F.silu(self.convs[1](first)))
        return first, (features + out) * (torch.sigmoid(out) - 0.5)
