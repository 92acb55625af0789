"""The diffusion: noisy latents made clean, step by step, through windows that are joined."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import torch
from torch import Tensor

from inference.creative.autoencoder import LATENT_PX
from inference.creative.denoiser import Denoiser, Noise
from inference.creative.filters import planes_of
from inference.creative.progress import Meter
from inference.creative.prompts import CHUNK
from inference.creative.sampler import ConsistencySampler, DpmSolver, Sampler
from inference.creative.windows import OVERLAP, WINDOW, Window, count, seams, windows
from inference.devices import Sizes
from inference.errors import NotANumber, OutOfMemory
from inference.params import CreativeParams
from inference.picture import Canvas
from inference.runner import is_out_of_memory
from inference.tiling import Windows

Placed = tuple[Window, Tensor]
"""A window and what the hint says there."""


@dataclass(frozen=True)
class FewSteps:
    """For weights that were distilled to take few steps: at most so many, and so much guidance."""

    most_steps: int = 8
    most_dynamic: float = 2.0

    def capped(self, creative: CreativeParams) -> CreativeParams:
        """The same with no more of either."""
        steps = min(creative.steps, self.most_steps)
        dynamic = min(creative.dynamic, self.most_dynamic)
        return creative.model_copy(update={"steps": steps, "dynamic": dynamic})


ONE_WINDOW = Sizes(WINDOW, batch_tiles=1)

CARD_SIZES = Sizes(WINDOW, batch_tiles=3)
"""For a CUDA card: a picture of four megapixels is two such batches."""


@dataclass(frozen=True)
class Tuning:
    """What an operator decides: how much goes through the networks at once, and shortcuts.

    In the `unguided_steps` last ones of each pass the prompt pulls as if `dynamic` were 1, which
    halves their work. `is_compiled` has torch compile the networks, for one shape alone: it takes
    minutes for each.
    """

    sizes: Sizes = ONE_WINDOW
    unguided_steps: int = 0
    few_steps: FewSteps | None = None
    is_compiled: bool = False


@dataclass(frozen=True)
class Subject:
    """What latents are to become.

    `prompt` is (2, tokens, width): what to avoid and what to show. The result is to resemble
    `hint`, LATENT_PX times as large as the latents. `levels` are the sigmas of the steps.
    """

    creative: CreativeParams
    prompt: Tensor
    hint: Canvas
    levels: Sequence[float]


class Diffusion:
    """Makes latents clean. For one thread at a time: it listens to one prompt."""

    def __init__(self, denoiser: Denoiser, device: torch.device, *, tuning: Tuning) -> None:
        self._denoiser = denoiser
        self._compiled: Callable[..., Tensor] = denoiser
        if tuning.is_compiled:
            self._compiled = torch.compile(
                denoiser, fullgraph=True, dynamic=False, mode="reduce-overhead"
            )
        self.device = device
        self._tuning = tuning

    def capped(self, creative: CreativeParams) -> CreativeParams:
        """The params as these weights bear them."""
        few = self._tuning.few_steps
        return creative if few is None else few.capped(creative)

    def windows(self, height: int, width: int) -> int:
        """Through how many windows latents of that size are seen."""
        return count(height, width, largest=self._tuning.sizes.windows)

    def seams(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The rows and the columns where windows of latents of that size meet."""
        return seams(height, width, largest=self._tuning.sizes.windows)

    def clean(
        self, latents: Tensor, subject: Subject, *, dice: torch.Generator, meter: Meter
    ) -> Tensor:
        """The latents, (1, 4, h, w), fp32, without their noise, which is of the first level.

        For want of memory it begins again with smaller batches, then smaller windows. Raises
        `NotANumber` or `OutOfMemory`.
        """
        sizes = self._tuning.sizes
        state = dice.get_state()
        while min(sizes.windows) >= OVERLAP.least_px:
            dice.set_state(state)
            sampler = ConsistencySampler(dice) if self._tuning.few_steps else DpmSolver()
            try:
                return self._sampled(latents, subject, sampler=sampler, sizes=sizes, meter=meter)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            sizes = sizes.smaller()
        raise OutOfMemory

    @torch.inference_mode()
    def _sampled(
        self, latents: Tensor, subject: Subject, *, sampler: Sampler, sizes: Sizes, meter: Meter
    ) -> Tensor:
        """Step by step: all windows' predictions joined, then one step of the whole."""
        _, _, height, width = latents.shape
        places = self._windows(height, width, sizes)
        hints = [self._hint(subject.hint, place) for place in places]
        batch_tiles = min(sizes.batch_tiles, len(places))
        denoise = self._denoise(places[0], batch_tiles, prompt=subject.prompt)
        creative, steps = subject.creative, list(pairwise(subject.levels))
        steering = self._denoiser.steering(
            dynamic=creative.dynamic, resemblance=creative.resemblance
        )
        guided_steps = len(steps) - self._tuning.unguided_steps if creative.dynamic > 1 else 0
        done, heard = 0, 0
        for number, (sigma, following) in enumerate(steps):
            parts = 2 if number < guided_steps else 1
            if parts != heard:
                self._denoiser.listen(subject.prompt[-parts:])
                heard = parts
            noise = Noise.of(sigma, device=self.device)
            clean = torch.zeros_like(latents)
            for batch in _batches(list(zip(places, hints, strict=True)), batch_tiles):
                seen = torch.cat([place.of(latents) for place, _ in batch])
                hinted = torch.cat([hint.to(self.device, non_blocking=True) for _, hint in batch])
                made = denoise(seen, hinted, noise, steering, parts)
                new = min(batch_tiles, len(places) - done % len(places))
                for (place, _), window in zip(batch[:new], made, strict=False):
                    place.of(clean).add_(window * place.weights)
                done += new
                meter.reached(done, of=len(steps) * len(places))
            if not torch.isfinite(clean.sum()):
                raise NotANumber
            latents = sampler.step(latents, clean, sigma=sigma, following=following)
        return latents

    def _windows(self, height: int, width: int, sizes: Sizes) -> list[Window]:
        return windows(height, width, largest=sizes.windows, device=self.device)

    def _hint(self, hint: Canvas, place: Window) -> Tensor:
        """The hint embedded, in the host's memory: there is as much of it as of the picture."""
        rows, columns = place.on_pixels(LATENT_PX)
        embedded = self._denoiser.hint(planes_of(hint[rows, columns])).cpu()
        return embedded.pin_memory() if self.device.type == "cuda" else embedded

    def _denoise(self, place: Window, batch_tiles: int, *, prompt: Tensor) -> Callable[..., Tensor]:
        """Compiled for full batches of full windows and prompts of one chunk, if at all."""
        shape = Sizes(Windows(*place.weights.shape), batch_tiles)
        is_usual = shape == self._tuning.sizes and prompt.shape[1] == CHUNK + 2
        return self._compiled if is_usual else self._denoiser


def _batches(places: Sequence[Placed], size: int) -> Iterator[list[Placed]]:
    """All of one size: the last one is filled up with its last place."""
    rest = iter(places)
    while batch := list(islice(rest, size)):
        yield batch + [batch[-1]] * (size - len(batch))
