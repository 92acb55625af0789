"""LoRAs: small changes to a checkpoint, read from a file and added to its weights.

peft could fuse them too, but it passes over the layers that it does not know.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from inference.creative.tensors import read_remarks, read_tensors
from inference.errors import WeightsBad
from inference.params import Lora


def fuse(lora: Lora, *, unet: nn.Module, text_encoder: nn.Module) -> None:
    """Adds weight x alpha / rank x up @ down to each layer that the file changes, in place.

    The method is that of Hu and others, arXiv 2106.09685; the sum is made in fp32 and rounded once.
    The file calls its layers as diffusers, peft or kohya's scripts do. Raises `WeightsMissing`, or
    `WeightsBad` if it changes anything that these two modules have not; nothing is changed then.
    """
    layers = dict(_spellings(unet, text_encoder))
    changes = _read(lora.file)
    for name, change in changes.items():
        if name not in layers:
            raise WeightsBad(
                f"{lora.file} changes {name!r}, which is no layer of this checkpoint's UNet or "
                "text encoder: it was made for another kind of model"
            )
        _check(change, layers[name].weight, where=f"{lora.file}: {name!r}")
    for name, change in changes.items():
        weight = layers[name].weight
        weight.copy_(weight.float() + (lora.weight * change.scale) * _product(change, weight))
        if not bool(weight.isfinite().all()):
            raise WeightsBad(f"{lora.file} by {lora.weight} makes {name!r} infinite")


class _Change(NamedTuple):
    down: Tensor  # (rank, inputs) or (rank, inputs, height, width)
    up: Tensor  # (outputs, rank) or (outputs, rank, 1, 1)
    scale: float


_DOWN, _UP, _ALPHA = "down", "up", "alpha"

_ENDINGS = {
    ".lora_down.weight": _DOWN,
    ".lora_up.weight": _UP,
    ".lora_A.weight": _DOWN,
    ".lora_B.weight": _UP,
    ".lora.down.weight": _DOWN,
    ".lora.up.weight": _UP,
    ".lora_linear_layer.down.weight": _DOWN,
    ".lora_linear_layer.up.weight": _UP,
    "_lora.down.weight": _DOWN,
    "_lora.up.weight": _UP,
    ".alpha": _ALPHA,
}
"""What the names of a LoRA's tensors end in, behind the name of the layer."""

_REMARK = "lora_adapter_metadata"
"""Under which diffusers notes in a file's header how peft scales it."""

_NOT_FUSED = ("use_rslora", "use_dora", "alpha_pattern")
"""What peft can be told there that changes more than one scale for all layers."""


def _read(file: Path) -> dict[str, _Change]:
    """The file's changes by the names that it has for their layers."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(file, dtype=torch.float32).items():
        ending = next((each for each in _ENDINGS if name.endswith(each)), None)
        if ending is None:
            raise WeightsBad(f"{file} holds {name!r}, which is no part of a plain LoRA")
        parts.setdefault(name.removesuffix(ending), {})[_ENDINGS[ending]] = tensor
    if not parts:
        raise WeightsBad(f"{file} holds no LoRA")
    alphas = _noted_alphas(file)
    changes = {}
    for layer, found in parts.items():
        if _DOWN not in found or _UP not in found:
            raise WeightsBad(f"{file} holds only a part of the change to {layer!r}")
        rank = found[_DOWN].shape[0] if found[_DOWN].ndim else 0
        alpha = alphas.get(layer.partition(".")[0], float(rank))
        if _ALPHA in found:
            alpha = _number(found[_ALPHA], where=f"{file}: the alpha of {layer!r}")
        changes[layer] = _Change(found[_DOWN], found[_UP], alpha / max(rank, 1))
    return changes


def _noted_alphas(file: Path) -> dict[str, float]:
    """By `unet` and `text_encoder`, the alpha that the file's header names."""
    try:
        noted: Any = json.loads(read_remarks(file).get(_REMARK, "{}"))
        entries = [(*name.partition(".")[::2], value) for name, value in noted.items()]
        refused = [key for _, key, value in entries if key in _NOT_FUSED and value]
        alphas = {part: float(value) for part, key, value in entries if key == "lora_alpha"}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsBad(f"{file} says nothing sensible in its header's {_REMARK}") from error
    if refused:
        raise WeightsBad(f"{file} was made with {refused[0]}, which is not supported")
    return alphas


def _spellings(unet: nn.Module, text_encoder: nn.Module) -> Iterator[tuple[str, Any]]:
    """Every name that a file may have for a layer, and the layer."""
    for name, layer in unet.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield f"unet.{name}", layer
            yield f"lora_unet_{name.replace('.', '_')}", layer
            attention, dot, projection = name.rpartition(".to_")
            if dot:
                yield f"unet.{attention}.processor.to_{projection.removesuffix('.0')}", layer
    for name, layer in text_encoder.named_modules():
        if isinstance(layer, nn.Linear):
            yield f"text_encoder.{name}", layer
            yield f"text_encoder.text_model.{name}", layer
            yield f"lora_te_text_model_{name.replace('.', '_')}", layer


def _check(change: _Change, weight: Tensor, *, where: str) -> None:
    rank = change.down.shape[0] if change.down.ndim else 0
    fits = (
        rank > 0
        and change.down.ndim >= 2
        and change.down[0].numel() == weight[0].numel()
        and change.up.ndim >= 2
        and change.up.shape[0] == weight.shape[0]
        and change.up[0].numel() == rank
    )
    if not fits:
        raise WeightsBad(
            f"{where} is changed by {list(change.up.shape)} times {list(change.down.shape)}, "
            f"but the layer's weights are {list(weight.shape)}"
        )


def _product(change: _Change, weight: Tensor) -> Tensor:
    return (change.up.flatten(1) @ change.down.flatten(1)).reshape(weight.shape)


def _number(tensor: Tensor, *, where: str) -> float:
    if tensor.numel() != 1:
        raise WeightsBad(f"{where} is not one number")
    return tensor.item()
