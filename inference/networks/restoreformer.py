"""RestoreFormer++: a network that has learned faces, and restores one in a square.

Wang et al., "RestoreFormer++: Towards Real-World Blind Face Restoration from Undegraded Key-Value
Pairs" (TPAMI 2023, arXiv:2308.07228). The weights are under Apache-2.0 and were learned from FFHQ,
whose pictures are for non-commercial use: see docs/decisions/0006-faces.md. Parameters carry the
published checkpoint's names.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.networks.network import Network

HEADS = 4

FUSED_LEVELS = 2
"""On how many of the coarsest levels the decoder looks at the encoder's features."""

_NORM_GROUPS = 32
_PREFIX = "vqvae."
"""Of the network's tensors in the checkpoint, which may hold those of what trained it too."""


class Form(NamedTuple):
    """Sizes, as published: feature maps of each level from the finest down, blocks on a level, and
    the dictionary's words.
    """

    widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512)
    blocks: int = 2
    words: int = 1024
    word_channels: int = 256


class RestoreFormer(Network):
    """An encoder, a dictionary of faces' parts, and a decoder that asks the encoder at each place.

    For the square in which it learned, or others whose sides it can halve from level to level.
    """

    scale = 1
    is_local = False
    half_type = torch.float32  # in bfloat16 it is off by three levels, in float16 near overflow

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.radius_px = self.multiple_px = 2 ** (len(form.widths) - 1)
        self.encoder = Encoder(form)
        self.decoder = Decoder(form)
        self.quantize = Dictionary(form)
        self.quant_conv = nn.Conv2d(form.word_channels, form.word_channels, 1)
        self.post_quant_conv = nn.Conv2d(form.word_channels, form.word_channels, 1)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Takes the tensors under the checkpoint's prefix alone; else as `Network` has it."""
        own = {
            name.removeprefix(_PREFIX): tensor
            for name, tensor in state.items()
            if name.startswith(_PREFIX)
        }
        outer = "encoder.down.{}.block.{}.conv1.weight"
        levels = sum(outer.format(level, 0) in own for level in range(len(own)))
        form = Form(
            widths=tuple(len(own[outer.format(level, 0)]) for level in range(levels)),
            blocks=sum(outer.format(0, block) in own for block in range(len(own))),
            words=len(own["quantize.embedding.weight"]),
            word_channels=len(own["encoder.conv_out.weight"]),
        )
        network = cls(form)
        network.load_state_dict(own)
        return network

    def forward(self, picture: Tensor) -> Tensor:
        dtype = self.quant_conv.weight.dtype
        seen = self.encoder((picture * 2 - 1).to(dtype))
        words = self.quantize(self.quant_conv(seen.code))
        shown: Tensor = self.decoder(self.post_quant_conv(words), seen)
        return (shown.float() + 1) / 2


class Seen(NamedTuple):
    """What the encoder makes of a picture: a code, and the features that the decoder asks."""

    code: Tensor
    middle: Tensor
    levels: Sequence[Tensor]


class Encoder(nn.Module):
    """Halves the sides from level to level; attends to itself on the coarsest."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        widths = form.widths
        coarsest = len(widths) - 1
        self.conv_in = _conv(3, widths[0])
        self.down = nn.ModuleList()
        for level, (before, after) in enumerate(pairwise([widths[0], *widths])):
            heads = HEADS if level == coarsest else 0
            down = Level(before, after, blocks=form.blocks, heads=heads)
            if level < coarsest:
                down.downsample = Halved(after)
            self.down.append(down)
        self.mid = Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = _conv(widths[-1], form.word_channels)

    def forward(self, picture: Tensor) -> Seen:
        features = self.conv_in(picture)
        levels = []
        for down in self.down[:-1]:
            features = down(features)
            levels.append(features)
            features = down.get_submodule("downsample")(features)
        levels.append(self.mid.block_1(self.down[-1](features)))
        middle = self.mid.block_2(self.mid.attn_1(levels[-1]))
        return Seen(self.conv_out(F.silu(self.norm_out(middle))), middle, levels)


class Decoder(nn.Module):
    """Doubles the sides from level to level; on the coarsest it asks the encoder's features."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        widths = form.widths
        self.conv_in = _conv(form.word_channels, widths[-1])
        self.mid = Middle(widths[-1])
        ups = []
        for level, (before, after) in enumerate(pairwise([widths[-1], *reversed(widths)])):
            heads = HEADS if level < FUSED_LEVELS else 0
            up = Level(before, after, blocks=form.blocks + 1, heads=heads)
            if level < len(widths) - 1:
                up.upsample = Doubled(after)
            ups.append(up)
        self.up = nn.ModuleList(reversed(ups))
        self.norm_out = _norm(widths[0])
        self.conv_out = _conv(widths[0], 3)

    def forward(self, words: Tensor, seen: Seen) -> Tensor:
        features = self.mid(self.conv_in(words), seen.middle)
        for up, asked_by in zip(reversed(self.up), reversed(seen.levels), strict=True):
            features = up(features, asked_by)
            if up is not self.up[0]:
                features = up.get_submodule("upsample")(features)
        shown: Tensor = self.conv_out(F.silu(self.norm_out(features)))
        return shown


class Level(nn.Module):
    """Residual blocks, each followed by attention if there are `heads`."""

    def __init__(self, before: int, after: int, *, blocks: int, heads: int) -> None:
        super().__init__()
        widths = [before, *[after] * blocks]
        self.block = nn.ModuleList(Residual(*pair) for pair in pairwise(widths))
        self.attn = nn.ModuleList(Attention(after, heads) for _ in range(blocks if heads else 0))

    def forward(self, features: Tensor, asked_by: Tensor | None = None) -> Tensor:
        for number, block in enumerate(self.block):
            features = block(features)
            if self.attn:
                features = self.attn[number](features, asked_by)
        return features


class Middle(nn.Module):
    """Two residual blocks around attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = Residual(channels, channels)
        self.attn_1 = Attention(channels, HEADS)
        self.block_2 = Residual(channels, channels)

    def forward(self, features: Tensor, asked_by: Tensor) -> Tensor:
        shown: Tensor = self.block_2(self.attn_1(self.block_1(features), asked_by))
        return shown


class Residual(nn.Module):
    """Two normalised convolutions beside a skip, which is projected if the width changes."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1 = _norm(before)
        self.conv1 = _conv(before, after)
        self.norm2 = _norm(after)
        self.conv2 = _conv(after, after)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, features: Tensor) -> Tensor:
        change = self.conv1(F.silu(self.norm1(features)))
        change = self.conv2(F.silu(self.norm2(change)))
        skip = self.nin_shortcut(features) if hasattr(self, "nin_shortcut") else features
        shown: Tensor = skip + change
        return shown


class Attention(nn.Module):
    """Every place asks all places, in several heads; of itself, or on behalf of other features."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = _norm(channels)
        self.norm2 = _norm(channels)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, asked_by: Tensor | None = None) -> Tensor:
        asked = self.norm1(features)
        asking = asked if asked_by is None else self.norm2(asked_by)
        answer = F.scaled_dot_product_attention(
            self._split(self.q(asking)), self._split(self.k(asked)), self._split(self.v(asked))
        )
        shown: Tensor = features + self.proj_out(answer.transpose(2, 3).reshape(features.shape))
        return shown

    def _split(self, features: Tensor) -> Tensor:
        """(n, heads, places, channels of a head)."""
        number, channels, height, width = features.shape
        shape = number, self.heads, channels // self.heads, height * width
        return features.reshape(shape).transpose(2, 3)


class Dictionary(nn.Module):
    """Replaces what stands at each place by the nearest of the words that it has learned."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.embedding = nn.Embedding(form.words, form.word_channels)

    def forward(self, code: Tensor) -> Tensor:
        at_places = code.permute(0, 2, 3, 1)
        distances = torch.cdist(at_places.flatten(0, 2).float(), self.embedding.weight.float())
        words: Tensor = self.embedding(distances.argmin(dim=1)).view(at_places.shape)
        return words.permute(0, 3, 1, 2)


class Halved(nn.Module):
    """A convolution in steps of two, padded to the right and below alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(features, (0, 1, 0, 1)))
        return halved


class Doubled(nn.Module):
    """Every place four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))
        return doubled


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_NORM_GROUPS, channels, eps=1e-6)
