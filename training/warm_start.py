"""Starting from other weights: of the other scale, or of a narrower network."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from inference.networks.builtin import BuiltIn

Weights = Mapping[str, Tensor]


def adopt(network: BuiltIn, path: Path, *, dice: torch.Generator) -> None:
    """Take over a built-in network's weights, widened where need be.

    Of another scale, the last convolution stays as it is. Raises SystemExit for other networks.
    """
    weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    ours = network.state_dict()
    try:
        if weights["head.weight"].shape[0] < ours["head.weight"].shape[0]:
            weights = widened(weights, channels=ours["head.weight"].shape[0], dice=dice)
        if weights["tail.bias"].shape != ours["tail.bias"].shape:
            weights |= {name: ours[name] for name in ("tail.weight", "tail.bias")}
        network.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise SystemExit(f"{path} is not a network of this shape: {error}") from error


def widened(weights: Weights, *, channels: int, dice: torch.Generator) -> dict[str, Tensor]:
    """The same function with more channels: Chen et al., "Net2Net" (2015, arXiv:1511.05641).

    Each new channel repeats an old one. What reads the two takes uneven shares of the old weight,
    which add up to it, so that training can tell them apart.
    """
    narrow = weights["head.weight"].shape[0]
    origin = torch.arange(channels) % narrow
    shares = torch.ones(channels)
    shares[narrow:] = torch.rand(channels - narrow, generator=dice) / 2 + 0.25
    shares[origin[narrow:]] -= shares[narrow:]

    def grown(name: str, tensor: Tensor) -> Tensor:
        if not name.startswith("tail"):
            tensor = tensor[origin]
        if name == "head.weight" or tensor.ndim == 1:
            return tensor
        maps = tensor.shape[1] // narrow  # `fuse` reads four maps side by side
        reads = torch.cat([origin + narrow * number for number in range(maps)])
        return tensor[:, reads] * shares.repeat(maps)[:, None, None]

    return {name: grown(name, tensor) for name, tensor in weights.items()}
