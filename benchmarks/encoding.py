"""How fast our encoders are, and how large their files, beside Pillow's on the same pictures.

    python -m benchmarks.encoding --pictures DIR [--json benchmarks/results/encoding.json]

Every picture of DIR is enlarged twice bicubically, for outputs are enlargements, and encoded by
both in turn, by two cores at most. Pillow's PNG has its default settings, its other formats the
quality of ours.
"""

import argparse
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import Row, print_table, write_results
from inference.encoders import Shape, open_encoder
from inference.encoders.jpeg import QUALITY
from inference.encoders.whole import AVIF_QUALITY, WEBP_QUALITY
from inference.params import OutputFormat
from inference.picture import Metadata

Pixels = NDArray[np.uint8]

ENLARGED = 2
CORES = 2
ROWS = 64
"""How many rows arrive at a time, about as the engine's do."""

PNG_SPEED_ASKED = 4.0
PNG_SIZE_ASKED = 1.05

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
PILLOWS: dict[OutputFormat, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpg": {"format": "JPEG", "quality": QUALITY, "subsampling": "4:4:4"},
    "tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "webp": {"format": "WEBP", "quality": WEBP_QUALITY},
    "avif": {"format": "AVIF", "quality": AVIF_QUALITY, "subsampling": "4:4:4"},
}


class Cost(NamedTuple):
    """What encoding all pictures took."""

    seconds: float = 0
    size_bytes: int = 0

    def more(self, other: "Cost") -> "Cost":
        """Both together."""
        return Cost(self.seconds + other.seconds, self.size_bytes + other.size_bytes)


def main() -> None:
    """Measure, print beside what was asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/encoding.json"))
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

    rows = [row for format_ in PILLOWS for row in compared(format_, args.pictures)]
    print_table(f"Encoding by {len(os.sched_getaffinity(0))} cores", rows)
    write_results(args.json, rows)


def compared(format_: OutputFormat, folder: Path) -> list[Row]:
    """A format's speed, and its speed and size as multiples of Pillow's."""
    ours, pillows, megapixels = Cost(), Cost(), 0.0
    for samples in enlarged(folder):
        pillows = pillows.more(cost(by_pillow, samples, format_))
        ours = ours.more(cost(by_us, samples, format_))
        megapixels += samples.size / 3e6
    size = round(ours.size_bytes / pillows.size_bytes, 3)
    is_png = format_ == "png"
    return [
        Row(f"{format_}: MP/s", None, round(megapixels / ours.seconds, 1),
            f"Pillow {megapixels / pillows.seconds:.1f}; {megapixels:.0f} MP in all"),
        Row(f"{format_}: times Pillow's speed", PNG_SPEED_ASKED if is_png else None,
            round(pillows.seconds / ours.seconds, 2)),
        Row(f"{format_}: times Pillow's size", PNG_SIZE_ASKED if is_png else None, size,
            f"{ours.size_bytes / 1e6:.1f} MB", reached=size <= PNG_SIZE_ASKED if is_png else None),
    ]  # fmt: skip


def enlarged(folder: Path) -> Iterator[Pixels]:
    """The folder's pictures as RGB, (h, w, 3), twice as wide and high."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"there are no pictures in {folder}")
    for path in paths:
        with Image.open(path) as picture:
            size = (picture.width * ENLARGED, picture.height * ENLARGED)
            yield np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def cost(
    encode: Callable[[Pixels, OutputFormat], int], samples: Pixels, format_: OutputFormat
) -> Cost:
    """Of one picture."""
    begun_s = time.perf_counter()
    size_bytes = encode(samples, format_)
    return Cost(time.perf_counter() - begun_s, size_bytes)


def by_pillow(samples: Pixels, format_: OutputFormat) -> int:
    """The size of Pillow's file in bytes."""
    file = io.BytesIO()
    Image.fromarray(samples).save(file, **PILLOWS[format_])
    return len(file.getbuffer())


def by_us(samples: Pixels, format_: OutputFormat) -> int:
    """The size of our file in bytes, of rows that come as the engine's do."""
    file = io.BytesIO()
    height_px, width_px, _ = samples.shape
    shape = Shape(width_px, height_px, 3, 8)
    with open_encoder(format_, file, shape=shape, metadata=Metadata()) as encoder:
        for top in range(0, height_px, ROWS):
            encoder.write(samples[top : top + ROWS])
    return len(file.getbuffer())


if __name__ == "__main__":
    main()
