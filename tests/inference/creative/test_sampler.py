"""Samplers, on predictions whose right end is known."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from inference.creative.sampler import ConsistencySampler, DpmSolver, Sampler, noise_like
from inference.creative.schedule import noise_levels


def sampled(sampler: Sampler, latents: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Through all levels, for clean latents that are normal: the best prediction is known then."""
    for sigma, following in pairwise(levels):
        clean = latents / (1 + sigma**2)
        latents = sampler.step(latents, clean, sigma=sigma, following=following)
    return latents


def exact(latents: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Where the probability flow leads, in closed form, up to the last level but zero."""
    shrunk: float = ((1 + levels[-2] ** 2) / (1 + levels[0] ** 2)) ** 0.5
    return latents * shrunk


def test_the_solver_follows_the_probability_flow_to_second_order() -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * 14.6
    errors = []
    for steps in (10, 20, 40):
        levels = noise_levels(steps, 1.0)
        wanted = exact(latents, levels) / (1 + levels[-2] ** 2)  # the last step is the prediction
        errors.append(float((sampled(DpmSolver(), latents, levels) - wanted).abs().max()))
    assert errors[0] / errors[1] > 3
    assert errors[1] / errors[2] > 3


def test_a_right_prediction_is_reached_exactly() -> None:
    clean = torch.full((1, 4, 8, 8), 0.3)
    latents = clean + 2
    sampler = DpmSolver()
    for sigma, following in pairwise((2.0, 0.7, 0.2, 0.0)):
        latents = sampler.step(latents, clean, sigma=sigma, following=following)
    assert torch.equal(latents, clean)


def test_consistency_steps_noise_the_prediction_anew() -> None:
    clean = torch.zeros(1, 4, 64, 64)
    dice = torch.Generator().manual_seed(3)
    stepped = ConsistencySampler(dice).step(clean + 9, clean, sigma=2.0, following=0.5)
    assert stepped.std() == pytest.approx(0.5, rel=0.02)
    assert torch.equal(ConsistencySampler(dice).step(stepped, clean, sigma=0.5, following=0), clean)


def test_noise_is_the_seeds_alone() -> None:
    latents = torch.zeros(1, 4, 8, 16)
    first, second = (noise_like(latents, dice=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.std() == pytest.approx(1, rel=0.1)
