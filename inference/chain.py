"""Networks in a row: any factor on offer, out of networks for two and for four."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.errors import NotANumber
from inference.networks.builtin import BuiltIn
from inference.params import Factor

RECIPES: Mapping[Factor, tuple[int, ...]] = {1: (2,), 2: (2,), 4: (4,), 6: (4, 2), 8: (4, 2)}
"""The scales of the networks that make each factor; what is too large is reduced at the end."""

KERNEL_RADIUS = 2  # of the antialiased bicubic, in the pixels that it reduces to


class Chain(nn.Module):
    """RGB in 0..1, (n, 3, h, w) -> (n, 3, scale * h, scale * w), within 0..1, or `NotANumber`.

    Even a factor of one is a network's work: enlarged by two and reduced, which restores.
    `radius_px` is in source pixels, and covers every network and the reduction. Reductions stay
    aligned to source pixels, so that a tile gives what the whole picture would. `input_scale` says
    how much larger than the source the largest picture is that any of the networks is given.
    """

    def __init__(self, networks: Sequence[BuiltIn], *, scale: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.scale = scale
        grown, self.radius_px = 1, 0
        for network in networks:
            self.input_scale = grown
            self.radius_px += -(-network.radius_px // grown)
            grown *= network.scale
        self._is_reducing = grown != scale
        if self._is_reducing:
            self.radius_px += math.ceil(KERNEL_RADIUS / scale)

    def forward(self, picture: Tensor) -> Tensor:
        enlarged = picture
        for network in self.networks:
            enlarged = network(enlarged)
            if not torch.isfinite(enlarged).all():  # clamping would make infinity white
                raise NotANumber
            enlarged = enlarged.clamp(0, 1)
        if not self._is_reducing:
            return enlarged
        size = [side * self.scale for side in picture.shape[2:]]
        return F.interpolate(enlarged, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def chain_for(factor: Factor, networks: Mapping[int, BuiltIn]) -> Chain:
    """The chain for a factor; `networks` are by their scale."""
    return Chain([networks[scale] for scale in RECIPES[factor]], scale=factor)
