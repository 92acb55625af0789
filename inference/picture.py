"""The Picture: upright samples in memory, and what travels beside them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8] | NDArray[np.uint16]
"""8 or 16 bits a sample, full range."""


@dataclass(frozen=True)
class Metadata:
    """What describes the samples without being one.

    `icc` suits the samples as they are. `exif` is a TIFF structure without the `Exif` prefix, its
    orientation and its thumbnail removed. `density_ppi` is pixels per inch, across and down.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    density_ppi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """`colour` is (h, w, 3) or, for grey, (h, w); `alpha` is (h, w), of the same type."""

    colour: Samples
    alpha: Samples | None = None
    metadata: Metadata = Metadata()
