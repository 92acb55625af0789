"""One module of a checkpoint, made out of its file with every tensor in its place."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from inference.creative.tensors import PICKLES, SUFFIX, read_json, read_tensors
from inference.errors import WeightsBad, WeightsMissing

State = dict[str, Tensor]


class Part(NamedTuple):
    """A kind of module, and how its tensors are called."""

    name: str  # of its folder in a checkpoint
    kind: Any
    prefix: str  # of its tensors in a checkpoint of one file
    rename: Callable[[State, dict[str, Any]], State]  # into diffusers' names, which may be there


def load_part(
    part: Part, source: Path, *, in_checkpoint: bool, shapes: Path, dtype: torch.dtype
) -> Any:
    """The module, in eval mode and without gradients, on the CPU.

    `source` is a folder or one file; in a checkpoint the part is its folder of its name, or what
    has its prefix. What comes as one file is shaped by the configuration in `shapes`. Raises
    `WeightsMissing`, or `WeightsBad` if a tensor is missing, too many or of another shape.
    """
    if source.is_dir():
        folder = source / part.name if in_checkpoint else source
        config_file, file, prefix = folder / "config.json", _weights_file(folder), ""
    else:
        config_file, file = shapes / part.name / "config.json", source
        prefix = part.prefix if in_checkpoint else ""
    config = read_json(config_file)
    module = _empty(part.kind, config, file=config_file)
    found = read_tensors(file, dtype=dtype, prefix=prefix)
    if not found:
        raise WeightsBad(f"{file} holds no {part.name}: no tensor's name begins with {prefix!r}")
    try:
        state = part.rename(found, config)
    except _MALFORMED as error:
        raise WeightsBad(f"{file} holds no whole {part.name}: {error!r}") from error
    _compare(module.state_dict(), state, where=f"{file} does not hold the expected {part.name}")
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _weights_file(folder: Path) -> Path:
    """The folder's weights, in full precision if it has both."""
    if not folder.is_dir():
        raise WeightsMissing(f"The folder {folder} is missing")
    names = [
        f"{stem}{variant}{SUFFIX}"
        for variant in ("", ".fp16")
        for stem in ("diffusion_pytorch_model", "model")
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    for file in sorted(folder.iterdir()):
        if file.suffix in PICKLES:
            raise WeightsBad(f"{file} is not read: weights are taken from {SUFFIX} files alone")
    raise WeightsMissing(f"{folder} holds no weights; expected is one of {', '.join(names)}")


def _empty(kind: Any, config: dict[str, Any], *, file: Path) -> Any:
    """The module that a configuration describes, its parameters without memory."""
    if config.get("_class_name", kind.__name__) != kind.__name__:
        raise WeightsBad(f"{file} describes a {config['_class_name']}, not a {kind.__name__}")
    try:
        with torch.device("meta"):  # of this thread alone, unlike accelerate's empty weights
            if kind is not CLIPTextModel:
                known = inspect.signature(kind.__init__).parameters
                return kind(**{key: value for key, value in config.items() if key in known})
            module = kind(CLIPTextConfig.from_dict(config))
        # No file holds this buffer: it counts the places of the tokens.
        module.embeddings.position_ids = torch.arange(module.config.max_position_embeddings)[None]
    except _MALFORMED as error:
        raise WeightsBad(f"{file} does not describe a {kind.__name__}: {error}") from error
    return module


_MALFORMED = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError,
    StrictDataclassError, TypeError, ValueError,
)  # fmt: skip
"""What making a module ends in if its description is wrong: the libraries do not check it."""


def _compare(expected: State, found: State, *, where: str) -> None:
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise WeightsBad(f"{where}: it lacks {len(missing)} tensors, such as {missing[0]!r}")
    strange = sorted(found.keys() - expected.keys())
    if strange:
        raise WeightsBad(f"{where}: it has {len(strange)} tensors more, such as {strange[0]!r}")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise WeightsBad(
                f"{where}: {name!r} is {list(found[name].shape)}, not {list(tensor.shape)}"
            )


def _unet_names(state: State, config: dict[str, Any]) -> State:
    if not any(name.startswith("model.diffusion_model.") for name in state):
        return state
    renamed: State = convert_ldm_unet_checkpoint(state, config)
    return renamed


def _controlnet_names(state: State, config: dict[str, Any]) -> State:
    renamed: dict[str, Tensor | None] = convert_controlnet_checkpoint(state, config)
    return {name: tensor for name, tensor in renamed.items() if tensor is not None}


def _vae_names(state: State, config: dict[str, Any]) -> State:
    if any(".down.0." in name for name in state):
        renamed: State = convert_ldm_vae_checkpoint(state, config)
        return renamed
    return {_present_name(name): tensor for name, tensor in state.items()}


def _present_name(name: str) -> str:
    """Early autoencoders have other names for the layers of their attention."""
    changes = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    return ".".join(changes.get(each, each) for each in name.split("."))


def _text_names(state: State, _: dict[str, Any]) -> State:
    """Without the names of what wraps the module, and without a list of 0 to 76 in many files."""
    inner = {
        name.removeprefix("cond_stage_model.transformer.").removeprefix("text_model."): tensor
        for name, tensor in state.items()
    }
    return {name: tensor for name, tensor in inner.items() if not name.endswith("position_ids")}


UNET = Part("unet", UNet2DConditionModel, "model.diffusion_model.", _unet_names)
CONTROLNET = Part("controlnet", ControlNetModel, "control_model.", _controlnet_names)
VAE = Part("vae", AutoencoderKL, "first_stage_model.", _vae_names)
TEXT_ENCODER = Part("text_encoder", CLIPTextModel, "cond_stage_model.transformer.", _text_names)
