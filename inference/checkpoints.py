"""Weights files: read once, verified against the catalogue, and turned into a network."""

import hashlib
import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from inference.catalogue import weights_path
from inference.errors import WeightsBad, WeightsMissing
from inference.networks.builtin import BuiltIn
from inference.networks.dat import DAT
from inference.networks.network import Network
from inference.networks.realplksr import RealPLKSR
from inference.networks.restoreformer import RestoreFormer
from inference.networks.rrdbnet import RRDBNet
from inference.networks.span import SPAN
from inference.networks.srvgg import SRVGG
from inference.provenance import Weights

ARCHITECTURES: Mapping[str, type[Network]] = MappingProxyType(
    {
        "builtin": BuiltIn,
        "dat": DAT,
        "realplksr": RealPLKSR,
        "restoreformer": RestoreFormer,
        "rrdbnet": RRDBNet,
        "span": SPAN,
        "srvgg": SRVGG,
    }
)
"""The networks by the names that the catalogue has for them."""

_WRAPPERS = ("params_ema", "params", "state_dict")
"""Under which training programs keep the tensors, the best ones first."""

_MALFORMED = (
    SafetensorError, pickle.UnpicklingError, struct.error, ArithmeticError, AssertionError,
    AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What reading a damaged file ends in: a pickle is a program, and stumbles wherever it breaks."""


def load_network(weights: Weights, *, folder: Path) -> Network:
    """The network of a catalogued weights file, in fp32, ready to run.

    With a twin in the catalogue, its tensors are those of both, each by its share. Raises
    `WeightsMissing`, or `WeightsBad` if a file is not the one that the catalogue names.
    """
    state = read_state(weights, folder=folder)
    if weights.twin is not None:
        state = _between(state, read_state(weights.twin, folder=folder), weights=weights)
    network = _of(weights.architecture, state)
    if network is None or network.scale != weights.scale:
        raise WeightsBad(
            f"{weights.file} holds {_found(state)}; "
            f"the catalogue expects {weights.architecture} of scale {weights.scale}"
        )
    return network.eval().requires_grad_(False)


def read_state(weights: Weights, *, folder: Path) -> dict[str, Tensor]:
    """The tensors in a file by their names, floating-point ones as fp32.

    Only tensors are read: a pickle that would build anything else is refused before it does.
    """
    data = read_verified(weights, folder=folder)
    try:
        if weights.file.endswith(".safetensors"):
            loaded: Any = load(data)
        else:
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _MALFORMED as error:
        raise WeightsBad(f"{weights.file} cannot be read as a file of tensors") from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(map(_is_named_tensor, loaded.items())):
        raise WeightsBad(f"{weights.file} holds something else than tensors by their names")
    state = {name: _single(tensor) for name, tensor in loaded.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise WeightsBad(f"{weights.file} holds values that are not numbers")
    return state


def read_verified(weights: Weights, *, folder: Path) -> bytes:
    """What is in the file; raises `WeightsMissing`, or `WeightsBad` if it is not the right one."""
    path = weights_path(weights, folder)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsMissing(f"The weights file {path} is missing") from error
    _check(hashlib.sha256(data).hexdigest(), weights, path=path)
    return data


def verified_path(weights: Weights, *, folder: Path) -> Path:
    """Where the file is, of which all was read once; raises as `read_verified` does."""
    path = weights_path(weights, folder)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise WeightsMissing(f"The weights file {path} is missing") from error
    _check(sha256, weights, path=path)
    return path


def _check(sha256: str, weights: Weights, *, path: Path) -> None:
    if sha256 != weights.sha256:
        raise WeightsBad(f"{path} is not the file that the catalogue names: its SHA-256 differs")


def _between(
    own: dict[str, Tensor], twin: dict[str, Tensor], *, weights: Weights
) -> dict[str, Tensor]:
    if {name: each.shape for name, each in own.items()} != {
        name: each.shape for name, each in twin.items()
    }:
        raise WeightsBad(f"{weights.file} and its twin are not of one shape")
    return {name: torch.lerp(own[name], twin[name], weights.twin_share) for name in own}


def _of(architecture: str, state: dict[str, Tensor]) -> Network | None:
    """The network of that architecture with these tensors; None if they are of another."""
    try:
        return ARCHITECTURES[architecture].from_state(state)
    except (LookupError, ValueError, RuntimeError):
        return None


def _found(state: dict[str, Tensor]) -> str:
    for architecture in ARCHITECTURES:
        network = _of(architecture, state)
        if network is not None:
            return f"{architecture} of scale {network.scale}"
    return "no network that is known here"


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _is_named_tensor(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)
