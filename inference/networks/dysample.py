"""DySample: an enlargement that samples its input at learned places.

Liu et al., "Learning to Upsample by Learning to Sample" (2023, arXiv:2308.15085). Parameters carry
the names that they have in RealPLKSR's checkpoints.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.networks.exact import Exact, ExactConv2d


class DySample(Exact):
    """(n, channels, h, w) -> (n, 3, scale * h, scale * w), all in fp32: 16 bits cannot tell places.

    Each of `groups` equal groups of channels has its own places. At a scale of 1 there are as many
    groups as colours; else a 1x1 convolution makes colours of all channels.
    """

    init_pos: Tensor

    def __init__(self, channels: int, *, scale: int, groups: int) -> None:
        super().__init__()
        self.scale = scale
        self.groups = groups
        places = 2 * groups * scale * scale
        self.offset = ExactConv2d(channels, places, 1)
        self.scope = ExactConv2d(channels, places, 1, bias=False)
        self.end_conv = ExactConv2d(channels, 3, 1) if scale > 1 else None
        self.register_buffer("init_pos", self._even())

    def forward(self, maps: Tensor) -> Tensor:
        """Colours; the places are within half a pixel of a regular grid's."""
        offsets = self.offset(maps) * self.scope(maps).sigmoid() * 0.5 + self.init_pos
        places = self._places(offsets)
        if self.end_conv is None:
            return self._sampled(maps, places).flatten(1, 2)
        # Sampling is linear, so colours can be made before it, while there are fewer pixels.
        weight = self.end_conv.weight.view(3, self.groups, -1, 1, 1).transpose(0, 1).flatten(0, 1)
        colours = self._sampled(F.conv2d(maps, weight, groups=self.groups), places).sum(dim=1)
        return colours + cast(Tensor, self.end_conv.bias).view(-1, 1, 1)

    def _even(self) -> Tensor:
        """A regular grid's offsets from the middle of the input pixel, x before y: (1, c, 1, 1)."""
        steps = (torch.arange(self.scale) - (self.scale - 1) / 2) / self.scale
        down, across = torch.meshgrid(steps, steps, indexing="ij")
        offsets = torch.stack((across, down)).flatten(1)[:, None]
        return offsets.expand(2, self.groups, -1).reshape(1, -1, 1, 1)

    def _places(self, offsets: Tensor) -> Tensor:
        """Where to sample, -1..1 from edge to edge: (n * groups, scale * h, scale * w, 2)."""
        count, _, height, width = offsets.shape
        across = torch.arange(width, device=offsets.device) + 0.5
        down = torch.arange(height, device=offsets.device)[:, None] + 0.5
        x, y = offsets.chunk(2, dim=1)
        places = torch.cat((2 * (x + across) / width - 1, 2 * (y + down) / height - 1), dim=1)
        shuffled = F.pixel_shuffle(places, self.scale)
        pairs = shuffled.view(count, 2, self.groups, *shuffled.shape[2:])
        return pairs.permute(0, 2, 3, 4, 1).flatten(0, 1)

    def _sampled(self, maps: Tensor, places: Tensor) -> Tensor:
        """(n, groups, c, scale * h, scale * w) of (n, groups * c, h, w)."""
        count, channels, height, width = maps.shape
        groups = maps.reshape(count * self.groups, channels // self.groups, height, width)
        sampled = F.grid_sample(groups, places, padding_mode="border", align_corners=False)
        return sampled.view(count, self.groups, *sampled.shape[1:])
