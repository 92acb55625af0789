"""The tiny model in every layout that is read, how tests load it, and how they damage it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference.creative.modules import Modules, load_modules
from tests.inference.creative import tiny
from tests.inference.creative.original import original_checkpoint, original_unet, original_vae

UNET_FILE = "checkpoint/unet/diffusion_pytorch_model.safetensors"
VAE_FILE = "checkpoint/vae/diffusion_pytorch_model.safetensors"
TEXT_FILE = "checkpoint/text_encoder/model.safetensors"
CONTROLNET_FILE = "controlnet/diffusion_pytorch_model.safetensors"


def write_all(folder: Path) -> None:
    """A checkpoint and a ControlNet in diffusers' layout, and in the original one of one file."""
    tiny.write_checkpoint(folder / "checkpoint")
    tiny.write_controlnet(folder / "controlnet")
    unet = original_unet(load_file(folder / UNET_FILE), layers=1)
    vae = original_vae(load_file(folder / VAE_FILE), blocks=4)
    text_encoder = load_file(folder / TEXT_FILE)
    controlnet = original_unet(load_file(folder / CONTROLNET_FILE), layers=1)
    whole = original_checkpoint(unet, vae=vae, text_encoder=text_encoder)
    positions = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    whole |= {positions: torch.arange(77)[None], "alphas_cumprod": torch.ones(1000)}
    save(whole, folder / "one.safetensors")
    save(vae, folder / "vae.safetensors")
    save(controlnet, folder / "controlnet.safetensors")
    save(
        {f"control_model.{name}": tensor for name, tensor in controlnet.items()},
        folder / "prefixed.safetensors",
    )
    for part in ("unet", "vae", "text_encoder"):
        shutil.copytree(
            folder / "checkpoint" / part,
            folder / "shapes" / part,
            ignore=shutil.ignore_patterns("*.safetensors"),
        )
    (folder / "shapes/controlnet").mkdir()
    shutil.copy(folder / "controlnet/config.json", folder / "shapes/controlnet")


def load(files: Path, **other: Any) -> Modules:
    """The folder's checkpoint, in diffusers' layout unless something else is said."""
    return load_modules(
        **{
            "checkpoint": files / "checkpoint",
            "controlnet": files / "controlnet",
            "tokenizer": None,
            "shapes": files / "shapes",
            **other,
        }
    )


def load_one(files: Path, **other: Any) -> Modules:
    """The folder's checkpoint of one file."""
    tokenizer = files / "checkpoint/tokenizer"
    return load(files, **{"checkpoint": files / "one.safetensors", "tokenizer": tokenizer, **other})


def save(state: dict[str, Tensor], file: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)


def change(file: Path, **values: object) -> None:
    """Sets entries of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def edit(file: Path, tensor_change: Callable[[dict[str, Tensor]], object]) -> None:
    """Changes the tensors of a file."""
    state = load_file(file)
    tensor_change(state)
    file.unlink()
    save(state, file)
