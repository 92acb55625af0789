"""RealPLKSR: a convnet in which a quarter of the feature maps goes through a very large kernel.

Lee et al., "Partial Large Kernel CNNs for Efficient Super-Resolution" (2024, arXiv:2404.11848), in
the variant with group normalisation that neosr made of it. The weights that we use are Philip
Hofmann's, under CC-BY-4.0; parameters carry their names.
"""

from typing import Self

import torch
from torch import Tensor, nn

from inference.networks.dysample import DySample
from inference.networks.exact import ExactConv2d
from inference.networks.network import Network
from inference.networks.state import State, length, shuffle_factor

NORM_GROUPS = 4


class RealPLKSR(Network):
    """`blocks` blocks of `channels` feature maps, `partial` of which see `kernel_px` squared.

    With `sampling_groups` pixels are sampled at learned places, else shuffled. It is not local: the
    normalisation is by the mean and variance of all of its input. These differ little from tile to
    tile, and with them what is shown: `radius_px` is enough to fade over, not how far it reaches.
    """

    is_local = False
    radius_px = 32
    half_type = torch.bfloat16  # before they are normalised, the maps can outgrow float16

    def __init__(
        self,
        *,
        scale: int,
        channels: int,
        blocks: int,
        partial: int,
        kernel_px: int,
        sampling_groups: int = 0,
    ) -> None:
        super().__init__()
        self.scale = scale
        samples = 3 * scale * scale
        self.feats = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            *(Block(channels, partial=partial, kernel_px=kernel_px) for _ in range(blocks)),
            nn.Identity(),  # where training drops maps out
            ExactConv2d(channels, samples, 3, padding=1),
        )
        self.to_img = (
            DySample(samples, scale=scale, groups=sampling_groups)
            if sampling_groups
            else nn.PixelShuffle(scale)
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """A checkpoint's network; raises LookupError, ValueError or RuntimeError for others."""
        layers = length(state, "feats.")
        large = state["feats.1.lk.conv.weight"]
        scale = shuffle_factor(state[f"feats.{layers - 1}.weight"].shape[0])
        offsets = state.get("to_img.init_pos")
        network = cls(
            scale=scale,
            channels=state["feats.0.weight"].shape[0],
            blocks=layers - 3,
            partial=large.shape[0],
            kernel_px=large.shape[2],
            sampling_groups=0 if offsets is None else offsets.numel() // (2 * scale * scale),
        )
        network.load_state_dict(state)
        return network

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge a batch."""
        samples = self.feats(picture.to(self.computes_in))
        enlarged: Tensor = self.to_img(samples + picture.repeat_interleave(self.scale**2, dim=1))
        return enlarged


class Block(nn.Module):
    """Near and far neighbours mixed, gated by an attention for each sample, and normalised."""

    def __init__(self, channels: int, *, partial: int, kernel_px: int) -> None:
        super().__init__()
        self.channel_mixer = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.Mish(inplace=True),
            nn.Conv2d(2 * channels, channels, 3, padding=1),
        )
        self.lk = LargeKernel(partial, kernel_px=kernel_px)
        self.attn = Attention(channels)
        self.refine = nn.Conv2d(channels, channels, 1)
        self.norm = nn.GroupNorm(NORM_GROUPS, channels)

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.attn(self.lk(self.channel_mixer(features)))
        out: Tensor = self.norm(self.refine(mixed))
        return out + features


class LargeKernel(nn.Module):
    """A convolution of the first few maps; the others pass."""

    def __init__(self, partial: int, *, kernel_px: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(partial, partial, kernel_px, padding=kernel_px // 2)

    def forward(self, maps: Tensor) -> Tensor:
        partial = self.conv.out_channels
        maps[:, :partial] = self.conv(maps[:, :partial])  # nobody else reads what is overwritten
        return maps


class Attention(nn.Module):
    """Each sample times a gate that a convolution opens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        gated: Tensor = maps * self.f(maps)
        return gated
