"""Attention to the prompt, whose keys and values are computed once a pass and not at every step."""

from itertools import chain
from typing import Any

from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F


class PromptAttention:
    """All attention of a UNet and a ControlNet to a prompt, by the weights that they have now."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
        modules = chain(unet.named_modules(), controlnet.named_modules())
        self._layers = [module for name, module in modules if name.endswith(".attn2")]
        for layer in self._layers:
            layer.set_processor(_KeptPrompt())

    def listen(self, prompt: Tensor) -> None:
        """From now on attend to that: (parts, tokens, width).

        A batch that follows consists of as many equal parts as the prompt has, one for each.
        """
        for layer in self._layers:
            layer.processor.keep(layer, prompt)


class _KeptPrompt:
    """Computes what diffusers' own processor does for layers like Stable Diffusion's."""

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._places: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(self, layer: Attention, prompt: Tensor) -> None:
        """Compute the keys and the values, (parts, heads, tokens, width of a head).

        A prompt of another's shape takes its place in memory: recorded CUDA graphs look there.
        """
        keys, values = _by_head(layer, layer.to_k(prompt)), _by_head(layer, layer.to_v(prompt))
        place = self._places.get(len(prompt))
        if place is None or place[0].shape != keys.shape:
            place = self._places[len(prompt)] = keys.contiguous(), values.contiguous()
        else:
            place[0].copy_(keys)
            place[1].copy_(values)
        self._keys, self._values = place

    def __call__(self, layer: Attention, hidden_states: Tensor, **_: Any) -> Tensor:
        assert self._keys is not None
        assert self._values is not None
        queries = _by_head(layer, layer.to_q(hidden_states))
        each = len(queries) // len(self._keys)
        keys = self._keys.repeat_interleave(each, dim=0)
        values = self._values.repeat_interleave(each, dim=0)
        found = F.scaled_dot_product_attention(queries, keys, values)
        project, _dropout = layer.to_out
        attended: Tensor = project(found.transpose(1, 2).flatten(2))
        return attended


def _by_head(layer: Attention, states: Tensor) -> Tensor:
    """(n, tokens, width) -> (n, heads, tokens, width of a head)."""
    n, tokens, _ = states.shape
    return states.view(n, tokens, layer.heads, -1).transpose(1, 2)
