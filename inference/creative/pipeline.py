"""The creative pipeline: a picture enlarged by diffusion, one doubling after another."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from inference.creative.autoencoder import LATENT_PX, Autoencoder
from inference.creative.denoiser import Denoiser
from inference.creative.diffusion import Diffusion, Subject, Tuning
from inference.creative.filters import doubled, recoloured, sharpened
from inference.creative.modules import Modules
from inference.creative.passes import Pass, passes
from inference.creative.progress import Meter
from inference.creative.prompts import Prompts
from inference.creative.sampler import noise_like
from inference.creative.schedule import noise_levels
from inference.creative.windows import MULTIPLE
from inference.params import CreativeParams, Factor
from inference.picture import Canvas
from inference.quality import Seams
from inference.runner import Progress

UNIT_PX = LATENT_PX * MULTIPLE
"""What the sides of a picture must be multiples of; its mirror image continues it to that."""

TOLD_EVERY_S = 1.0
"""How often who waits for a turn is told so."""

Enlarge = Callable[[Canvas, Progress], Canvas]
"""A faithful enlargement by two, which tells how far it has come."""


class Embeds(Protocol):
    """Makes of prompts what the networks attend to."""

    def embedded(self, prompt: str, negative: str) -> Tensor:
        """(2, tokens, width), the negative one first; raises `PromptUnreadable`."""
        ...


class Pipeline:
    """Diffusion on one device, for one picture at a time; other threads wait for their turn.

    `name` is the checkpoint's, for the records of what it has made.
    """

    def __init__(
        self, prompts: Embeds, autoencoder: Autoencoder, *, diffusion: Diffusion, name: str
    ) -> None:
        self.name = name
        self._prompts = prompts
        self._autoencoder = autoencoder
        self._diffusion = diffusion
        self._turn = threading.Lock()

    @classmethod
    def of(cls, modules: Modules, device: torch.device, *, name: str, tuning: Tuning) -> Self:
        """The pipeline of these modules, which it moves there; they keep their types."""
        for network in (modules.unet, modules.controlnet, modules.vae):
            network.to(device).to(memory_format=torch.channels_last)
        denoiser = Denoiser(modules.unet, modules.controlnet)
        return cls(
            Prompts(modules.tokenizer, modules.text_encoder.to(device)),
            Autoencoder(modules.vae),
            diffusion=Diffusion(denoiser, device, tuning=tuning),
            name=name,
        )

    def enlarged(
        self,
        canvas: Canvas,
        creative: CreativeParams,
        *,
        factor: Factor,
        restore: Enlarge,
        double: Enlarge,
        progress: Progress,
    ) -> Canvas:
        """The canvas, exactly `factor` times as wide and high.

        The first doubling starts from what `restore` makes, the others from what `double` does.
        `progress` is told of steps over all windows, never fewer than before; what it raises ends
        the work between two batches. The same params give the same picture on the same device, but
        for a rounding where batches differ in size. Raises `PromptUnreadable`, `NotANumber` or
        `OutOfMemory`.
        """
        creative, device = self._diffusion.capped(creative), self._diffusion.device
        planned = passes(factor, creative)
        with self._my_turn(progress):
            prompt = self._prompts.embedded(creative.prompt, creative.negative_prompt)
            meter = Meter(progress, self._work(canvas, planned, steps=creative.steps))
            for number, each in enumerate(planned):
                meter.begin()
                start = canvas
                if each.scale == 2:
                    enlarge = double if number else restore
                    start = enlarge(canvas, lambda *_: meter.still())
                    canvas = np.concatenate(list(doubled(canvas, device=device)))
                made = self._diffused(
                    start, each, hint=canvas, creative=creative, prompt=prompt, meter=meter
                )
                canvas = np.concatenate(list(recoloured(made, canvas, device=device)))
        if creative.sharpen:
            canvas = np.concatenate(list(sharpened(canvas, creative.sharpen, device=device)))
        return canvas

    def seams(self, height_px: int, width_px: int) -> Seams:
        """Where windows meet in a picture of that size."""
        rows, columns = self._diffusion.seams(_latents(height_px), _latents(width_px))
        return Seams(
            tuple(LATENT_PX * row for row in rows if LATENT_PX * row < height_px),
            tuple(LATENT_PX * column for column in columns if LATENT_PX * column < width_px),
        )

    @contextmanager
    def _my_turn(self, progress: Progress) -> Iterator[None]:
        """Wait for it; `progress` can end that, too."""
        while not self._turn.acquire(timeout=TOLD_EVERY_S):
            progress(0, 1)
        try:
            yield
        finally:
            self._turn.release()

    def _work(self, canvas: Canvas, planned: tuple[Pass, ...], *, steps: int) -> list[int]:
        """How many windows there are in all steps of each pass."""
        height, width = canvas.shape[:2]
        work = []
        for each in planned:
            height, width = height * each.scale, width * each.scale
            seen = self._diffusion.windows(_latents(height), _latents(width))
            work.append(seen * (len(noise_levels(steps, each.creativity)) - 1))
        return work

    def _diffused(
        self,
        start: Canvas,
        planned: Pass,
        *,
        hint: Canvas,
        creative: CreativeParams,
        prompt: Tensor,
        meter: Meter,
    ) -> Canvas:
        """What diffusion makes of `start`, resembling a hint of the same size."""
        levels = noise_levels(creative.steps, planned.creativity)
        dice = torch.Generator().manual_seed(planned.seed)
        latents = self._autoencoder.encode(_padded(start), tick=meter.still)
        latents = latents + noise_like(latents, dice=dice) * levels[0]
        subject = Subject(creative, prompt, _padded(hint), levels)
        latents = self._diffusion.clean(latents, subject, dice=dice, meter=meter)
        height, width = start.shape[:2]
        return self._autoencoder.decode(latents, tick=meter.still)[:height, :width]


def _latents(side_px: int) -> int:
    """The latents along a side, once it is a multiple of UNIT_PX."""
    return -(-side_px // UNIT_PX) * MULTIPLE


def _padded(canvas: Canvas) -> Canvas:
    """Continued below and to the right by its mirror image."""
    height, width = canvas.shape[:2]
    margins = [(0, _latents(side) * LATENT_PX - side) for side in (height, width)]
    return (
        np.pad(canvas, [*margins, (0, 0)], mode="symmetric") if any(map(any, margins)) else canvas
    )
