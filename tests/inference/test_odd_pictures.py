"""Files that nobody meant well with: a picture or a refusal, and never anything else."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inference.containers import MAX_EXIF_PARTS, MAX_SCANS
from inference.decoding import decode
from inference.errors import CorruptImage, ImageError
from inference.images import probe
from inference.params import MetadataPolicy
from tests.inference.drawings import chunk, cmyk_icc, file, noise, png, scene, turned

WIDTH, HEIGHT = 24, 16
PICTURE = scene(WIDTH, HEIGHT)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
)


def tiff(samples: Any, **options: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, samples, **options)
    return data.getvalue()


def deep_png(colour_type: int, channels: int, *parts: bytes) -> bytes:
    """Of 16 bits, with further chunks behind the pixels."""
    rows = b"".join(b"\0" + row.tobytes() for row in noise(HEIGHT, WIDTH * channels * 2))
    late = b"".join(parts)
    return png(WIDTH, HEIGHT, depth=16, colour_type=colour_type, rows=rows, late=late)


FILES = {
    "jpeg": file(PICTURE, "JPEG", exif=turned(6), dpi=(72, 72), xmp=XMP),
    "grey jpeg": file(PICTURE.convert("L"), "JPEG"),
    "progressive": file(PICTURE, "JPEG", progressive=True),
    "inks": file(PICTURE.convert("CMYK"), "JPEG", icc_profile=cmyk_icc(100)),
    "two pictures": file(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
    "png": file(PICTURE, "PNG", exif=turned(3), dpi=(72, 72)),
    "palette": file(PICTURE.quantize(16), "PNG", transparency=3),
    "grey and alpha": file(PICTURE.convert("LA"), "PNG"),
    "two bits": png(4, 1, depth=2, colour_type=0, rows=b"\0\x1b", key=b"\0\2"),
    "interlaced": png(1, 1, depth=8, colour_type=2, rows=b"\0abc", interlace=True),
    "deep": deep_png(
        6, 4, chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cICP", bytes((9, 1, 0, 1))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    ),
    "deep grey": deep_png(0, 1, chunk(b"eXIf", turned(7).tobytes()[6:])),
    "webp": file(PICTURE, "WEBP", exif=turned(5), xmp=XMP),
    "lossless webp": file(PICTURE.convert("RGBA"), "WEBP", lossless=True),
    "tiff": file(PICTURE, "TIFF", exif=turned(8), dpi=(72, 72)),
    "lzw": file(PICTURE, "TIFF", compression="tiff_lzw"),
    "jpeg in tiff": file(PICTURE, "TIFF", compression="jpeg"),
    "fax": file(PICTURE.convert("1"), "TIFF", compression="group4"),
    "big tiff": tiff(noise(20, 30, 4), bigtiff=True, byteorder=">", tile=(16, 16)),
    "lab": tiff(noise(20, 30, 3), photometric="cielab", compression="deflate"),
    "deep inks": tiff(noise(9, 9, 5).astype(np.uint16) * 257, photometric="separated"),
}  # fmt: skip


def outcome(data: bytes, *, policy: MetadataPolicy = "keep") -> None:
    """Both readings end in a picture of the same size, or in a refusal."""
    try:
        info = probe(data, max_pixels=100_000)
    except ImageError as error:
        with pytest.raises(type(error)):
            decode(data, max_pixels=100_000, policy=policy)
        return
    try:
        picture = decode(data, max_pixels=100_000, policy=policy)
    except ImageError:
        return
    assert picture.colour.shape[:2] == (info.height_px, info.width_px)
    assert picture.colour.dtype in (np.uint8, np.uint16)
    if picture.alpha is not None:
        assert picture.alpha.shape == picture.colour.shape[:2]
        assert picture.alpha.dtype == picture.colour.dtype


@pytest.mark.parametrize("name", FILES)
def test_unchanged_they_are_pictures(name: str) -> None:
    data = FILES[name]
    assert decode(data, max_pixels=100_000, policy="keep").colour.size
    outcome(data)


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=80)
@given(
    places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_changed_bytes(name: str, places: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[name])
    for place, value in places:
        data[place % len(data)] = value
    outcome(bytes(data))


@pytest.mark.parametrize("name", [name for name, data in FILES.items() if data[:4] == b"\x89PNG"])
@settings(deadline=None, max_examples=80)
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_changed_bytes_with_checksums_that_agree(name: str, places: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[name])
    for place, value in places:
        data[place % len(data)] = value
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    outcome(bytes(data))


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=30)
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


def behind_the_start(part: bytes, times: int) -> bytes:
    """A JPEG with the same part many times over."""
    return FILES["grey jpeg"][:2] + part * times + FILES["grey jpeg"][2:]


def test_exif_in_a_thousand_parts_is_refused() -> None:
    part = b"\xff\xe1\0\x0aExif\0\0ab"
    probe(behind_the_start(part, MAX_EXIF_PARTS), max_pixels=1000)
    with pytest.raises(CorruptImage):
        probe(behind_the_start(part, MAX_EXIF_PARTS + 1), max_pixels=1000)


def test_a_thousand_scans_are_refused() -> None:
    data = FILES["progressive"]
    end = data.rindex(b"\xff\xd9")
    last = data[data.rindex(b"\xff\xda") : end]
    probe(data[:end] + last * 50 + data[end:], max_pixels=1000)
    with pytest.raises(CorruptImage):
        probe(data[:end] + last * MAX_SCANS + data[end:], max_pixels=1000)


@pytest.mark.parametrize("process", [*range(0xC1, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC)])
def test_jpegs_of_rare_processes(process: int) -> None:
    """Arithmetic, lossless, hierarchical: the frame's marker says so, whatever follows it."""
    outcome(FILES["jpeg"].replace(b"\xff\xc0", bytes((0xFF, process))))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_parts_that_inflate_to_gigabytes_are_not_inflated(kind: bytes) -> None:
    part = chunk(kind, b"x\0\0" + zlib.compress(bytes(10**6)))
    plain = png(2, 1, depth=8, colour_type=0, rows=b"\0ab")
    outcome(plain[:33] + part * 5000 + plain[33:])


def test_huge_exif_is_left_out_and_the_picture_is_not() -> None:
    late = chunk(b"eXIf", b"II*\0\x08\0\0\0" + bytes(3_000_000))
    data = png(2, 1, depth=8, colour_type=0, rows=b"\0ab", late=late)
    picture = decode(data, max_pixels=10, policy="keep")
    assert picture.colour.tolist() == [[97, 98]]
    assert picture.metadata.exif is None


def test_a_name_is_not_what_a_file_is() -> None:
    """Nothing but the first bytes says it; a picture within a picture's comment is no picture."""
    with pytest.raises(ImageError):
        probe(b"GIF89a" + FILES["png"], max_pixels=1000)
    assert probe(FILES["png"] + FILES["jpeg"], max_pixels=1000).format == "png"


def test_an_animation_of_one_frame_is_still() -> None:
    plain = png(2, 1, depth=8, colour_type=0, rows=b"\0ab")
    still = plain[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + plain[33:]
    assert probe(still, max_pixels=1000).width_px == 2
    assert Image.open(io.BytesIO(still)).size == (2, 1)
