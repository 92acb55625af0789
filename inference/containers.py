"""The outsides of image files: which format it is, and whether the file is all there.

Nothing is decoded here.
"""

from inference.errors import CorruptImage, NotAnImage, TruncatedImage
from inference.params import OutputFormat
from inference.png_header import SIGNATURE
from inference.tiff_directory import begins_as_tiff

MAX_PARTS = 65_536
MAX_EXIF_PARTS = 16
MAX_SCANS = 100
"""More segments, parts of EXIF and scans than any honest JPEG has.

Decoders work through the whole picture for every scan, and copy all of EXIF for every part.
"""

_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RSTn: markers without a length
_SOS, _EOI, _FILL, _APP1 = 0xDA, 0xD9, 0xFF, 0xE1


def inspect(data: bytes) -> OutputFormat:
    """What kind of file this is. Raises `NotAnImage`, `TruncatedImage` or `CorruptImage`.

    Of PNG and TIFF only the beginning is looked at: what is missing shows when their headers are
    read.
    """
    if data.startswith(b"\xff\xd8\xff"):
        _walk_jpeg(data)
        return "jpg"
    if data.startswith(SIGNATURE):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise TruncatedImage
        return "webp"
    if begins_as_tiff(data):
        return "tiff"
    raise NotAnImage


def _walk_jpeg(data: bytes) -> None:
    """From segment to segment up to the first scan; behind it an end marker must follow.

    Inside a scan 0xFF is always followed by 0x00 or by a marker, so the end cannot be mistaken.
    """
    at, exif_parts = 2, 0
    for _ in range(MAX_PARTS):
        if at + 4 > len(data):
            raise TruncatedImage
        if data[at] != 0xFF:
            raise CorruptImage
        marker = data[at + 1]
        if marker == _SOS:
            if data.find(bytes((0xFF, _EOI)), at) < 0:
                raise TruncatedImage
            if exif_parts > MAX_EXIF_PARTS or data.count(bytes((0xFF, _SOS)), at) > MAX_SCANS:
                raise CorruptImage
            return
        if marker == _FILL:
            at += 1
        elif marker in _JPEG_STANDALONE:
            at += 2
        else:
            exif_parts += marker == _APP1 and data[at + 4 : at + 8] == b"Exif"
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise CorruptImage
