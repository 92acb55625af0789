"""The faithful enlargement: a chain of networks over a picture's colour and its alpha."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np

from inference.chain import Chain
from inference.devices import Bits, Device
from inference.picture import Picture, Samples
from inference.quality import Seams
from inference.runner import Progress, run
from inference.tiling import plan


class Faithful(NamedTuple):
    """A chain on the device that its networks are on; what it makes has samples of `bits`.

    `network` names its weights; `is_fallback` says that they stand in for a slot's own.
    """

    chain: Chain
    device: Device
    bits: Bits
    network: str
    is_fallback: bool

    def rows(self, picture: Picture, *, progress: Progress) -> Iterator[Samples]:
        """The result's rows from the top, (n, w, channels), as they are finished.

        Colour and, unless it is all the same, alpha each go through the chain.
        """
        colour, alpha = layer(picture.colour), picture.alpha
        if alpha is None or not is_constant(alpha):
            layers = [colour] if alpha is None else [colour, layer(alpha)]
            yield from self.layers(*layers, progress=progress)
            return
        for rows in self.layers(colour, progress=progress):
            yield cast(Samples, np.concatenate((rows, evenly(alpha, rows)), axis=2))

    def layers(self, *layers: Samples, progress: Progress) -> Iterator[Samples]:
        """Rows of layers, (h, w, channels), that each go through the chain by themselves."""
        return run(self.chain, layers, device=self.device, bits=self.bits, progress=progress)

    def seams(self, picture: Picture) -> Seams:
        """Where tiles meet in the result, unless memory makes them smaller on the way."""
        height, width = picture.colour.shape[:2]
        windows = self.device.sizes(self.chain).windows
        planned = plan(width, height, windows=windows, overlap=self.chain.overlap)
        scale = self.chain.scale
        rows, columns = (tuple(part.core.start * scale for part in axis[1:]) for axis in planned)
        return Seams(rows, columns)


def is_constant(alpha: Samples) -> bool:
    """Whether a picture is everywhere as opaque."""
    return bool(alpha.min() == alpha.max())


def evenly(alpha: Samples, rows: Samples) -> Samples:
    """(n, w, 1) for rows, (n, w, channels), of their type: as opaque as all of a constant alpha."""
    share = alpha.flat[0] / np.iinfo(alpha.dtype).max
    opacity = round(share * np.iinfo(rows.dtype).max)
    return np.full((*rows.shape[:2], 1), opacity, rows.dtype)


def layer(samples: Samples) -> Samples:
    """(h, w) or (h, w, channels), as the latter."""
    return samples[..., None] if samples.ndim == 2 else samples
