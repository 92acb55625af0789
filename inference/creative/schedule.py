"""How noisy the latents are at each step, in Stable Diffusion's training and in our sampling."""

import numpy as np

TRAINING_STEPS = 1000
_BETAS = np.linspace(0.00085**0.5, 0.012**0.5, TRAINING_STEPS) ** 2
_KEPT = np.cumprod(1 - _BETAS)
_SIGMAS = np.sqrt((1 - _KEPT) / _KEPT)
"""Stable Diffusion 1.5's noise at each training step (Rombach et al. 2021, arXiv:2112.10752), as
the standard deviation beside a signal that is not scaled down.
"""

RHO = 7.0


def noise_levels(steps: int, creativity: float) -> tuple[float, ...]:
    """The sigmas of a run from a picture: falling, the last one 0.

    Of `steps` nominal ones, spaced after Karras et al. 2022 (arXiv:2206.00364, equation 5), those
    that are executed: int(creativity * steps) + 1, at most all. The smallest sigma but zero is left
    out, as the first implementations had it, and with it half of what others add at the start.
    """
    if steps < 1 or not 0 <= creativity <= 1:
        raise ValueError(f"no levels for {steps} steps at a creativity of {creativity}")
    noisiest, least = (float(_SIGMAS[end]) ** (1 / RHO) for end in (-1, 0))
    karras = np.linspace(noisiest, least, steps + 1)[:-1] ** RHO
    executed = min(int(creativity * steps) + 1, steps)
    return (*(float(sigma) for sigma in karras[-executed:]), 0.0)


def training_step(sigma: float) -> float:
    """The training step, not whole, whose noise that is: between two steps, by its logarithm."""
    return float(np.interp(np.log(sigma), np.log(_SIGMAS), np.arange(TRAINING_STEPS)))
