"""The Picture: upright samples in memory, and what travels beside them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8] | NDArray[np.uint16]
"""8 or 16 bits a sample, full range."""

Canvas = NDArray[np.uint16]
"""A whole picture between two steps, (h, w, 3), full range."""


@dataclass(frozen=True)
class Metadata:
    """What describes the samples without being one.

    `icc` suits the samples as they are; without one they are sRGB. `exif` is a TIFF structure
    without the `Exif` prefix, and without what is said elsewhere or no longer true: orientation,
    thumbnail, sizes, density. `density_ppi` is pixels per inch, across and down.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    density_ppi: tuple[float, float] | None = None

    def scaled(self, factor: int) -> "Metadata":
        """What describes the picture enlarged by `factor`: in print it stays as large as it was."""
        if self.density_ppi is None:
            return self
        across, down = self.density_ppi
        return replace(self, density_ppi=(across * factor, down * factor))


@dataclass(frozen=True)
class Picture:
    """`colour` is (h, w, 3) or, for grey, (h, w); `alpha` is (h, w), of the same type."""

    colour: Samples
    alpha: Samples | None = None
    metadata: Metadata = Metadata()
