"""The VAE over pictures of any size: in tiles that share their statistics and show no seams."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from inference.bands import FadedBands, Form, ramps
from inference.creative.filters import planes_of
from inference.creative.shared_norm import forgetting, listening, share
from inference.errors import NotANumber, OutOfMemory
from inference.picture import Canvas
from inference.runner import is_out_of_memory
from inference.tiling import Overlap, Part, Windows, plan

LATENT_PX = 8
"""How wide and high a latent is."""

TILE_PX = 1024
OVERLAP = Overlap(halo_px=8, fade_px=8)
"""In latents: neighbours share 128 px, and fade into each other over half of that."""

BAND_PX = 64
"""Of the reduced copy: how many rows of it are made at once."""

Made = TypeVar("Made")

Tick = Callable[[], object]


class Place(NamedTuple):
    """A tile's place in the plan, and what is known of it on both axes, in latents."""

    row: int
    column: int
    down: Part
    across: Part


class Autoencoder:
    """Pictures to latents and back, on the VAE's device; only latents are held there as a whole.

    What fits one tile goes through at once. Else all group normalisations get the statistics that a
    reduced copy of the whole has, and tiles fade into each other. Where a 16-bit type does not
    suffice, all is done again in fp32; for want of memory, in tiles of half the side. Both ways
    raise `NotANumber` or `OutOfMemory`. `tick` is called after every tile; what it raises ends the
    work.
    """

    def __init__(self, vae: AutoencoderKL, *, tile_px: int = TILE_PX) -> None:
        if tile_px < OVERLAP.least_px * LATENT_PX:
            raise ValueError(f"tiles of {tile_px} px leave nothing between overlaps of {OVERLAP}")
        self._vae = vae
        self._norms = share(vae)
        self._usual_type = vae.dtype
        self._tile_px = tile_px

    def encode(self, picture: Canvas, *, tick: Tick | None = None) -> Tensor:
        """The likeliest latents, (1, 4, h / 8, w / 8), fp32, of sides that are multiples of 8."""
        return self._tried(lambda side: self._encoded(picture, side, tick or _unheard))

    def decode(self, latents: Tensor, *, tick: Tick | None = None) -> Canvas:
        """The picture, 8 times as wide and high, within range."""
        return self._tried(lambda side: self._decoded(latents, side, tick or _unheard))

    def _tried(self, work: Callable[[int], Made]) -> Made:
        """What the work gives, which takes a tile's side in latents."""
        side = self._tile_px // LATENT_PX
        try:
            while side >= OVERLAP.least_px:
                try:
                    with forgetting(self._norms), torch.inference_mode():
                        return work(side)
                except NotANumber:
                    if self._vae.dtype == torch.float32:
                        raise
                    self._compute_in(torch.float32)
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    side //= 2
                torch.cuda.empty_cache()  # out of the except clause, whose frames hold tensors
        finally:
            self._compute_in(self._usual_type)
        raise OutOfMemory

    def _compute_in(self, dtype: torch.dtype) -> None:
        if self._vae.dtype != dtype:
            nn.Module.to(self._vae, dtype)  # diffusers' own warns of models other than this one

    def _encoded(self, picture: Canvas, side: int, tick: Tick) -> Tensor:
        height, width = (length // LATENT_PX for length in picture.shape[:2])
        planned = plan(
            width, height, windows=Windows(side, side), overlap=OVERLAP, is_full_size=True
        )
        if planned.tiles > 1:
            with listening(self._norms):
                coarse = _coarse(picture, side * LATENT_PX)
                self._latents(_reduced(coarse, (side * LATENT_PX,) * 2))
        latents = torch.zeros(1, 4, height, width, device=self._vae.device)
        for place in _places(planned.rows, planned.columns):
            rows, columns = (
                slice(part.window.start * LATENT_PX, part.window.end * LATENT_PX)
                for part in (place.down, place.across)
            )
            tile = self._latents(planes_of(picture[rows, columns]))
            down, across = (
                ramps(part, scale=1, of=axis).to(tile)
                for part, axis in ((place.down, planned.rows), (place.across, planned.columns))
            )
            kept = (slice(*place.down.kept), slice(*place.across.kept))
            latents[..., *kept] += (
                tile[..., _within(place.down), _within(place.across)] * down[:, None] * across
            )
            tick()
        return latents

    def _decoded(self, latents: Tensor, side: int, tick: Tick) -> Canvas:
        _, _, height, width = latents.shape
        planned = plan(
            width, height, windows=Windows(side, side), overlap=OVERLAP, is_full_size=True
        )
        if planned.tiles > 1:
            with listening(self._norms):
                self._pixels(_of_like_spread(_reduced(latents, (side, side)), latents))
        form = Form(LATENT_PX * width, channels=3, dtype=torch.uint16, device=latents.device)
        bands = FadedBands(planned, form, scale=LATENT_PX)
        finished = []
        for place in _places(planned.rows, planned.columns):
            seen = latents[..., slice(*place.down.window), slice(*place.across.window)]
            bands.put(place.row, place.column, self._pixels(seen)[0], slice(0, 3))
            if place.column + 1 == len(planned.columns):
                finished.append(bands.finish(place.row).cpu().numpy())
            tick()
        return cast(Canvas, np.concatenate(finished))

    def _latents(self, planes: Tensor) -> Tensor:
        """Of (1, 3, h, w) in 0..1, anywhere."""
        given = (2 * planes - 1).to(self._vae.device, self._vae.dtype)
        scale: float = self._vae.config.scaling_factor
        return _sound(self._vae.encode(given).latent_dist.mode()) * scale

    def _pixels(self, latents: Tensor) -> Tensor:
        """(1, 3, 8h, 8w) in 0..1."""
        given = (latents / self._vae.config.scaling_factor).to(self._vae.dtype)
        made = self._vae.decode(given, return_dict=False)[0]
        return (_sound(made) / 2 + 0.5).clamp(0, 1)


def _places(rows: tuple[Part, ...], columns: tuple[Part, ...]) -> Iterator[Place]:
    for row, down in enumerate(rows):
        for column, across in enumerate(columns):
            yield Place(row, column, down, across)


def _within(part: Part) -> slice:
    """What is kept of a window, counted from its start."""
    start = part.kept.start - part.window.start
    return slice(start, start + part.kept.length)


def _coarse(picture: Canvas, most_px: int) -> Tensor:
    """Its planes, averaged to less than twice that, in bands: in fp32 it would be twice as large.

    What is left over below and to the right of whole means is left out.
    """
    height, width = picture.shape[:2]
    block = max(1, min(max(height, width) // most_px, min(height, width) // LATENT_PX))
    bands = range(0, height // block * block, BAND_PX * block)
    means = [F.avg_pool2d(planes_of(picture[top : top + BAND_PX * block]), block) for top in bands]
    return torch.cat(means, dim=2)


def _reduced(planes: Tensor, most: tuple[int, int]) -> Tensor:
    """At its proportions, no larger than that, in sides that are multiples of 8."""
    height, width = planes.shape[2:]
    share = min(1.0, most[0] / height, most[1] / width)
    sides = [max(LATENT_PX, int(side * share) // LATENT_PX * LATENT_PX) for side in (height, width)]
    return F.interpolate(planes, size=sides, mode="bicubic", antialias=True)


def _of_like_spread(reduced: Tensor, latents: Tensor) -> Tensor:
    """With each channel's mean and deviation as they were: reducing latents averages them away."""
    deviation, mean = torch.std_mean(latents, dim=(2, 3), keepdim=True)
    now, now_mean = torch.std_mean(reduced, dim=(2, 3), keepdim=True)
    return (reduced - now_mean) * (deviation / now.clamp(min=1e-6)) + mean


def _unheard() -> None:
    """Nobody listens."""


def _sound(result: Tensor) -> Tensor:
    """In fp32; raises `NotANumber`."""
    result = result.float()
    if not torch.isfinite(result.sum()):
        raise NotANumber
    return result
