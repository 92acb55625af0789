"""The creative engine's modules: loaded from the operator's files, or refused with what is wrong.

Nothing here asks a hub, and nothing keeps random weights: what a file lacks is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from inference.creative.loras import fuse
from inference.creative.parts import CONTROLNET, TEXT_ENCODER, UNET, VAE, load_part
from inference.creative.tensors import read_json
from inference.creative.vocabulary import load_tokenizer
from inference.errors import WeightsBad, WeightsMissing
from inference.params import Lora

SD15 = Path(__file__).parent / "sd15"
"""The shapes of Stable Diffusion 1.5, which a checkpoint in one file does not tell itself."""

PROMPT_TOKENS = 77
"""How many tokens the text encoder reads at once."""

VAE_HALVINGS = 3
"""How often the VAE halves a picture: a latent pixel stands for 8 x 8, as ControlNet's hints do."""


@dataclass(frozen=True)
class Modules:
    """What the creative engine computes with: in eval mode, without gradients, on the CPU."""

    unet: UNet2DConditionModel
    controlnet: ControlNetModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer


def load_modules(
    checkpoint: Path,
    *,
    controlnet: Path,
    tokenizer: Path | None,
    vae: Path | None = None,
    loras: Sequence[Lora] = (),
    dtype: torch.dtype = torch.float32,
    shapes: Path = SD15,
) -> Modules:
    """The modules in these files, as `dtype`, the LoRAs added to their weights.

    `checkpoint` is a folder in diffusers' layout, or one `.safetensors` file in the original one.
    `controlnet` and `vae` are a folder with `config.json` and weights, or one file in either
    layout; without a `vae` it is the checkpoint's own. `tokenizer` is a folder with `vocab.json`
    and `merges.txt`, and may be None where the checkpoint is a folder that has one. `shapes` is a
    folder of diffusers' configurations, for whatever comes as one file.

    Raises `WeightsMissing`, or `WeightsBad` if a file is damaged, is of another kind or shape, or
    does not fit the others.
    """
    _refuse_another_prediction(checkpoint)
    given = [
        (UNET, None), (TEXT_ENCODER, None), (VAE, vae), (CONTROLNET, controlnet),
    ]  # fmt: skip
    loaded: dict[str, Any] = {
        part.name: load_part(
            part, own or checkpoint, in_checkpoint=own is None, shapes=shapes, dtype=dtype
        )
        for part, own in given
    }
    _refuse_misfits(loaded, named={part.name: own or checkpoint for part, own in given})
    encoder = loaded["text_encoder"]
    loaded["tokenizer"] = load_tokenizer(
        tokenizer or _own_tokenizer(checkpoint), size=encoder.config.vocab_size
    )
    for lora in loras:
        fuse(lora, unet=loaded["unet"], text_encoder=encoder)
    return Modules(**loaded)


def _own_tokenizer(checkpoint: Path) -> Path:
    if checkpoint.is_dir():
        return checkpoint / "tokenizer"
    raise WeightsMissing(
        f"{checkpoint} holds no tokenizer: a folder with vocab.json and merges.txt must be named"
    )


def _refuse_another_prediction(checkpoint: Path) -> None:
    """The engine reads the UNet's answer as noise; a folder's scheduler says what it is."""
    file = checkpoint / "scheduler" / "scheduler_config.json"
    if file.is_file():
        prediction = read_json(file).get("prediction_type", "epsilon")
        if prediction != "epsilon":
            raise WeightsBad(f"{file}: the UNet predicts {prediction!r}, expected is 'epsilon'")


_SHARED = (
    "block_out_channels", "cross_attention_dim", "down_block_types", "in_channels",
    "layers_per_block",
)  # fmt: skip
"""What a ControlNet must have in common with its UNet."""


def _refuse_misfits(modules: dict[str, Any], *, named: dict[str, Path]) -> None:
    """Raises `WeightsBad` for the first module that does not fit the others, or the engine."""
    unet, text, vae = (modules[name].config for name in ("unet", "text_encoder", "vae"))
    expected = [
        ("unet", "cross_attention_dim", text.hidden_size),
        ("unet", "in_channels", vae.latent_channels),
        ("unet", "out_channels", vae.latent_channels),
        ("unet", "addition_embed_type", None),
        ("unet", "class_embed_type", None),
        *(("controlnet", key, unet[key]) for key in _SHARED),
        ("controlnet", "conditioning_channels", 3),
        ("vae", "in_channels", 3),
        ("vae", "out_channels", 3),
        ("text_encoder", "max_position_embeddings", PROMPT_TOKENS),
    ]
    for name, key, value in expected:
        found = getattr(modules[name].config, key)
        if _plain(found) != _plain(value):
            raise WeightsBad(
                f"{named[name]}: the {name} has {key} = {found!r}; expected is {value!r}, "
                "to fit the other modules"
            )
    halvings = len(vae.block_out_channels) - 1
    if halvings != VAE_HALVINGS:
        raise WeightsBad(
            f"{named['vae']}: the vae halves a picture {halvings} times; "
            f"expected are {VAE_HALVINGS}"
        )


def _plain(value: object) -> object:
    """JSON has lists where code has tuples."""
    return list(value) if isinstance(value, tuple) else value
