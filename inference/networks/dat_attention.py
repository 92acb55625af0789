"""DAT's two kinds of attention: to places within windows, and to whole feature maps.

Chen et al., "Dual Aggregation Transformer for Image Super-Resolution" (ICCV 2023,
arXiv:2308.03364), section 3.2. Maps are (n, h, w, channels) throughout.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHUT = -100.0
"""The bias between places that only a shift has brought together: their share rounds to none."""

MASKS_KEPT = 4
"""Each size of input has two. Of half a megapixel they are 34 MB each."""


class Form(NamedTuple):
    """What all attention in a network has in common; `window` is (height, width) before turning."""

    channels: int
    heads: int
    window: tuple[int, int]


class Attention(nn.Module):
    """What both kinds share: convolved maps beside the attended ones, and a gate for each."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        channels = form.channels
        self.heads = form.heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.dwconv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.BatchNorm2d(channels),
            nn.GELU(),
        )
        self.channel_interaction = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *_gate(channels, channels // 8, channels)
        )
        self.spatial_interaction = nn.Sequential(*_gate(channels, channels // 16, 1))

    def convolved(self, values: Tensor) -> Tensor:
        """What a convolution makes of each map."""
        return _in_planes(self.dwconv, values)

    def by_channel(self, maps: Tensor) -> Tensor:
        """A gate for each map, (n, 1, 1, channels), that all places of it take part in."""
        return _in_planes(self.channel_interaction, maps).sigmoid()

    def by_place(self, maps: Tensor) -> Tensor:
        """A gate for each place, (n, h, w, 1)."""
        return _in_planes(self.spatial_interaction, maps).sigmoid()


class SpatialAttention(Attention):
    """Between a window's places: half of the channels by windows as said, half by turned ones."""

    def __init__(self, form: Form, *, is_shifted: bool) -> None:
        super().__init__(form)
        height, width = form.window
        self.attns = nn.ModuleList(
            WindowAttention(form, window=window, is_shifted=is_shifted)
            for window in ((height, width), (width, height))
        )

    def forward(self, maps: Tensor) -> Tensor:
        queries, keys, values = self.qkv(maps).chunk(3, dim=-1)
        halves = zip(*(each.chunk(2, dim=-1) for each in (queries, keys, values)), strict=True)
        attended = torch.cat(
            [attn(*half) for attn, half in zip(self.attns, halves, strict=True)], dim=-1
        )
        convolved = self.convolved(values)
        out: Tensor = self.proj(
            attended * self.by_channel(convolved) + convolved * self.by_place(attended)
        )
        return out


class ChannelAttention(Attention):
    """Between the maps of a head, by how alike they are over all of the input."""

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.temperature = nn.Parameter(torch.ones(form.heads, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        queries, keys, values = self.qkv(maps).chunk(3, dim=-1)
        query, key = (F.normalize(self._rows(each), dim=-1) for each in (queries, keys))
        shares = (query @ key.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        attended = (shares @ self._rows(values)).permute(0, 3, 1, 2).reshape(maps.shape)
        convolved = self.convolved(values)
        out: Tensor = self.proj(
            attended * self.by_place(convolved) + convolved * self.by_channel(attended)
        )
        return out

    def _rows(self, maps: Tensor) -> Tensor:
        """(n, heads, channels of each, h * w)."""
        count, height, width, _ = maps.shape
        return maps.reshape(count, height * width, self.heads, -1).permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Attention within windows, plus a bias by how far apart two places are; (n, h, w, channels).

    The bias is the output of a network for numbers that never change, so it is kept.
    """

    bias: Tensor

    def __init__(self, form: Form, *, window: tuple[int, int], is_shifted: bool) -> None:
        super().__init__()
        self.window = window
        self.shift = (window[0] // 2, window[1] // 2) if is_shifted else (0, 0)
        self.heads = form.heads // 2
        self.pos = PositionBias(form.channels // 32, heads=self.heads)
        self.register_buffer("bias", self._bias(), persistent=False)
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            WindowAttention._keep_bias
        )

    def forward(self, *qkv: Tensor) -> Tensor:
        height, width = qkv[0].shape[1:3]
        is_shifted = any(self.shift)
        bias = self.bias[None]
        if is_shifted:
            back = (-self.shift[0], -self.shift[1])
            qkv = tuple(each.roll(back, dims=(1, 2)) for each in qkv)
            mask = strangers(height, width, self.window, device=bias.device)
            bias = torch.where(mask[:, None], SHUT, bias).flatten(0, 1)[None]
        query, key, value = (self._cut(each, in_one=is_shifted) for each in qkv)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        maps = self._joined(attended, height, width)
        return maps.roll(self.shift, dims=(1, 2)) if is_shifted else maps

    def _cut(self, maps: Tensor, *, in_one: bool) -> Tensor:
        """(n, windows * heads, places, c), or (n * windows, heads, places, c)."""
        down, across = self.window
        count, height, width, channels = maps.shape
        rows, columns, own = height // down, width // across, channels // self.heads
        cut = maps.reshape(count, rows, down, columns, across, self.heads, own)
        heads = cut.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5)  # n, rows, columns, heads, places, c
        return heads.flatten(1, 3) if in_one else heads.flatten(0, 2)

    def _joined(self, windows: Tensor, height: int, width: int) -> Tensor:
        down, across = self.window
        sizes = (-1, height // down, width // across, self.heads, down, across, windows.shape[-1])
        maps = windows.reshape(sizes).permute(0, 1, 4, 2, 5, 3, 6)
        return maps.reshape(-1, height, width, self.heads * windows.shape[-1])

    @torch.no_grad()
    def _bias(self) -> Tensor:
        """(heads, places, places)."""
        down, across = self.window
        offsets = torch.cartesian_prod(
            torch.arange(1 - down, down), torch.arange(1 - across, across)
        )
        biases: Tensor = self.pos(offsets.to(self.pos.pos_proj.weight))
        place = torch.cartesian_prod(torch.arange(down), torch.arange(across))
        apart = place[:, None] - place + torch.tensor((down - 1, across - 1))
        number = apart[..., 0] * (2 * across - 1) + apart[..., 1]
        return biases[number].permute(2, 0, 1).contiguous()

    def _keep_bias(self, _keys: object) -> None:
        self.bias = self._bias()


class PositionBias(nn.Sequential):
    """From how far down and across two places are apart to a bias for each head."""

    pos_proj: nn.Linear

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, channels)
        self.pos1 = _layer(channels, channels)
        self.pos2 = _layer(channels, channels)
        self.pos3 = _layer(channels, heads)


@lru_cache(maxsize=MASKS_KEPT)
def strangers(height: int, width: int, window: tuple[int, int], *, device: torch.device) -> Tensor:
    """Which places of a window, in maps shifted by half of one, come from opposite edges.

    (windows, places, places), of booleans.
    """
    down, across = window
    rows = _regions((height - down, height - down // 2, height))
    columns = _regions((width - across, width - across // 2, width))
    region = 3 * rows[:, None] + columns
    cut = region.view(height // down, down, width // across, across).permute(0, 2, 1, 3)
    places = cut.reshape(-1, down * across)
    return (places[:, :, None] != places[:, None]).to(device)


def _regions(ends: Iterable[int]) -> Tensor:
    """A number for each place: which of these ends it is the first before."""
    numbers = [
        torch.full((end - start,), number)
        for number, (start, end) in enumerate(pairwise((0, *ends)))
    ]
    return torch.cat(numbers)


def _gate(channels: int, narrow: int, gates: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels, narrow, 1),
        nn.BatchNorm2d(narrow),
        nn.GELU(),
        nn.Conv2d(narrow, gates, 1),
    )


def _layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(before), nn.ReLU(), nn.Linear(before, after))


def _in_planes(layers: nn.Module, maps: Tensor) -> Tensor:
    planes: Tensor = layers(maps.permute(0, 3, 1, 2))
    return planes.permute(0, 2, 3, 1)
