"""The outsides of image files: which format it is, and whether the file is all there.

Nothing is decoded here. Each walk steps over the parts of a file by their stated lengths.
"""

from typing import NamedTuple

from inference.errors import CorruptImage, NotAnImage, TruncatedImage
from inference.params import OutputFormat
from inference.tiff_header import is_tiff

MAX_PARTS = 65_536
"""More JPEG segments or PNG chunks than any honest file has."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RSTn: markers without a length
_SOS, _EOI, _FILL = 0xDA, 0xD9, 0xFF


class Container(NamedTuple):
    """A complete file. `late_exif` is a PNG's eXIf chunk, which may follow the pixels.

    A TIFF's parts may lie anywhere; whether they are there shows when they are read.
    """

    format: OutputFormat
    late_exif: bytes | None = None


def inspect(data: bytes) -> Container:
    """What kind of file this is. Raises `NotAnImage`, `TruncatedImage` or `CorruptImage`."""
    if data.startswith(b"\xff\xd8\xff"):
        _walk_jpeg(data)
        return Container("jpg")
    if data.startswith(_PNG_SIGNATURE):
        return Container("png", late_exif=_walk_png(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise TruncatedImage
        return Container("webp")
    if is_tiff(data):
        return Container("tiff")
    raise NotAnImage


def _walk_jpeg(data: bytes) -> None:
    """From segment to segment up to the first scan; behind it an end marker must follow.

    Inside a scan 0xFF is always followed by 0x00 or by a marker, so the end cannot be mistaken.
    """
    at = 2
    for _ in range(MAX_PARTS):
        if at + 4 > len(data):
            raise TruncatedImage
        if data[at] != 0xFF:
            raise CorruptImage
        marker = data[at + 1]
        if marker == _SOS:
            if data.find(bytes((0xFF, _EOI)), at) < 0:
                raise TruncatedImage
            return
        if marker == _FILL:
            at += 1
        elif marker in _JPEG_STANDALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise CorruptImage


def _walk_png(data: bytes) -> bytes | None:
    """From chunk to chunk up to IEND; the eXIf chunk's content, if there is one."""
    exif = None
    at = len(_PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            raise TruncatedImage
        kind = data[at + 4 : at + 8]
        if kind == b"IEND":
            return exif
        if kind == b"eXIf":
            exif = data[at + 8 : at + 8 + length]
        at = end
    raise CorruptImage
