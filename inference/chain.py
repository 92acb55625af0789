"""Networks in a row, as one: what they enlarge together, reduced to the factor asked for."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.guard import BackProjection
from inference.networks.network import Network
from inference.tiling import Overlap

KERNEL_RADIUS = 2  # of the antialiased bicubic, in the pixels that it reduces to


class Enlarged(NamedTuple):
    """`pixels` within 0..1, (n, 3, scale * h, scale * w), fp32; `is_finite` is one boolean.

    Where it is false, some network gave NaN or infinity, and the pixels are of no use.
    """

    pixels: Tensor
    is_finite: Tensor


class Chain(nn.Module):
    """RGB in 0..1, (n, 3, h, w), fp32, through every network, exactly `scale` times as large.

    Even a factor of one is a network's work: one of that scale, or a larger one reduced. Reductions
    stay aligned to source pixels, so that a window gives what the whole picture would. With a guard
    the result is corrected until, reduced again, it matches its source; at a factor of 1, where
    that would be a copy, its low frequencies are.
    `radius_px` is in source pixels, and covers all of that. `input_scale` says how much larger than
    the source the largest picture is that any of the networks is given.
    """

    def __init__(
        self, networks: Sequence[Network], *, scale: int, is_guarded: bool = False
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.scale = scale
        self.is_local = all(network.is_local for network in networks)
        self.radius_px, self.multiple_px = 0, 1
        grown = 1
        for network in networks:
            self.input_scale = grown
            self.radius_px += -(-network.radius_px // grown)
            least_px = network.multiple_px // math.gcd(network.multiple_px, grown)
            self.multiple_px = math.lcm(self.multiple_px, least_px)
            grown *= network.scale
        if grown < scale:
            raise ValueError(f"networks that enlarge by {grown} cannot make a factor of {scale}")
        self._is_reducing = grown != scale
        if self._is_reducing:
            self.radius_px += math.ceil(KERNEL_RADIUS / scale)
        self._guard = BackProjection(low_only=scale == 1) if is_guarded else None
        if self._guard is not None:
            self.radius_px += self._guard.radius_px

    @property
    def overlap(self) -> Overlap:
        """How windows must overlap so that what the chain makes of them fits together."""
        fade_px = 0 if self.is_local else self.radius_px
        return Overlap(self.radius_px, fade_px=fade_px, multiple_px=self.multiple_px)

    def forward(self, picture: Tensor) -> Enlarged:
        enlarged = picture
        is_finite = torch.ones((), dtype=torch.bool, device=picture.device)
        for network in self.networks:
            enlarged = network(enlarged)
            # One value that is none makes the sum none; clamping would make infinity white.
            is_finite = is_finite & torch.isfinite(enlarged.sum(dtype=torch.float32))
            enlarged = enlarged.float().clamp_(0, 1)
        if self._is_reducing:
            size = [side * self.scale for side in picture.shape[2:]]
            enlarged = F.interpolate(enlarged, size=size, mode="bicubic", antialias=True)
            enlarged = enlarged.clamp_(0, 1)
        if self._guard is not None:
            enlarged = self._guard(enlarged, picture).clamp_(0, 1)
        return Enlarged(enlarged, is_finite)
