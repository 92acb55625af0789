"""The denoiser against the networks as diffusers has them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from inference.creative.denoiser import DECAY, Denoiser, Noise
from inference.creative.schedule import training_step
from tests.inference.creative.tiny import WIDTH, tiny_controlnet, tiny_unet

SIGMA = 2.0


def given() -> tuple[Tensor, Tensor, Tensor]:
    """Latents, hints and a prompt."""
    dice = torch.Generator().manual_seed(5)
    latents = torch.randn(2, 4, 16, 24, generator=dice) * 3
    hints = torch.rand(2, 3, 128, 192, generator=dice)
    return latents, hints, torch.randn(2, 77, WIDTH, generator=dice)


@torch.inference_mode()
def denoised(*, dynamic: float, resemblance: float, parts: int = 2) -> Tensor:
    latents, hints, prompt = given()
    denoiser = Denoiser(tiny_unet(), tiny_controlnet())
    denoiser.listen(prompt[-parts:])
    made: Tensor = denoiser(
        latents,
        denoiser.hint(hints),
        Noise.of(SIGMA, device=latents.device),
        denoiser.steering(dynamic=dynamic, resemblance=resemblance),
        parts,
    )
    return made


@torch.inference_mode()
def plainly(*, dynamic: float, resemblance: float) -> Tensor:
    """The same by the networks' own interfaces, both halves of the prompt at every layer."""
    latents, hints, prompt = given()
    unet, controlnet = tiny_unet(), tiny_controlnet()
    batch = (latents / (SIGMA**2 + 1) ** 0.5).repeat(2, 1, 1, 1)
    step, prompts = torch.tensor(training_step(SIGMA)), prompt.repeat_interleave(2, dim=0)
    down, middle = controlnet(
        batch, step, prompts, controlnet_cond=hints.repeat(2, 1, 1, 1), return_dict=False
    )
    weights = [resemblance * DECAY ** (len(down) - i) for i in range(len(down) + 1)]
    predicted = unet(
        batch,
        step,
        prompts,
        down_block_additional_residuals=[
            each * weight for each, weight in zip(down, weights[:-1], strict=True)
        ],
        mid_block_additional_residual=middle * weights[-1],
    ).sample
    avoided, wanted = predicted.chunk(2)
    clean: Tensor = latents - SIGMA * (avoided + dynamic * (wanted - avoided))
    return clean


def test_it_equals_the_plain_networks() -> None:
    torch.testing.assert_close(
        denoised(dynamic=6, resemblance=0.6), plainly(dynamic=6, resemblance=0.6)
    )


def test_the_wanted_half_alone_is_guidance_of_one() -> None:
    torch.testing.assert_close(
        denoised(dynamic=1, resemblance=0.6, parts=1), plainly(dynamic=1, resemblance=0.6)
    )


@pytest.mark.parametrize("other", [(9.0, 0.6), (6.0, 1.6)])
def test_both_knobs_steer(other: tuple[float, float]) -> None:
    dynamic, resemblance = other
    usual = denoised(dynamic=6, resemblance=0.6)
    assert not torch.allclose(usual, denoised(dynamic=dynamic, resemblance=resemblance), atol=1e-3)


def test_the_deepest_residual_counts_in_full() -> None:
    steering = Denoiser(tiny_unet(), tiny_controlnet()).steering(dynamic=6, resemblance=0.6)
    assert steering.residuals[-1] == pytest.approx(0.6)
    assert steering.residuals[0] == pytest.approx(0.6 * 0.825 ** (len(steering.residuals) - 1))


@torch.inference_mode()
def test_the_networks_compile_once_in_one_piece() -> None:
    latents, hints, prompt = (each.clone() for each in given())
    denoiser = Denoiser(tiny_unet(), tiny_controlnet())
    steering = denoiser.steering(dynamic=6, resemblance=0.6)
    graphs = []

    def count(graph: GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(denoiser, fullgraph=True, dynamic=False, backend=count)
    for words, sigma in ((prompt, 2.0), (prompt.flip(0), 0.5)):
        denoiser.listen(words)
        noise = Noise.of(sigma, device=latents.device)
        arguments = (latents, denoiser.hint(hints), noise, steering, 2)
        torch.testing.assert_close(compiled(*arguments), denoiser(*arguments))
    assert len(graphs) == 1
