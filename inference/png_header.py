"""What a PNG file says of its picture: its chunks, read without inflating a pixel.

Portable Network Graphics, third edition (W3C, 2025).
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from inference.errors import AnimatedImage, CorruptImage, TruncatedImage, UnsupportedImage
from inference.xmp import MAX_XMP_BYTES

MAX_ICC_BYTES = 4 * 1024 * 1024
MAX_CHUNKS = 65_536
"""More than any honest file has."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHOWN = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_READ = (b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"eXIf", b"acTL")
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_METRES_PER_INCH = 0.0254

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_GREYS = (0, 4)

_HIGH_RANGE = (16, 18)  # PQ and HLG


class PngHeader(NamedTuple):
    """`chunks` are those about colour, density and EXIF, by name."""

    width_px: int
    height_px: int
    is_grey: bool
    chunks: Mapping[bytes, bytes]
    xmp: bytes | None

    @property
    def density_ppi(self) -> tuple[float, float] | None:
        """Pixels per inch across and down."""
        content = self.chunks.get(b"pHYs", b"")
        if len(content) != 9 or content[8] != 1:  # not per metre: only a proportion
            return None
        across, down = struct.unpack_from(">II", content)
        return across * _METRES_PER_INCH, down * _METRES_PER_INCH


def read(data: bytes) -> PngHeader:
    """The header of a complete file.

    Raises `TruncatedImage`, `CorruptImage`, `AnimatedImage`, and `UnsupportedImage` for pictures of
    high dynamic range, which no eight or sixteen bits of ours mean.
    """
    first = b""
    chunks: dict[bytes, bytes] = {}
    xmp = None
    for kind, chunk in _chunks(data):
        content = chunk[8:-4]
        if not first:
            if kind != b"IHDR":
                raise CorruptImage
            first = bytes(content)
        elif kind in _READ:
            chunks.setdefault(kind, bytes(content))
        elif kind == b"iTXt" and xmp is None and content[:18] == _XMP_KEYWORD:
            xmp = _xmp(bytes(content))
    if int.from_bytes(chunks.get(b"acTL", b"")[:4], "big") > 1:
        raise AnimatedImage
    if cicp(chunks)[1] in _HIGH_RANGE:
        raise UnsupportedImage("Images of high dynamic range (PQ, HLG) are not supported")
    return _header(first, chunks, xmp)


def bare(data: bytes) -> bytes:
    """The file without all that a decoder of the pixels has no business with."""
    parts: list[bytes | memoryview] = [SIGNATURE]
    for kind, chunk in _chunks(data):
        if kind in _SHOWN:
            parts.append(chunk)
    return b"".join(parts)


def cicp(chunks: Mapping[bytes, bytes]) -> tuple[int, int]:
    """Primaries and transfer; zeros, which mean nothing, if it is not RGB of the full range."""
    content = chunks.get(b"cICP", b"")
    return (content[0], content[1]) if len(content) == 4 and content[2:] == b"\0\1" else (0, 0)


def _header(first: bytes, chunks: Mapping[bytes, bytes], xmp: bytes | None) -> PngHeader:
    if len(first) != 13:
        raise CorruptImage
    width_px, height_px, bits, kind, packing, filters, interlace = struct.unpack(">IIBBBBB", first)
    if bits not in _DEPTHS.get(kind, ()) or packing or filters or interlace > 1:
        raise CorruptImage
    return PngHeader(width_px, height_px, kind in _GREYS, chunks, xmp)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Names, and all of each chunk from its length to its checksum, up to and with IEND."""
    view = memoryview(data)
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise TruncatedImage
        kind = data[at + 4 : at + 8]
        yield kind, view[at:end]
        if kind == b"IEND":
            return
        at = end
    raise CorruptImage


def _xmp(content: bytes) -> bytes | None:
    """An iTXt chunk's text, behind keyword, two numbers, language and translated keyword."""
    is_packed, behind = content[18:19] == b"\1", content[20:].split(b"\0", 2)
    if len(behind) != 3:
        return None
    return inflated(behind[2], most=MAX_XMP_BYTES) if is_packed else behind[2]


def inflated(packed: bytes, *, most: int) -> bytes | None:
    """What was deflated, if it is whole and not longer than that."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(packed, most)
    except zlib.error:
        return None
    return content if inflater.eof else None
