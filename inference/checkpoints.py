"""Weights files: read once, verified against the catalogue, and turned into a network."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from inference.catalogue import Weights, weights_path
from inference.errors import WeightsBad, WeightsMissing
from inference.networks.builtin import WIDTHS, BuiltIn


def load_network(weights: Weights, *, folder: Path) -> BuiltIn:
    """The network of a catalogued weights file, in fp32, ready to run.

    Raises `WeightsMissing`, or `WeightsBad` if the file is not the one that the catalogue names.
    """
    data = read_verified(weights, folder=folder)
    network = BuiltIn(scale=weights.scale, channels=WIDTHS["small"])
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load(data).items()})
    except (SafetensorError, RuntimeError) as error:
        raise WeightsBad(f"{weights.file} does not hold a network of this shape") from error
    return network.eval()


def read_verified(weights: Weights, *, folder: Path) -> bytes:
    """What is in the file; raises `WeightsMissing`, or `WeightsBad` if it is not the right one."""
    path = weights_path(weights, folder)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsMissing(f"The weights file {path} is missing") from error
    if hashlib.sha256(data).hexdigest() != weights.sha256:
        raise WeightsBad(f"{path} is not the file that the catalogue names: its SHA-256 differs")
    return data
