"""Makes a tiny model of the real classes with random weights, on disk as the published ones are.

    python -m tests.inference.creative.tiny FOLDER

The VAE halves three times and the text encoder reads 77 tokens, as the real ones do; the rest is as
small as its classes allow. The tokenizer knows every byte and merges nothing but `the` and `cat`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel
from transformers.convert_slow_tokenizer import bytes_to_unicode

from inference.params import CreativeParams

WIDTH = 32
UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (WIDTH, 2 * WIDTH),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}
VAE: dict[str, Any] = {
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}
KNOBS = CreativeParams(
    prompt="the cat",
    negative_prompt="a dog",
    creativity=0.5,
    resemblance=0.6,
    dynamic=6,
    steps=4,
    sharpen=0,
    seed=7,
)
"""Few steps, and all else near the defaults."""

MERGES = ("t h", "th e</w>", "c a", "ca t</w>")


def tiny_unet(*, seed: int = 0) -> UNet2DConditionModel:
    """The denoiser, its last layer's weights small enough that what it says stays near noise."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(**UNET).eval().requires_grad_(False)


def tiny_controlnet(*, seed: int = 1) -> ControlNetModel:
    """A ControlNet whose residuals are not nothing, as an untrained one's would be."""
    torch.manual_seed(seed)
    controlnet = ControlNetModel.from_unet(
        tiny_unet(), conditioning_embedding_out_channels=(8,) * 4
    )
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(block.weight, std=0.05)
    return controlnet.eval().requires_grad_(False)


def tiny_vae(*, seed: int = 2) -> AutoencoderKL:
    """The autoencoder."""
    torch.manual_seed(seed)
    return AutoencoderKL(**VAE).eval().requires_grad_(False)


def tiny_text_encoder(*, seed: int = 3) -> CLIPTextModel:
    """The text encoder, for the tiny tokenizer's vocabulary."""
    torch.manual_seed(seed)
    size = len(vocabulary())
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=WIDTH,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    return CLIPTextModel(config).eval().requires_grad_(False)


def vocabulary() -> dict[str, int]:
    """Every byte, alone and at a word's end, what the merges make, and both ends of a text."""
    letters = list(bytes_to_unicode().values())
    merged = ["".join(pair.split()) for pair in MERGES]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *merged]
    return {word: number for number, word in enumerate([*words, *ENDS])}


ENDS = ("<|startoftext|>", "<|endoftext|>")


def write_tokenizer(folder: Path) -> None:
    """`vocab.json` and `merges.txt`, as CLIP's are."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary()))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")


def write_checkpoint(folder: Path) -> None:
    """A checkpoint in diffusers' layout: one folder a module."""
    tiny_unet().save_pretrained(folder / "unet")
    tiny_vae().save_pretrained(folder / "vae")
    tiny_text_encoder().save_pretrained(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer")


def write_controlnet(folder: Path) -> None:
    """The ControlNet, in diffusers' layout."""
    tiny_controlnet().save_pretrained(folder)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_checkpoint(target / "checkpoint")
    write_controlnet(target / "controlnet")
