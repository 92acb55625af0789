"""SRVGGNetCompact: a plain row of convolutions that enlarges only at its end.

From Real-ESRGAN: Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
Synthetic Data" (2021, arXiv:2107.10833); the network came with version 0.2.5 of its code. The
weights that we use are Real-ESRGAN's, under BSD-3-Clause; parameters carry their names.
"""

from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from inference.networks.network import Network
from inference.networks.state import State, length, shuffle_factor


class SRVGG(Network):
    """`convs` convolutions between the first and the last; adds to the picture, pixels repeated."""

    def __init__(self, *, scale: int, channels: int, convs: int) -> None:
        super().__init__()
        self.scale = scale
        self.radius_px = convs + 2
        self.body = nn.Sequential(_conv(3, channels), nn.PReLU(channels))
        for _ in range(convs):
            self.body.extend((_conv(channels, channels), nn.PReLU(channels)))
        self.body.append(_conv(channels, 3 * scale * scale))

    @classmethod
    def from_state(cls, state: State) -> Self:
        """A checkpoint's network; raises LookupError, ValueError or RuntimeError for others."""
        layers = length(state, "body.")
        network = cls(
            scale=shuffle_factor(state[f"body.{layers - 1}.weight"].shape[0]),
            channels=state["body.0.weight"].shape[0],
            convs=(layers - 3) // 2,
        )
        network.load_state_dict(state)
        return network

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge a batch."""
        detail: Tensor = F.pixel_shuffle(self.body(picture.to(self.computes_in)), self.scale)
        return detail + F.interpolate(picture, scale_factor=float(self.scale), mode="nearest")


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)
