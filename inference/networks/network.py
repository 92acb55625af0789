"""What every network promises, whatever its architecture."""

from typing import Self

import torch
from torch import Tensor, nn

from inference.networks.state import State


class Network(nn.Module):
    """RGB in 0..1, fp32, (n, 3, h, w) -> (n, 3, scale * h, scale * w), fp32 and unclamped.

    It computes in its parameters' type, and adds what it predicts to a skip, where it has one, in
    fp32. `half_type` is the 16-bit type that it bears; `bears_bfloat16` says whether that one does,
    too, with hardly a level of difference. Sides must be multiples of `multiple_px`.

    `radius_px` is how far, in input pixels, an input pixel can influence the output. A local
    network's tile with that much real context on each side gives exactly what the whole picture
    would have given; the others look at all of their input (a mean over it, say), and need tiles
    that overlap by `radius_px` and are faded into each other.
    """

    scale: int
    radius_px: int
    is_local: bool = True
    half_type: torch.dtype = torch.float16
    bears_bfloat16: bool = False
    multiple_px: int = 1

    @classmethod
    def from_state(cls, state: State) -> Self:
        """A checkpoint's network; raises LookupError, ValueError or RuntimeError for others."""
        raise NotImplementedError

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge a batch."""
        raise NotImplementedError

    @property
    def computes_in(self) -> torch.dtype:
        """The type of the first layer's parameters."""
        return next(self.parameters()).dtype
