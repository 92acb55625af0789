"""The creative enlargement: diffusion for the colour, the faithful networks around it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
import torch

from inference.checkpoints import verified_path
from inference.devices import Bits, Device
from inference.faithful import Faithful, evenly, is_constant, layer
from inference.params import USUAL_CREATION, CreativeOptions, CreativeParams, Factor, Lora
from inference.picture import Canvas, Picture, Samples
from inference.published_diffusion import (
    CLIP_MERGES,
    CLIP_VOCABULARY,
    LCM_LORA,
    STABLE_DIFFUSION,
    TILE_CONTROLNET,
)
from inference.quality import Seams
from inference.runner import Progress

if TYPE_CHECKING:  # its libraries take seconds to import, which only this work is worth
    from inference.creative.pipeline import Pipeline

BAND_PX = 256


class LoadPipeline(Protocol):
    """Makes the diffusion ready on a device, of files in the folder of weights."""

    def __call__(self, device: torch.device, *, folder: Path) -> "Pipeline": ...


def load_pipeline(
    device: torch.device, *, folder: Path, options: CreativeOptions = USUAL_CREATION
) -> "Pipeline":
    """The pipeline of the catalogue's files, verified; `WeightsMissing` or `WeightsBad` if not."""
    from inference.creative.diffusion import CARD_SIZES, ONE_WINDOW, FewSteps, Tuning
    from inference.creative.modules import load_modules
    from inference.creative.pipeline import Pipeline

    for weights in (CLIP_VOCABULARY, CLIP_MERGES):
        tokenizer = verified_path(weights, folder=folder).parent
    few_steps = [Lora(verified_path(LCM_LORA, folder=folder), 1.0)] if options.is_few_step else []
    modules = load_modules(
        options.checkpoint or verified_path(STABLE_DIFFUSION, folder=folder),
        controlnet=verified_path(TILE_CONTROLNET, folder=folder),
        tokenizer=tokenizer,
        loras=(*options.loras, *few_steps),
        dtype=torch.float16 if device.type == "cuda" else torch.float32,
    )
    is_on_a_card = device.type == "cuda"
    tuning = Tuning(
        sizes=CARD_SIZES if is_on_a_card else ONE_WINDOW,
        unguided_steps=options.unguided_steps,
        few_steps=FewSteps() if options.is_few_step else None,
        is_compiled=options.is_compiled,
    )
    name = STABLE_DIFFUSION.id if options.checkpoint is None else options.checkpoint.stem
    return Pipeline.of(modules, device, name=name, tuning=tuning)


class Creation:
    """Loads the diffusion when it is first needed, and keeps it. Thread-safe."""

    def __init__(self, device: Device, *, folder: Path, load: LoadPipeline) -> None:
        self._device = device
        self._folder = folder
        self._load = load
        self._loading = threading.Lock()
        self._ready: Pipeline | None = None

    def pipeline(self) -> "Pipeline":
        """The pipeline; raises what loading it raises, and then tries again the next time."""
        with self._loading:
            if self._ready is None:
                self._ready = self._load(self._device.torch_device, folder=self._folder)
            return self._ready


class Creative(NamedTuple):
    """An enlargement by `factor` whose detail is invented.

    Each doubling starts from a faithful one: the first from `restoring`, for it is of what people
    send, the others from `doubling`, for pictures that are clean; both make 16 bits. `masking`
    enlarges alpha, by the whole factor, to the `bits` of the result.
    """

    pipeline: "Pipeline"
    creative: CreativeParams
    factor: Factor
    restoring: Faithful
    doubling: Faithful
    masking: Faithful

    @property
    def network(self) -> str:
        """The names of the weights that had a part in it."""
        enlarging = [self.restoring.network] * (self.factor > 1)
        enlarging += [self.doubling.network] * (self.factor > 2)
        return "+".join([*enlarging, self.pipeline.name])

    @property
    def is_fallback(self) -> bool:
        """Whether it started from a stand-in's enlargement; for diffusion nothing stands in."""
        return self.factor > 1 and self.restoring.is_fallback

    def rows(self, picture: Picture, *, progress: Progress) -> Iterator[Samples]:
        """The result's rows from the top, (n, w, channels), once all of them are made."""
        canvas = self.pipeline.enlarged(
            _canvas(picture.colour),
            self.creative,
            factor=self.factor,
            restore=lambda each, tell: _whole(self.restoring.layers(each, progress=tell)),
            double=lambda each, tell: _whole(self.doubling.layers(each, progress=tell)),
            progress=progress,
        )
        top = 0
        for alpha in self._alphas(picture):
            rows: Samples = canvas[top : top + len(alpha)]
            if picture.colour.ndim == 2:
                rows = rows.mean(axis=2, keepdims=True).round().astype(np.uint16)
            rows = _as_bits(rows, self.masking.bits)
            yield cast(Samples, np.concatenate((rows, alpha), axis=2))
            top += len(alpha)

    def seams(self, picture: Picture) -> Seams:
        """Where the windows of the last pass meet."""
        height, width = picture.colour.shape[:2]
        return self.pipeline.seams(height * self.factor, width * self.factor)

    def _alphas(self, picture: Picture) -> Iterator[Samples]:
        """The result's alpha in bands of rows, (n, w, 1), or (n, w, 0) where there is none."""
        alpha = picture.alpha
        if alpha is not None and not is_constant(alpha):
            yield from self.masking.layers(layer(alpha), progress=_unseen)
            return
        height, width = (side * self.factor for side in picture.colour.shape[:2])
        for top in range(0, height, BAND_PX):
            none = np.empty((min(BAND_PX, height - top), width, 0), _TYPES[self.masking.bits])
            yield none if alpha is None else evenly(alpha, none)


_TYPES = {8: np.uint8, 16: np.uint16}


def _canvas(colour: Samples) -> Canvas:
    """(h, w, 3) of 16 bits."""
    wide = colour.astype(np.uint16) * (257 if colour.dtype == np.uint8 else 1)
    return np.repeat(layer(wide), 3, axis=2) if colour.ndim == 2 else wide


def _as_bits(rows: Samples, bits: Bits) -> Samples:
    """Of 16 bits, rounded to as many."""
    return rows if bits == 16 else ((rows.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _whole(rows: Iterator[Samples]) -> Canvas:
    return cast(Canvas, np.concatenate(list(rows)))


def _unseen(_done: int, _of: int) -> None:
    """Alpha's tiles are few beside the diffusion's steps, and come when those are done."""
