"""A reader of PNG files that accepts no deviation; without Pillow and without our encoder."""

import zlib
from typing import NamedTuple

import numpy as np

from inference.picture import Samples

_CHANNELS = {0: 1, 4: 2, 2: 3, 6: 4}


class StrictPng(NamedTuple):
    """The samples, (h, w, channels), and every chunk in order."""

    samples: Samples
    chunks: list[tuple[bytes, bytes]]


def read_png(data: bytes) -> StrictPng:
    """Every length and checksum is checked, and that the stream fills the picture exactly."""
    chunks = _chunks(data)
    kinds = [kind for kind, _ in chunks]
    assert kinds[0] == b"IHDR"
    assert kinds.index(b"IEND") == len(kinds) - 1
    pixels = [number for number, kind in enumerate(kinds) if kind == b"IDAT"]
    assert pixels == list(range(pixels[0], pixels[-1] + 1))
    header = dict(chunks)[b"IHDR"]
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4))
    bits, colour_type, *rest = header[8:]
    assert rest == [0, 0, 0]
    inflate = zlib.decompressobj()
    stream = inflate.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    assert inflate.eof
    assert not inflate.unused_data
    pixel_bytes = _CHANNELS[colour_type] * bits // 8
    rows = np.frombuffer(stream, np.uint8).reshape(height, 1 + width * pixel_bytes)
    samples = _unfiltered(rows, pixel_bytes).view(f">u{bits // 8}")
    native = samples.astype(f"=u{bits // 8}")
    return StrictPng(native.reshape(height, width, _CHANNELS[colour_type]), chunks)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert int.from_bytes(data[at + 8 + size : at + 12 + size], "big") == zlib.crc32(
            kind + content
        )
        chunks.append((kind, content))
        at += 12 + size
    return chunks


def _unfiltered(rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]], step: int) -> Samples:
    """Byte by byte, as the specification's section 9.2 says."""
    upper = [0] * (rows.shape[1] - 1)
    plain = np.empty((len(rows), rows.shape[1] - 1), np.uint8)
    for number, (kind, *row) in enumerate(rows.tolist()):
        for at in range(len(row)):
            left = row[at - step] if at >= step else 0
            guess = {0: 0, 1: left, 2: upper[at], 3: (left + upper[at]) // 2}[kind]
            row[at] = (row[at] + guess) & 0xFF
        plain[number], upper = row, row
    return plain
