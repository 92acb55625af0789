"""The names that tensors have in checkpoints of one file: those of Stable Diffusion's first code.

Written from the layout of the published files, the other way round than the loader reads it.
"""

import re
from collections.abc import Mapping

from torch import Tensor

State = dict[str, Tensor]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}
_VAE = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
}


def original_unet(state: Mapping[str, Tensor], *, layers: int) -> State:
    """A UNet's tensors, or a ControlNet's, of `layers` resnets to a down block."""
    with_attention = {name.split(".")[1] for name in state if _is_up_attention(name)}
    return {
        _unet_name(name, layers=layers, with_attention=with_attention): tensor
        for name, tensor in state.items()
    }


def original_vae(state: Mapping[str, Tensor], *, blocks: int) -> State:
    """An autoencoder's tensors: its attention is made of convolutions of one pixel there."""
    found = {}
    for name, tensor in state.items():
        is_linear = "attentions" in name and tensor.ndim == 2
        found[_vae_name(name, blocks=blocks)] = tensor[:, :, None, None] if is_linear else tensor
    return found


def original_checkpoint(unet: State, *, vae: State, text_encoder: State) -> State:
    """All of a checkpoint in one file, out of its parts' tensors by their names in the layout."""
    return {
        **{f"model.diffusion_model.{name}": tensor for name, tensor in unet.items()},
        **{f"first_stage_model.{name}": tensor for name, tensor in vae.items()},
        **{
            f"cond_stage_model.transformer.text_model.{name}": tensor
            for name, tensor in text_encoder.items()
        },
    }


def _is_up_attention(name: str) -> bool:
    return name.startswith("up_blocks.") and ".attentions." in name


def _unet_name(name: str, *, layers: int, with_attention: set[str]) -> str:
    for now, then in _ENDS.items():
        if name.startswith(f"{now}."):
            return then + name.removeprefix(now)
    if found := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(.*)", name):
        return f"zero_convs.{found[1]}.0.{found[2]}"
    if found := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.*)", name):
        return f"input_hint_block.{2 * int(found[1]) + 2}.{found[2]}"
    if found := re.fullmatch(r"mid_block\.resnets\.(\d)\.(\w+)\.(.*)", name):
        return f"middle_block.{2 * int(found[1])}.{_RESNET[found[2]]}.{found[3]}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(\w+)\.(.*)", name)
    assert found, name
    side, block, kind, place, layer, rest = found.groups()
    at = int(block) * (layers + 1) + int(place)
    blocks, first = ("input_blocks", 1) if side == "down" else ("output_blocks", 0)
    if kind == "downsamplers":
        return f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op.{rest}"
    if kind == "upsamplers":
        return f"output_blocks.{at + layers}.{1 + (block in with_attention)}.conv.{rest}"
    if kind == "resnets":
        return f"{blocks}.{first + at}.0.{_RESNET[layer]}.{rest}"
    return f"{blocks}.{first + at}.1.{layer}.{rest}"


def _vae_name(name: str, *, blocks: int) -> str:
    for now, then in _VAE.items():
        name = name.replace(f".{now}.", f".{then}.")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{blocks - 1 - int(found[1])}", name)
    return re.sub(r"down_blocks\.(\d)", r"down.\1", name).replace(".resnets.", ".block.")
