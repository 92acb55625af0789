"""Samplers: from noisy latents and what the network takes them for to less noisy ones.

They see the whole latents of a picture, never a window: their state is one, as the picture is.
"""

import math
from typing import Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """One run's sampler; sigmas fall from call to call, and the last call's `following` is 0."""

    def step(self, latents: Tensor, clean: Tensor, *, sigma: float, following: float) -> Tensor:
        """The latents at the `following` sigma. `clean` is the network's prediction of them."""
        ...


class DpmSolver:
    """DPM-Solver++(2M): second order, one prediction a step, the one before kept.

    Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic
    Models" (arXiv:2211.01095), algorithm 2, for latents whose signal is not scaled down.
    Deterministic.
    """

    def __init__(self) -> None:
        self._before: tuple[Tensor, float] | None = None  # a prediction, and its step's length

    def step(self, latents: Tensor, clean: Tensor, *, sigma: float, following: float) -> Tensor:
        """First order at the first step and the last, second in between."""
        if following == 0:
            return clean
        length = math.log(sigma / following)
        towards = clean
        if self._before is not None:
            earlier, earlier_length = self._before
            towards = clean + (clean - earlier) * (length / (2 * earlier_length))
        self._before = clean, length
        kept = following / sigma
        return latents * kept + towards * (1 - kept)


class ConsistencySampler:
    """For networks distilled to say at once where the noise leads: each step noises that anew.

    Luo et al. 2023, "Latent Consistency Models" (arXiv:2310.04378), algorithm 3. The noise comes
    from a generator on the CPU, so that a seed means the same everywhere.
    """

    def __init__(self, dice: torch.Generator) -> None:
        self._dice = dice

    def step(self, latents: Tensor, clean: Tensor, *, sigma: float, following: float) -> Tensor:  # noqa: ARG002
        """The prediction, under fresh noise of the following level."""
        if following == 0:
            return clean
        return clean + noise_like(latents, dice=self._dice) * following


def noise_like(latents: Tensor, *, dice: torch.Generator) -> Tensor:
    """Standard normal noise for all latents at once, drawn on the CPU in fp32."""
    return torch.randn(latents.shape, generator=dice, dtype=torch.float32).to(latents.device)
