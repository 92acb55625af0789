"""The published files that the creative engine is made of."""

from inference.provenance import Weights


def _hub(
    weights_id: str,
    *,
    repository: str,
    revision: str,
    path: str,
    architecture: str,
    licence: str,
    size_bytes: int,
    sha256: str,
    author: str,
) -> Weights:
    project = f"https://huggingface.co/{repository}"
    return Weights(
        id=weights_id,
        file=path.rpartition("/")[2],
        architecture=architecture,
        scale=1,
        licence=licence,
        sha256=sha256,
        size_bytes=size_bytes,
        attribution=f"{author}; {project}",
        url=f"{project}/resolve/{revision}/{path}",
        revision=revision,
    )


STABLE_DIFFUSION = _hub(
    "stable-diffusion-v1-5",
    repository="Comfy-Org/stable-diffusion-v1-5-archive",
    revision="9cfd069101959ca3828bf9c04a4419870832b74f",
    path="v1-5-pruned-emaonly-fp16.safetensors",
    architecture="stable-diffusion",
    licence="CreativeML-OpenRAIL-M",
    size_bytes=2_132_696_762,
    sha256="e9476a13728cd75d8279f6ec8bad753a66a1957ca375a1464dc63b37db6e3916",
    author="Stable Diffusion v1.5 by Robin Rombach, Patrick Esser and contributors, in fp16",
)
TILE_CONTROLNET = _hub(
    "control-v11f1e-sd15-tile",
    repository="comfyanonymous/ControlNet-v1-1_fp16_safetensors",
    revision="ab830a51c5c573a5b85bfdbaa3ae0ab7e1baf5f7",
    path="control_v11f1e_sd15_tile_fp16.safetensors",
    architecture="controlnet",
    licence="OpenRAIL",
    size_bytes=722_601_104,
    sha256="2f31868eedb243a77932e3c63907a6ba0a2058b6d65b5c27b89ee1b7f618ea33",
    author="ControlNet 1.1 tile by Lvmin Zhang, in fp16",
)
_CLIP_REVISION = "32bd64288804d66eefd0ccbe215aa642df71cc41"
CLIP_VOCABULARY = _hub(
    "clip-vocabulary",
    repository="openai/clip-vit-large-patch14",
    revision=_CLIP_REVISION,
    path="vocab.json",
    architecture="clip-tokenizer",
    licence="MIT",
    size_bytes=961_143,
    sha256="3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69",
    author="CLIP, copyright (c) 2021 OpenAI",
)
CLIP_MERGES = _hub(
    "clip-merges",
    repository="openai/clip-vit-large-patch14",
    revision=_CLIP_REVISION,
    path="merges.txt",
    architecture="clip-tokenizer",
    licence="MIT",
    size_bytes=524_619,
    sha256="9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
    author="CLIP, copyright (c) 2021 OpenAI",
)
LCM_LORA = _hub(
    "lcm-lora-sdv1-5",
    repository="latent-consistency/lcm-lora-sdv1-5",
    revision="cf2fced511dbe7e26c8d1d397e728fbab875db4b",
    path="pytorch_lora_weights.safetensors",
    architecture="lora",
    licence="OpenRAIL++-M",
    size_bytes=134_621_556,
    sha256="8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4",
    author="LCM-LoRA by Simian Luo et al.",
)

DIFFUSION: tuple[Weights, ...] = (
    STABLE_DIFFUSION, TILE_CONTROLNET, CLIP_VOCABULARY, CLIP_MERGES, LCM_LORA,
)  # fmt: skip
"""Every row."""
