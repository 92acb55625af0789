"""The engine: a picture's bytes in, the enlarged picture's bytes out."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.catalogue import WEIGHTS_FOLDER, Weights
from inference.chain import Chain
from inference.checkpoints import load_network
from inference.choice import Choice
from inference.colour import bleed
from inference.images import Picture, check_fits, decode, encode
from inference.networks.builtin import BuiltIn
from inference.params import OutputFormat, UpscaleParams
from inference.runner import run
from inference.tiling import Tile, blend, plan

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]

LARGEST_INPUT_PX = 640
"""The side of the largest picture that a network is given: on a CPU that takes about 650 MB."""

BATCH_TILES = 1
MAX_SOURCE_PIXELS = 100_000_000


@dataclass(frozen=True)
class Upscaled:
    """The encoded result; `network` names the weights that made it.

    `is_fallback` says that the slot's own weights are not installed and others took their place.
    """

    data: bytes
    format: OutputFormat
    width_px: int
    height_px: int
    network: str
    is_fallback: bool


class Engine:
    """Enlarges pictures; loads each network when it is first needed. For use by many threads."""

    def __init__(
        self, *, weights_folder: Path = WEIGHTS_FOLDER, max_source_pixels: int = MAX_SOURCE_PIXELS
    ) -> None:
        self._folder = weights_folder
        self._choice = Choice(weights_folder)
        self._max_source_pixels = max_source_pixels
        self._networks: dict[str, BuiltIn] = {}
        self._loading = threading.Lock()

    def upscale(self, source: bytes, params: UpscaleParams, *, progress: Progress) -> Upscaled:
        """The picture as displayed, exactly `params.factor` times as wide and high.

        `progress(done_tiles, all_tiles)` is called as tiles are finished, over all passes; what
        it raises ends the work. Raises an `ImageError` for what is wrong with the picture, an
        `EngineError` for what is wrong here; never falls back to a plain resize.
        """
        chosen = self._choice.of(params)
        picture = decode(source, max_pixels=self._max_source_pixels)
        height_px, width_px = (side * params.factor for side in picture.colour.shape[:2])
        check_fits(width_px, height_px, format_=params.output_format)
        chain = Chain([self._network(each) for each in chosen.weights], scale=params.factor)
        enlarged = enlarge(picture, chain, progress=progress)
        return Upscaled(
            data=encode(enlarged, format_=params.output_format),
            format=params.output_format,
            width_px=width_px,
            height_px=height_px,
            network="+".join(each.id for each in chosen.weights),
            is_fallback=chosen.is_fallback,
        )

    def _network(self, weights: Weights) -> BuiltIn:
        with self._loading:
            if weights.id not in self._networks:
                self._networks[weights.id] = load_network(weights, folder=self._folder)
            return self._networks[weights.id]


def enlarge(
    picture: Picture, chain: Chain, *, progress: Progress, largest_input_px: int = LARGEST_INPUT_PX
) -> Picture:
    """Colour through the chain and, unless it is all the same, alpha in a pass of its own."""
    height, width = picture.colour.shape[:2]
    tile_px = largest_input_px // chain.input_scale
    tiles = plan(width, height, tile_px=tile_px, overlap_px=chain.radius_px)
    colour, alpha = picture.colour, picture.alpha
    if alpha is None or alpha.min() == alpha.max():
        colour = _through(chain, colour, tiles, progress=_part(progress, 0, 1))
        if alpha is not None:
            alpha = np.full(colour.shape[:2], alpha[0, 0], np.uint8)
        return Picture(colour, alpha, picture.icc)
    colour = bleed(colour, alpha=alpha)
    return Picture(
        _through(chain, colour, tiles, progress=_part(progress, 0, 2)),
        _through(chain, alpha, tiles, progress=_part(progress, 1, 2)),
        picture.icc,
    )


def _through(
    chain: Chain, pixels: Pixels, tiles: tuple[Tile, ...], *, progress: Progress
) -> Pixels:
    height, width = (side * chain.scale for side in pixels.shape[:2])
    canvas = np.empty((height, width, *pixels.shape[2:]), np.uint8)
    for done, (tile, enlarged) in enumerate(run(chain, pixels, tiles, batch_tiles=BATCH_TILES), 1):
        blend(canvas, tile, enlarged, scale=chain.scale)
        progress(done, len(tiles))
    return canvas


def _part(progress: Progress, number: int, of: int) -> Progress:
    """Progress of one pass as progress of all of them."""
    return lambda done, every: progress(number * every + done, of * every)
