"""Layers that stay in fp32 when their network is cast to 16 bits."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Exact(nn.Module):
    """Its parameters and buffers follow the network to its device, but never leave fp32."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def placed(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        applied: Self = super()._apply(placed, recurse)  # type: ignore[no-untyped-call]
        return applied


class ExactConv2d(Exact, nn.Conv2d):
    """A convolution in fp32, of input in any type.

    In bfloat16 the last one alone would round away what an 8-bit sample can tell apart.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Maps in fp32."""
        return super().forward(maps.float())


class Mean(Exact):
    """The mean colour of DIV2K, which some networks take off their input; (1, 3, 1, 1)."""

    rgb: Tensor

    def __init__(self) -> None:
        super().__init__()
        rgb = torch.tensor((0.4488, 0.4371, 0.4040)).view(1, 3, 1, 1)
        self.register_buffer("rgb", rgb, persistent=False)
