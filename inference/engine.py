"""The engine: a picture's bytes in, the enlarged picture's file out, row by row."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from inference.catalogue import TOPAZ, WEIGHTS_FOLDER
from inference.chain import Chain
from inference.checkpoints import load_network
from inference.choice import Choice
from inference.colour import bleed
from inference.creation import Creation, Creative, LoadPipeline, load_pipeline
from inference.decoding import decode
from inference.devices import Bits, Device, device_named
from inference.encoders import Shape, bits_for, open_encoder
from inference.faces.paste import paste
from inference.faces.restorer import Faces
from inference.faithful import Faithful, is_constant
from inference.networks.network import Network
from inference.params import DeviceName, OutputFormat, UpscaleParams
from inference.picture import Picture, Samples
from inference.provenance import Weights
from inference.published import SECOND_PASS, YUNET
from inference.quality import Quality, QualityMeter, Seams
from inference.runner import Progress

MAX_SOURCE_PIXELS = 100_000_000
NETWORKS_KEPT = 8
"""How many networks stay in memory; what was not used for longest goes first."""


class LoadNetwork(Protocol):
    """Makes the network of a file of weights, in fp32."""

    def __call__(self, weights: Weights, *, folder: Path) -> Network: ...


@dataclass(frozen=True)
class Upscaled:
    """What was written; `network` names the weights that made it.

    `is_fallback` says that the slot's own weights are not installed and others took their place.
    `quality` is None where no report was wanted.
    """

    width_px: int
    height_px: int
    format: OutputFormat
    network: str
    is_fallback: bool
    quality: Quality | None


class Enlargement(Protocol):
    """One way to enlarge a picture, ready to begin."""

    @property
    def network(self) -> str:
        """The names of the weights that do it."""
        ...

    @property
    def is_fallback(self) -> bool:
        """Whether they stand in for others, which are not installed."""
        ...

    def rows(self, picture: Picture, *, progress: Progress) -> Iterator[Samples]:
        """The result's rows from the top, (n, w, channels), as they are finished."""
        ...

    def seams(self, picture: Picture) -> Seams:
        """Where tiles meet in the result."""
        ...


class Engine:
    """Enlarges pictures; loads each network when it is first needed. For use by many threads.

    `device` is `auto`, which takes CUDA where there is one, `cpu` or `cuda`; `DeviceMissing` is
    raised at once. `load` makes networks of weights, `load_pipeline` the diffusion, once it is
    needed. Faces that `face_detector` finds are restored by `face_restorer`; without one, to be
    asked for that raises `WeightsMissing`.
    """

    def __init__(
        self,
        *,
        device: DeviceName = "auto",
        weights_folder: Path = WEIGHTS_FOLDER,
        max_source_pixels: int = MAX_SOURCE_PIXELS,
        load: LoadNetwork = load_network,
        face_detector: Weights = YUNET,
        face_restorer: Weights | None = None,
        load_pipeline: LoadPipeline = load_pipeline,
    ) -> None:
        self._device = device_named(device)
        self._creation = Creation(self._device, folder=weights_folder, load=load_pipeline)
        self._networks = Networks(weights_folder, self._device, load=load)
        self._faces = Faces(
            weights_folder,
            network_of=self._networks.get,
            detector=face_detector,
            restorer=face_restorer,
        )
        self._choice = Choice(weights_folder)
        self._max_source_pixels = max_source_pixels

    def upscale(
        self, source: bytes, params: UpscaleParams, *, sink: BinaryIO, progress: Progress
    ) -> Upscaled:
        """Write the picture as displayed, exactly `params.factor` times as wide and high.

        `sink` is an empty file that can be sought in; what is in it after an error is of no use.
        `progress(done_tiles, all_tiles)` is called as the work goes on; what it raises ends it.
        Raises an `ImageError` for what is wrong with the picture, an `EngineError` for what is
        wrong here; never falls back to a plain resize.
        """
        picture = shown(decode(source, max_pixels=self._max_source_pixels, policy=params.metadata))
        shape = shape_of(picture, params)
        metadata = picture.metadata.scaled(params.factor)
        with open_encoder(params.output_format, sink, shape=shape, metadata=metadata) as encoder:
            enlargement = self._enlargement(params, bits=shape.bits)
            meter = None
            if params.reports_quality:
                seams = enlargement.seams(picture)
                meter = QualityMeter(picture, scale=params.factor, seams=seams)
            rows = enlargement.rows(picture, progress=progress)
            for band in self._with_faces(rows, picture, params):
                if meter is not None:
                    meter.add(band[..., 0] if picture.colour.ndim == 2 else band[..., :3])
                encoder.write(band)
        return Upscaled(
            width_px=shape.width_px,
            height_px=shape.height_px,
            format=params.output_format,
            network=enlargement.network,
            is_fallback=enlargement.is_fallback,
            quality=None if meter is None else meter.report(),
        )

    def _enlargement(self, params: UpscaleParams, *, bits: Bits) -> Enlargement:
        if params.creative is None:
            return self._faithful(params, bits=bits)
        faithful = params.model_copy(update={"model": TOPAZ.id, "slot": "standard-v2"})
        doubling = faithful.model_copy(update={"factor": 2, "is_guarded": False})
        return Creative(
            pipeline=self._creation.pipeline(),
            creative=params.creative,
            factor=params.factor,
            restoring=self._faithful(doubling, bits=16),
            doubling=self._second_pass(),
            masking=self._faithful(faithful, bits=bits),
        )

    def _second_pass(self) -> Faithful:
        chain = Chain([self._networks.get(SECOND_PASS, bits=16)], scale=2)
        return Faithful(chain, self._device, bits=16, network=SECOND_PASS.id, is_fallback=False)

    def _faithful(self, params: UpscaleParams, *, bits: Bits) -> Faithful:
        chosen = self._choice.of(params)
        networks = [self._networks.get(each, bits=bits) for each in chosen.weights]
        return Faithful(
            Chain(networks, scale=params.factor, is_guarded=params.is_guarded),
            self._device,
            bits,
            network="+".join(each.id for each in chosen.weights),
            is_fallback=chosen.is_fallback,
        )

    def _with_faces(
        self, bands: Iterator[Samples], picture: Picture, params: UpscaleParams
    ) -> Iterator[Samples]:
        """The same rows, with restored faces in them if that was asked for."""
        if params.faces is None:
            yield from bands
            return
        patches = self._faces.restorer().patches(picture, scale=params.factor, faces=params.faces)
        top_px = 0
        for band in bands:
            paste(patches, band, top_px=top_px)
            top_px += len(band)
            yield band


class Networks:
    """Networks ready to run on a device, by the weights they are made of. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        device: Device,
        *,
        limit: int = NETWORKS_KEPT,
        load: LoadNetwork = load_network,
    ) -> None:
        self._folder = folder
        self._device = device
        self._limit = limit
        self._load = load
        self._ready: OrderedDict[tuple[str, Bits], Network] = OrderedDict()
        self._loading = threading.Lock()

    def get(self, weights: Weights, *, bits: Bits = 8) -> Network:
        """The network for results of `bits`; raises `WeightsMissing` or `WeightsBad`."""
        key = (weights.id, bits)
        with self._loading:
            if key not in self._ready:
                network = self._load(weights, folder=self._folder)
                self._ready[key] = self._device.prepare(network, bits=bits)
            self._ready.move_to_end(key)
            while len(self._ready) > self._limit:
                self._ready.popitem(last=False)
            return self._ready[key]


def shown(picture: Picture) -> Picture:
    """The same picture with the colour that full transparency hides replaced by its neighbours'.

    It is often black, and would be smeared into what shows. Where alpha is the same everywhere,
    nothing is next to anything else.
    """
    if picture.alpha is None or is_constant(picture.alpha):
        return picture
    return replace(picture, colour=bleed(picture.colour, alpha=picture.alpha))


def shape_of(picture: Picture, params: UpscaleParams) -> Shape:
    """What the encoder is to be told: grey stays grey, alpha alpha, and 16 bits where they fit."""
    height, width = picture.colour.shape[:2]
    has_alpha = picture.alpha is not None
    return Shape(
        width_px=width * params.factor,
        height_px=height * params.factor,
        channels=(2 if has_alpha else 1) if picture.colour.ndim == 2 else (4 if has_alpha else 3),
        bits=bits_for(params.output_format, 16 if picture.colour.dtype == np.uint16 else 8),
    )
