"""Files of tensors: only safetensors is read, and a file that is not whole is refused."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.errors import WeightsBad, WeightsMissing

SUFFIX = ".safetensors"

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
"""What files are called whose reading would execute what is in them."""


def read_tensors(file: Path, *, dtype: torch.dtype, prefix: str = "") -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, by their whole names, on the CPU as `dtype`.

    They are copies: the file may change or go afterwards. Raises `WeightsMissing`, or `WeightsBad`
    if the file is no safetensors file, is cut short, or holds values that `dtype` cannot.
    """
    with _opened(file) as source:
        names = [name for name in source.keys() if name.startswith(prefix)]  # noqa: SIM118
        tensors = {name: source.get_tensor(name).to(dtype, copy=True) for name in names}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise WeightsBad(f"{file} holds values in {name!r} that are not finite in {dtype}")
    return tensors


def read_remarks(file: Path) -> dict[str, str]:
    """What the file says about itself in its header; raises as `read_tensors` does."""
    with _opened(file) as source:
        return dict(source.metadata() or {})


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; raises `WeightsMissing`, or `WeightsBad` if the file holds none."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise WeightsMissing(f"{file} is missing") from error
    except (ValueError, RecursionError) as error:
        raise WeightsBad(f"{file} cannot be read as JSON") from error
    if not isinstance(found, dict):
        raise WeightsBad(f"{file} holds no JSON object")
    return found


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    if not file.is_file():
        raise WeightsMissing(f"{file} is missing")
    if file.suffix != SUFFIX:
        raise WeightsBad(f"{file} is not read: weights are taken from {SUFFIX} files alone")
    try:
        with safe_open(file, framework="pt", device="cpu") as source:
            yield source
    except SafetensorError as error:
        raise WeightsBad(f"{file} cannot be read as safetensors: {error}") from error
