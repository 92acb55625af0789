"""Files that nobody meant well with: a picture or a refusal, and never anything else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.decoding import decode
from inference.errors import ImageError
from inference.images import probe
from tests.inference.drawings import file, scene, turned

WIDTH, HEIGHT = 24, 16
FILES = {
    "jpeg": file(scene(WIDTH, HEIGHT), "JPEG", exif=turned(6), dpi=(72, 72)),
    "progressive": file(scene(WIDTH, HEIGHT), "JPEG", progressive=True),
    "cmyk": file(scene(WIDTH, HEIGHT).convert("CMYK"), "JPEG"),
    "png": file(scene(WIDTH, HEIGHT), "PNG", exif=turned(3), dpi=(72, 72)),
    "palette": file(scene(WIDTH, HEIGHT).quantize(16), "PNG", transparency=3),
    "webp": file(scene(WIDTH, HEIGHT), "WEBP", exif=turned(5)),
    "tiff": file(scene(WIDTH, HEIGHT), "TIFF", exif=turned(8), dpi=(72, 72)),
    "lzw": file(scene(WIDTH, HEIGHT), "TIFF", compression="tiff_lzw"),
}

changes = st.tuples(st.integers(0, 10**6), st.integers(0, 255))


def outcome(data: bytes) -> None:
    """Both readings end in a picture of the same size, or in a refusal."""
    try:
        info = probe(data, max_pixels=100_000)
        picture = decode(data, max_pixels=100_000, policy="strip_gps")
    except ImageError:
        return
    assert picture.colour.shape[:2] == (info.height_px, info.width_px)
    assert picture.colour.dtype in (np.uint8, np.uint16)


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=150)
@given(
    places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_changed_bytes(name: str, places: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[name])
    for place, value in places:
        data[place % len(data)] = value
    outcome(bytes(data))


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=60)
@given(start=st.integers(0, 10**6), length=st.integers(1, 400))
def test_missing_bytes(name: str, start: int, length: int) -> None:
    data = FILES[name]
    start %= len(data)
    outcome(data[:start] + data[start + length :])


@pytest.mark.parametrize("name", FILES)
def test_every_length(name: str) -> None:
    data = FILES[name]
    for length in range(0, len(data), max(1, len(data) // 60)):
        outcome(data[:length])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_smallest_pictures(format_: str, size: tuple[int, int]) -> None:
    data = file(scene(40, 40).resize(size), format_)
    picture = decode(data, max_pixels=1000, policy="strip_gps")
    assert picture.colour.shape[:2] == size[::-1]
