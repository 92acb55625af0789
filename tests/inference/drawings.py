"""Pictures that the tests draw for themselves, the files they go into, and broken files."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]

MAX_PIXELS = 1_000_000


def scene(width: int, height: int) -> Image.Image:
    """Soft shades, hard edges, lines and letters: drawn four times too large, then reduced."""
    across, down = np.meshgrid(np.linspace(0, 1, width * 4), np.linspace(0, 1, height * 4))
    shades = np.stack((across, down, 1 - across * down), axis=2)
    image = Image.fromarray((shades * 120 + 80).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for i in range(3):
        x, y = width * (i + 1), height * (3 - i)
        pen.ellipse((x - 90, y - 90, x + 90, y + 90), fill=(80 + 50 * i, 60, 200 - 50 * i))
        pen.line((x, 0, width * 4 - y, height * 4), fill=(230, 210 - 40 * i, 90), width=14)
        pen.text((8, y), "Enlarger", fill=(40, 30, 60), font_size=90)
    return image.resize((width, height), Image.Resampling.BOX)


def noise(*shape: int) -> Pixels:
    """Repeatable noise: the hardest thing to hide a seam in."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def file(image: Image.Image, format_: str, **options: Any) -> bytes:
    """The picture as Pillow's format of that name."""
    data = io.BytesIO()
    image.save(data, format_, **options)
    return data.getvalue()


def opened(data: bytes) -> Image.Image:
    """A file's picture as Pillow sees it, loaded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def png(
    width: int,
    height: int,
    *,
    depth: int,
    colour_type: int,
    rows: bytes,
    key: bytes = b"",
    interlace: bool = False,
    late: bytes = b"",
) -> bytes:
    """A PNG file written by hand; `key` is its tRNS chunk, `late` a chunk to follow the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlace))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), late, chunk(b"IEND", b"")]
    if key:
        parts.insert(1, chunk(b"tRNS", key))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def turned(orientation: int) -> Image.Exif:
    """EXIF with an orientation, a place and a camera."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 24.0)
    return exif


def icc(space: bytes, tags: dict[bytes, bytes], *, connection: bytes = b"XYZ ") -> bytes:
    """A minimal ICC version 2 profile of a colour space."""
    table, body = b"", b""
    at = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    white = struct.pack(">iii", 63_190, 65_536, 54_061)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4s8sI12s48s",
        at + len(body), b"\0\0\0\0", 0x02100000, b"prtr", space, connection, bytes(12), b"acsp",
        bytes(4), 0, bytes(4), bytes(4), bytes(8), 0, white, bytes(48),
    )  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body


def grey_icc(gamma: float) -> bytes:
    """A grey profile with a plain gamma."""
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63_190, 65_536, 54_061)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return icc(b"GRAY", {b"wtpt": white, b"kTRC": curve})


def cmyk_icc(lightness: int) -> bytes:
    """A CMYK profile that says every ink is the same neutral grey of this Lab lightness, 0..255."""
    identity = [struct.pack(">i", 65_536 if i % 4 == 0 else 0) for i in range(9)]
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + b"".join(identity) + ramp * 4
    table += bytes((lightness, 128, 128)) * 2**4 + ramp * 3
    return icc(b"CMYK", {b"A2B0": table}, connection=b"Lab ")


def silent(done: int, every: int) -> None:
    """Progress that nobody watches."""
