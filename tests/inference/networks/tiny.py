"""Every architecture at a size for tests, with random weights that do something."""

from collections.abc import Callable, Mapping

import torch

from inference.networks.builtin import BuiltIn
from inference.networks.dat import DAT
from inference.networks.dat_attention import Form
from inference.networks.network import Network
from inference.networks.realplksr import RealPLKSR
from inference.networks.rrdbnet import RRDBNet
from inference.networks.span import SPAN
from inference.networks.srvgg import SRVGG


def tiny_dat(*factors: int) -> DAT:
    form = Form(channels=32, heads=2, window=(4, 8))
    return DAT(form, groups=2, blocks=4, expansion=2, wide=8, factors=factors)


TINY: Mapping[str, Callable[[], Network]] = {
    "builtin x2": lambda: BuiltIn(scale=2, channels=8, blocks=2),
    "builtin x4": lambda: BuiltIn(scale=4, channels=8, blocks=1),
    "rrdbnet x4": lambda: RRDBNet(scale=4, channels=8, blocks=1, growth=4),
    "rrdbnet x2": lambda: RRDBNet(scale=2, channels=8, blocks=2, growth=4),
    "rrdbnet x1": lambda: RRDBNet(scale=1, channels=8, blocks=1, growth=4),
    "srvgg x4": lambda: SRVGG(scale=4, channels=8, convs=3),
    "srvgg x2": lambda: SRVGG(scale=2, channels=4, convs=2),
    "realplksr x4": lambda: RealPLKSR(scale=4, channels=8, blocks=2, kernel_px=5, partial=2),
    "realplksr x1": lambda: RealPLKSR(scale=1, channels=8, blocks=1, kernel_px=5, partial=2),
    "realplksr x2 dysample": lambda: RealPLKSR(
        scale=2, channels=8, blocks=1, kernel_px=5, partial=2, sampling_groups=4
    ),
    "realplksr x1 dysample": lambda: RealPLKSR(
        scale=1, channels=8, blocks=1, kernel_px=5, partial=2, sampling_groups=3
    ),
    "span x4": lambda: SPAN(scale=4, channels=8, is_normalising=False),
    "span x2": lambda: SPAN(scale=2, channels=8, is_normalising=True),
    "dat x4": lambda: tiny_dat(2, 2),
    "dat x2": lambda: tiny_dat(2),
}


def tiny(name: str, *, seed: int = 0) -> Network:
    """A network of `TINY`; its output is about as bright as its input."""
    torch.manual_seed(seed)
    network = TINY[name]().eval().requires_grad_(False)
    for parameter_name, parameter in network.named_parameters():
        if parameter_name.startswith("tail"):  # zero, untrained
            torch.nn.init.normal_(parameter, std=0.02)
    return network


def published(network: Network) -> dict[str, torch.Tensor]:
    """Its tensors as a checkpoint has them, with what training's code keeps there besides."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    if isinstance(network, SPAN) and network.mean is None:
        state["no_norm"] = torch.zeros(1)
    if isinstance(network, DAT):
        for name in [name for name in state if name.endswith("pos.pos_proj.weight")]:
            rows, columns = (4, 8) if ".attns.0." in name else (8, 4)
            sides = torch.arange(1.0 - rows, rows), torch.arange(1.0 - columns, columns)
            offsets = torch.stack(torch.meshgrid(*sides, indexing="ij")).flatten(1).T
            place = name.removesuffix("pos.pos_proj.weight")
            state[f"{place}rpe_biases"] = offsets.contiguous()
    return state
