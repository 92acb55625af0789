"""Picture files for tests: headers that promise much, sides that are turned, files that are cut."""

import io
import struct
import zlib

from PIL import Image

_ORIENTATION_TAG = 0x0112


def promised(width_px: int, height_px: int) -> bytes:
    """A whole PNG file that says it has that many pixels, though it holds none of them."""
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def encoded(width_px: int, height_px: int, *, kind: str, orientation: int = 1) -> bytes:
    """A black picture, stored with those sides and an EXIF orientation."""
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (width_px, height_px)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
