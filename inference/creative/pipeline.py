"""The creative pipeline: a picture enlarged by diffusion, one doubling after another."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from inference.creative.autoencoder import Autoencoder
from inference.creative.denoiser import Denoiser
from inference.creative.diffusion import LATENT_PX, Diffusion, Subject, Tuning
from inference.creative.filters import Canvas, doubled, recoloured, sharpened
from inference.creative.modules import Modules
from inference.creative.passes import Pass, passes
from inference.creative.progress import Meter
from inference.creative.prompts import Prompts
from inference.creative.sampler import noise_like
from inference.creative.schedule import noise_levels
from inference.creative.windows import MULTIPLE
from inference.params import CreativeParams, Factor
from inference.runner import Progress

UNIT_PX = LATENT_PX * MULTIPLE
"""What the sides of a picture must be multiples of; its mirror image continues it to that."""

Enlarge = Callable[[Canvas], Canvas]
"""A faithful enlargement by two."""


class Pipeline:
    """Diffusion on one device, for one picture at a time; other threads wait for their turn."""

    def __init__(self, modules: Modules, device: torch.device, *, tuning: Tuning) -> None:
        half = torch.float16 if device.type == "cuda" else torch.float32
        for network in (modules.unet, modules.controlnet, modules.vae):
            network.to(device, half).to(memory_format=torch.channels_last)
        self._prompts = Prompts(modules.tokenizer, modules.text_encoder.to(device))
        self._autoencoder = Autoencoder(modules.vae)
        denoiser = Denoiser(modules.unet, modules.controlnet)
        self._diffusion = Diffusion(denoiser, device, tuning=tuning)
        self._tuning = tuning
        self._turn = threading.Lock()

    def rows(
        self,
        canvas: Canvas,
        creative: CreativeParams,
        *,
        factor: Factor,
        enlarge: Enlarge,
        progress: Progress,
    ) -> Iterator[Canvas]:
        """The enlarged canvas's rows from the top, (n, factor * w, 3).

        `enlarge` makes what each doubling starts from. `progress` is told of steps over all
        windows; what it raises ends the work between two batches. The same params give the same
        picture on the same device, but for a rounding where batches differ in size. Raises
        `PromptUnreadable`, `NotANumber` or `OutOfMemory`.
        """
        if self._tuning.few_steps is not None:
            creative = self._tuning.few_steps.capped(creative)
        planned = passes(factor, creative)
        with self._turn:
            prompt = self._prompts.embedded(creative.prompt, creative.negative_prompt)
            meter = Meter(progress, self._work(canvas, planned, steps=creative.steps))
            for each in planned:
                meter.begin()
                canvas = self._passed(
                    canvas, each, creative=creative, prompt=prompt, enlarge=enlarge, meter=meter
                )
        yield from sharpened(canvas, creative.sharpen) if creative.sharpen else (canvas,)

    def _work(self, canvas: Canvas, planned: tuple[Pass, ...], *, steps: int) -> list[int]:
        """How many windows there are in all steps of each pass."""
        height, width = canvas.shape[:2]
        work = []
        for each in planned:
            height, width = height * each.scale, width * each.scale
            seen = self._diffusion.windows(_latents(height), _latents(width))
            work.append(seen * (len(noise_levels(steps, each.creativity)) - 1))
        return work

    def _passed(
        self,
        canvas: Canvas,
        planned: Pass,
        *,
        creative: CreativeParams,
        prompt: Tensor,
        enlarge: Enlarge,
        meter: Meter,
    ) -> Canvas:
        """One pass: the canvas enlarged by its scale."""
        is_doubling = planned.scale == 2
        start = enlarge(canvas) if is_doubling else canvas
        hint = np.concatenate(list(doubled(canvas))) if is_doubling else canvas
        levels = noise_levels(creative.steps, planned.creativity)
        dice = torch.Generator().manual_seed(planned.seed)

        latents = self._autoencoder.encode(_padded(start))
        noisy = latents + noise_like(latents, dice=dice) * levels[0]
        subject = Subject(creative, prompt, _padded(hint), levels)
        clean = self._diffusion.clean(noisy, subject, dice=dice, meter=meter)
        made = self._decoded(clean, like=start)
        return np.concatenate(list(recoloured(made, hint)))

    def _decoded(self, latents: Tensor, *, like: Canvas) -> Canvas:
        """The picture, without what was added to make its sides fit."""
        made = np.empty_like(like)
        height, width = like.shape[:2]
        top = 0
        for rows in self._autoencoder.decode(latents):
            kept = rows[: height - top, :width]
            made[top : top + len(kept)] = kept
            top += len(kept)
        return made


def _latents(side_px: int) -> int:
    """The latents along a side, once it is a multiple of UNIT_PX."""
    return -(-side_px // UNIT_PX) * MULTIPLE


def _padded(canvas: Canvas) -> Canvas:
    """Continued below and to the right by its mirror image."""
    height, width = canvas.shape[:2]
    margins = [(0, _latents(side) * LATENT_PX - side) for side in (height, width)]
    return np.pad(canvas, [*margins, (0, 0)], mode="symmetric")
