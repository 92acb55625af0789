"""DAT: a transformer that attends in turn to places within windows and to whole feature maps.

Chen et al., "Dual Aggregation Transformer for Image Super-Resolution" (ICCV 2023,
arXiv:2308.03364). The weights that we use are Philip Hofmann's, under CC-BY-4.0; parameters carry
their names. Maps are (n, h, w, channels) throughout.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.networks.dat_attention import ChannelAttention, Form, SpatialAttention
from inference.networks.exact import ExactConv2d, Mean
from inference.networks.network import Network
from inference.networks.state import State, length, shuffle_factor

RECOMPUTED = ("rpe_biases", "relative_position_index", "attn_mask_0", "attn_mask_1")
"""What checkpoints hold besides, more than half of their bytes; it follows from the window."""


class DAT(Network):
    """`groups` residual groups of `blocks` blocks; `factors` are those of its pixel shuffles.

    It is not local: a block in two looks at all of its input. How that differs from tile to tile
    is faded over `radius_px`. Sides are multiples of a window's, and windows are cut alike in all
    tiles if the places that a picture is cut at are as well.
    """

    is_local = False
    radius_px = 32
    half_type = torch.bfloat16

    def __init__(
        self,
        form: Form,
        *,
        groups: int,
        blocks: int,
        expansion: int,
        wide: int,
        factors: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.scale = math.prod(factors)
        self.multiple_px = math.lcm(*form.window)
        self.mean = Mean()
        self.conv_first = nn.Conv2d(3, form.channels, 3, padding=1)
        self.before_RG = nn.Sequential(nn.Identity(), nn.LayerNorm(form.channels))
        self.layers = nn.ModuleList(
            Group(form, number=number, blocks=blocks, expansion=expansion)
            for number in range(groups)
        )
        self.norm = nn.LayerNorm(form.channels)
        self.conv_after_body = ExactConv2d(form.channels, form.channels, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(
            ExactConv2d(form.channels, wide, 3, padding=1), nn.LeakyReLU(inplace=True)
        )
        self.upsample = nn.Sequential()
        for factor in factors:
            self.upsample.append(ExactConv2d(wide, factor * factor * wide, 3, padding=1))
            self.upsample.append(nn.PixelShuffle(factor))
        self.conv_last = ExactConv2d(wide, 3, 3, padding=1)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """A checkpoint's network; raises LookupError, ValueError or RuntimeError for others."""
        wide, channels = state["conv_before_upsample.0.weight"].shape[:2]
        first = "layers.0.blocks.0."
        pairs = state[f"{first}attn.attns.0.rpe_biases"]  # all offsets within a window
        height, width = (int(side) + 1 for side in pairs.max(dim=0).values)
        network = cls(
            Form(
                channels=channels,
                heads=2 * state[f"{first}attn.attns.0.pos.pos3.2.bias"].shape[0],
                window=(height, width),
            ),
            groups=length(state, "layers."),
            blocks=length(state, "layers.0.blocks."),
            expansion=state[f"{first}ffn.fc1.weight"].shape[0] // channels,
            wide=wide,
            factors=tuple(
                shuffle_factor(state[f"upsample.{layer}.weight"].shape[0], of=wide)
                for layer in range(0, length(state, "upsample."), 2)
            ),
        )
        network.load_state_dict(
            {name: state[name] for name in state if not name.endswith(RECOMPUTED)}
        )
        return network

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge a batch."""
        shallow = self.conv_first((picture - self.mean.rgb).to(self.computes_in))
        features = self.before_RG(shallow.permute(0, 2, 3, 1))
        for group in self.layers:
            features = group(features)
        deep = self.conv_after_body(self.norm(features).permute(0, 3, 1, 2))
        wide = self.upsample(self.conv_before_upsample(deep + shallow))
        enlarged: Tensor = self.conv_last(wide) + self.mean.rgb
        return enlarged


class Group(nn.Module):
    """Blocks, a convolution, and a residual around them."""

    def __init__(self, form: Form, *, number: int, blocks: int, expansion: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(_attention(form, group=number, block=block), form, expansion=expansion)
            for block in range(blocks)
        )
        self.conv = nn.Conv2d(form.channels, form.channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        out = maps
        for block in self.blocks:
            out = block(out)
        smoothed: Tensor = self.conv(out.permute(0, 3, 1, 2))
        return maps + smoothed.permute(0, 2, 3, 1)


class Block(nn.Module):
    """An attention and a gated perceptron, each with a residual around it."""

    def __init__(self, attention: nn.Module, form: Form, *, expansion: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(form.channels)
        self.attn = attention
        self.ffn = GatedPerceptron(form.channels, hidden=expansion * form.channels)
        self.norm2 = nn.LayerNorm(form.channels)

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.attn(self.norm1(maps))
        attended: Tensor = maps + self.ffn(self.norm2(maps))
        return attended


class GatedPerceptron(nn.Module):
    """Two layers; half of what is between them gates the other half."""

    def __init__(self, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.sg = SpatialGate(hidden // 2)
        self.fc2 = nn.Linear(hidden // 2, channels)

    def forward(self, maps: Tensor) -> Tensor:
        mixed: Tensor = self.fc2(self.sg(F.gelu(self.fc1(maps))))
        return mixed


class SpatialGate(nn.Module):
    """The first half of the maps times what a convolution for each map makes of the second."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, maps: Tensor) -> Tensor:
        kept, gate = maps.chunk(2, dim=-1)
        opened: Tensor = self.conv(self.norm(gate).permute(0, 3, 1, 2))
        return kept * opened.permute(0, 2, 3, 1)


def _attention(form: Form, *, group: int, block: int) -> nn.Module:
    """Places and maps in turn; of the former every second is shifted by half a window."""
    if block % 2:
        return ChannelAttention(form)
    return SpatialAttention(form, is_shifted=(block // 2 + group) % 2 == 1)
