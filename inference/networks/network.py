"""What every network promises, whatever its architecture."""

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """RGB in 0..1, fp32, (n, 3, h, w) -> (n, 3, scale * h, scale * w), unclamped.

    It computes in its parameters' type, and adds what it predicts to a skip, where it has one, in
    fp32. `half_type` is the 16-bit type that it bears. Sides must be multiples of `multiple_px`.

    `radius_px` is how far, in input pixels, an input pixel can influence the output. A local
    network's tile with that much real context on each side gives exactly what the whole picture
    would have given; the others look at all of their input (a mean over it, say), and need tiles
    that overlap by `radius_px` and are faded into each other.
    """

    scale: int
    radius_px: int
    is_local: bool = True
    half_type: torch.dtype = torch.float16
    multiple_px: int = 1

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge a batch."""
        raise NotImplementedError
