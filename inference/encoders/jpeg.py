"""JPEG, its bands compressed side by side and joined by restart markers into one baseline scan."""

import io
import struct
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from PIL import Image

from inference.colour import on_white
from inference.encoders.encoder import Rows, eight_bits
from inference.encoders.parallel import ParallelEncoder
from inference.errors import OutputTooLarge
from inference.picture import Metadata

QUALITY = 95
"""With full chroma: at 4:4:4 a unit of the scan (MCU) is 8 x 8 pixels, for grey too."""

MCU_PX = 8
MOST_MCUS_PER_RESTART = 65_535
MOST_SEGMENT_BYTES = 65_533
MOST_DENSITY_PPI = 65_535

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_APP0, _APP1, _APP2, _DQT, _SOF0, _DHT, _DRI, _SOS = 0xE0, 0xE1, 0xE2, 0xDB, 0xC0, 0xC4, 0xDD, 0xDA
_RST0 = 0xD0
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"


class JpegEncoder(ParallelEncoder[bytes]):
    """8 bits, RGB or grey at quality 95; transparency shows on white.

    EXIF and XMP that do not fit into one segment of 64 KB are left out.
    """

    def _start(self) -> None:
        super()._start()
        self._bands = 0
        self._sink.write(_SOI)
        for marker, content in _described(self._metadata):
            self._sink.write(_segment(marker, content))
        self._sink.write(self._tables())

    @property
    def _band_px(self) -> int:
        """Whole rows of MCUs, as many as a restart interval can count and a band should hold."""
        across = self._mcus_across
        most = min(MOST_MCUS_PER_RESTART // across, super()._band_px // MCU_PX)
        return MCU_PX * max(1, most)

    @property
    def _mcus_across(self) -> int:
        return -(-self._shape.width_px // MCU_PX)

    def _task(self, band: Rows) -> Callable[[], bytes]:
        return partial(_scan, band)

    def _put(self, packed: bytes) -> None:
        if self._bands:
            self._sink.write(bytes((0xFF, _RST0 + (self._bands - 1) % 8)))
        self._sink.write(packed)
        self._bands += 1

    def _end(self) -> None:
        self._sink.write(_EOI)

    def _tables(self) -> bytes:
        """What precedes the scan, with the whole picture's size: the same for every band."""
        segments, _ = _parts(
            _compressed(np.zeros((MCU_PX, MCU_PX, self._shape.channels), np.uint8))
        )
        interval = self._mcus_across * self._band_px // MCU_PX
        tables = b""
        for marker, content in segments:
            if marker == _SOF0:
                size = struct.pack(">HH", self._shape.height_px, self._shape.width_px)
                content = content[:1] + size + content[5:]
            if marker == _SOS:
                tables += _segment(_DRI, struct.pack(">H", interval))
            if marker in (_DQT, _SOF0, _DHT, _SOS):
                tables += _segment(marker, content)
        return tables


def _scan(band: Rows) -> bytes:
    """The band's entropy-coded data."""
    _, scan = _parts(_compressed(band))
    return scan


def _compressed(band: Rows) -> bytes:
    """The band as a JPEG file of its own."""
    pixels = eight_bits(band)
    if pixels.shape[2] in (2, 4):
        pixels = on_white(pixels[..., :-1], alpha=pixels[..., -1])
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling="4:4:4")
    return file.getvalue()


def _parts(jpeg: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """A baseline file's segments up to the scan's header, and the scan's data."""
    segments: list[tuple[int, bytes]] = []
    at = len(_SOI)
    while not segments or segments[-1][0] != _SOS:
        marker, length = struct.unpack_from(">xBH", jpeg, at)
        segments.append((marker, jpeg[at + 4 : at + 2 + length]))
        at += 2 + length
    return segments, jpeg[at : -len(_EOI)]


def _described(metadata: Metadata) -> Iterator[tuple[int, bytes]]:
    """The segments that precede the tables."""
    density = [round(ppi) for ppi in metadata.density_ppi or ()]
    if density and 0 < min(density) <= max(density) <= MOST_DENSITY_PPI:
        yield _APP0, b"JFIF\0\x01\x01\x01" + struct.pack(">HHxx", *density)
    else:
        yield _APP0, b"JFIF\0\x01\x01\0" + struct.pack(">HHxx", 1, 1)
    for name, content in ((_EXIF, metadata.exif), (_XMP, metadata.xmp)):
        if content is not None and len(name) + len(content) <= MOST_SEGMENT_BYTES:
            yield _APP1, name + content
    part_bytes = MOST_SEGMENT_BYTES - len(_ICC) - 2
    icc = metadata.icc or b""
    parts = [icc[at : at + part_bytes] for at in range(0, len(icc), part_bytes)]
    if len(parts) > 255:
        raise OutputTooLarge("The picture's ICC profile is too large for a JPEG file")
    for number, part in enumerate(parts, 1):
        yield _APP2, _ICC + bytes((number, len(parts))) + part


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
