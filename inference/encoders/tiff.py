"""TIFF in deflated strips with the horizontal predictor; BigTIFF where 4 GB might not do."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

from numpy.typing import NDArray
from zlib_ng import zlib_ng

from inference.encoders.encoder import Rows
from inference.encoders.parallel import ParallelEncoder
from inference.exif import descriptive
from inference.picture import Metadata
from inference.tiff_directory import (
    LONG,
    LONG8,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directory,
    Entry,
    numbers,
    written,
)

LEVEL = 4
CLASSIC_BYTES = 4_000_000_000
"""Samples up to here leave room for the rest, and for deflate's overhead, below 4 GB."""

_LEAST_PPI, _MOST_PPI = 0.001, 2**31 / 1000


class TiffEncoder(ParallelEncoder[bytes]):
    """8 or 16 bits, and every number of channels; alpha is unassociated. Seeks in the sink.

    EXIF's descriptive tags become the file's own, the directories below them included.
    """

    def _start(self) -> None:
        super()._start()
        samples_bytes = self._shape.row_bytes * self._shape.height_px
        self._is_big = samples_bytes > CLASSIC_BYTES
        header = b"II+\0\x08\0\0\0" + bytes(8) if self._is_big else b"II*\0" + bytes(4)
        self._sink.write(header)
        self._at = len(header)
        self._offsets: list[int] = []
        self._sizes: list[int] = []

    def _task(self, band: Rows) -> Callable[[], bytes]:
        return partial(_strip, band)

    def _put(self, packed: bytes) -> None:
        self._offsets.append(self._at)
        self._sizes.append(len(packed))
        self._write(packed)

    def _end(self) -> None:
        self._write(bytes(self._at % 2))
        tags = dict(descriptive(self._metadata.exif or b"")) | self._tags()
        tags |= _described(self._metadata)
        directory_at = self._at
        self._write(written(tags, at=directory_at, is_big=self._is_big))
        size = 8 if self._is_big else 4
        self._sink.seek(size)
        self._sink.write(directory_at.to_bytes(size, "little"))
        self._sink.seek(self._at)

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self._at += len(data)

    def _tags(self) -> dict[int, Entry]:
        """What a reader needs in order to find and understand the samples."""
        width_px, height_px, channels, bits = self._shape
        offset_type = LONG8 if self._is_big else LONG
        tags = {
            0x0100: numbers(LONG, width_px),
            0x0101: numbers(LONG, height_px),
            0x0102: numbers(SHORT, *[bits] * channels),
            0x0103: numbers(SHORT, 8),  # deflate
            0x0106: numbers(SHORT, 2 if channels >= 3 else 1),  # RGB, or grey where 0 is black
            0x0111: numbers(offset_type, *self._offsets),
            0x0115: numbers(SHORT, channels),
            0x0116: numbers(LONG, min(self._band_px, height_px)),
            0x0117: numbers(offset_type, *self._sizes),
            0x011C: numbers(SHORT, 1),  # samples of a pixel side by side
            0x013D: numbers(SHORT, 2),  # the horizontal predictor
        }
        if channels in (2, 4):
            tags[0x0152] = numbers(SHORT, 2)  # alpha, which the colours are not multiplied by
        return tags


def _strip(band: Rows) -> bytes:
    """A band's differences from pixel to pixel, as a zlib stream."""
    samples: NDArray[Any] = band.astype(f"<u{band.itemsize}", copy=False)
    samples[:, 1:] -= samples[:, :-1].copy()
    return zlib_ng.compress(samples.data.cast("B"), LEVEL)


def _described(metadata: Metadata) -> Directory:
    """Profile, XMP and density."""
    tags: dict[int, Entry] = {}
    if metadata.icc is not None:
        tags[0x8773] = Entry(UNDEFINED, metadata.icc)
    if metadata.xmp is not None:
        tags[0x02BC] = Entry(1, metadata.xmp)
    density = metadata.density_ppi
    if density is not None and _LEAST_PPI <= min(density) <= max(density) <= _MOST_PPI:
        for tag, ppi in zip((0x011A, 0x011B), density, strict=True):
            exact = Fraction(ppi).limit_denominator(1000)
            tags[tag] = numbers(RATIONAL, exact.numerator, exact.denominator)
        tags[0x0128] = numbers(SHORT, 2)  # per inch
    return tags
