"""TIFF files of every kind: depth, order of bytes, compression, layout, and what is refused."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from inference.decoding import decode
from inference.errors import (
    AnimatedImage,
    CorruptImage,
    ImageError,
    TooManyPixels,
    TruncatedImage,
    UnsupportedImage,
)
from inference.images import probe
from inference.picture import Picture
from tests.inference.drawings import MAX_PIXELS, file, scene


def written(samples: NDArray[Any], **options: Any) -> bytes:
    options.setdefault("photometric", "rgb" if samples.ndim == 3 else "minisblack")
    data = io.BytesIO()
    tifffile.imwrite(data, samples, **options)
    return data.getvalue()


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS, policy="strip_gps")


def samples(*shape: int, dtype: Any = np.uint16) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_samples_are_kept(
    shape: tuple[int, ...], dtype: Any, compression: str | None, bigtiff: bool, byteorder: str
) -> None:
    stored = samples(*shape, dtype=dtype)
    data = written(stored, compression=compression, bigtiff=bigtiff, byteorder=byteorder)
    picture = read(data)
    assert picture.colour.dtype == dtype
    assert np.array_equal(picture.colour, stored)
    info = probe(data, max_pixels=MAX_PIXELS)
    assert (info.format, info.width_px, info.height_px) == ("tiff", 7, 5)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
def test_common_compressions_are_read(compression: str) -> None:
    picture = read(file(scene(20, 12), "TIFF", compression=compression))
    assert np.array_equal(picture.colour, np.asarray(scene(20, 12)))


def test_jpeg_inside_is_read() -> None:
    picture = read(file(scene(32, 32), "TIFF", compression="jpeg"))
    assert np.abs(picture.colour.astype(int) - np.asarray(scene(32, 32), int)).mean() < 6


def test_tiles_and_planes_are_read() -> None:
    stored = samples(40, 50, 3)
    assert np.array_equal(read(written(stored, tile=(16, 16))).colour, stored)
    planes = written(stored.transpose(2, 0, 1), planarconfig="separate")
    assert np.array_equal(read(planes).colour, stored)


def test_white_may_be_zero() -> None:
    stored = samples(5, 7, dtype=np.uint8)
    assert np.array_equal(read(written(stored, photometric="miniswhite")).colour, 255 - stored)


def test_alpha_is_kept_and_colour_freed_from_it() -> None:
    stored = np.array([[[100, 50, 0, 128], [200, 200, 200, 255]]], np.uint8)
    plain = read(written(stored, extrasamples=["unassalpha"]))
    assert plain.alpha is not None
    assert np.array_equal(np.dstack((plain.colour, plain.alpha)), stored)
    freed = read(written(stored, extrasamples=["assocalpha"]))
    expected = [[[199, 100, 0], [200, 200, 200]]]
    assert np.abs(freed.colour.astype(int) - expected).max() <= 1
    assert freed.alpha is not None
    assert freed.alpha.tolist() == [[128, 255]]


def test_further_channels_are_not_shown() -> None:
    stored = samples(5, 7, 5)
    picture = read(written(stored, extrasamples=["unspecified", "unspecified"]))
    assert np.array_equal(picture.colour, stored[..., :3])
    assert picture.alpha is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks_keep_their_alpha(dtype: Any) -> None:
    full = np.iinfo(dtype).max
    stored = np.zeros((5, 7, 5), dtype)
    stored[..., 4] = full // 3
    picture = read(written(stored, photometric="separated", extrasamples=["unassalpha"]))
    assert picture.colour.dtype == dtype
    assert (picture.colour > full * 0.95).all()  # no ink is white
    assert picture.alpha is not None
    assert (picture.alpha == full // 3).all()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("lab", "srgb"),
    [((100, 0, 0), (255, 255, 255)), ((0, 0, 0), (0, 0, 0)), ((53.6, 0, 0), (128, 128, 128)),
     ((53.2, 80.1, 67.2), (255, 0, 0)), ((32.3, 79.2, -107.9), (0, 0, 255))],
)  # fmt: skip
def test_lab_becomes_srgb(
    lab: tuple[float, ...], srgb: tuple[int, ...], dtype: Any, byteorder: str
) -> None:
    full = np.iinfo(dtype).max
    half = full // 2 + 1
    opposed = [round(value / 128 * half) % (full + 1) for value in lab[1:]]
    stored = np.full((5, 7, 4), (round(lab[0] / 100 * full), *opposed, full // 3), dtype)
    picture = read(
        written(stored, photometric="cielab", extrasamples=["unassalpha"], byteorder=byteorder)
    )
    assert np.abs(picture.colour / (full / 255) - srgb).max() <= 3
    assert picture.colour.dtype == dtype
    assert picture.alpha is not None
    assert (picture.alpha == full // 3).all()


def test_a_fourth_sample_that_nothing_is_said_of_is_alpha() -> None:
    stored = samples(5, 7, 4)
    alpha = read(written(stored)).alpha
    assert alpha is not None
    assert np.array_equal(alpha, stored[..., 3])


def test_pages_are_refused_but_not_a_thumbnail() -> None:
    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        writer.write(samples(5, 7, 3), photometric="rgb")
        writer.write(samples(5, 7, 3), photometric="rgb")
    with pytest.raises(AnimatedImage):
        probe(pages.getvalue(), max_pixels=MAX_PIXELS)
    thumbnail = io.BytesIO()
    with tifffile.TiffWriter(thumbnail) as writer:
        writer.write(samples(50, 70, 3), photometric="rgb")
        writer.write(samples(5, 7, 3), photometric="rgb", subfiletype=1)
    assert probe(thumbnail.getvalue(), max_pixels=MAX_PIXELS).width_px == 70


def test_a_page_behind_a_thumbnail_is_a_page() -> None:
    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for kind in (0, 1, 0):
            writer.write(samples(5, 7, 3), photometric="rgb", subfiletype=kind)
    with pytest.raises(AnimatedImage):
        probe(pages.getvalue(), max_pixels=MAX_PIXELS)


def test_pages_in_a_circle_are_refused() -> None:
    data = header()
    circle = data.replace(bytes(4) + PIXELS, struct.pack("<I", 8) + PIXELS)
    with pytest.raises(AnimatedImage):
        probe(circle, max_pixels=MAX_PIXELS)


PIXELS = b"x" * 64


def header(*said: tuple[int, int]) -> bytes:
    """A grey TIFF of 8 x 8 pixels, 8 bits and one strip, unless something else is said."""
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 278: 8, 279: 64} | dict(said)
    pixels_at = 8 + 2 + 12 * (len(tags) + 1) + 4
    tags[273] = pixels_at
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + PIXELS


def test_the_plain_header_is_a_picture() -> None:
    assert (read(header()).colour == PIXELS[0]).all()


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (254, 1, "raw"), (50706, 1, "raw"),  # a thumbnail first, or a DNG
        (258, 12, "12 bits"), (259, 34925, "compression 34925"), (259, 6, "compression 6"),
        (262, 32803, "kind 32803"), (262, 4, "kind 4"), (277, 60_000, "60000 samples"),
        (339, 3, "floating"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_named(tag: int, value: int, message: str) -> None:
    with pytest.raises(UnsupportedImage, match=message):
        probe(header((tag, value)), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("photometric", [5, 6])
def test_rare_inks_and_bare_ycbcr_are_refused(photometric: int) -> None:
    said = ((262, photometric), (277, 4), (332, 2))
    with pytest.raises(UnsupportedImage, match="kind"):
        probe(header(*said), max_pixels=MAX_PIXELS)


def test_a_small_picture_in_a_huge_tile_is_refused() -> None:
    huge = ((322, 131_072), (323, 131_072), (324, 8), (325, 64))
    with pytest.raises(CorruptImage):
        probe(header(*huge), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("tag", [256, 258, 259, 262, 273, 277, 279])
def test_tags_without_a_value_are_corrupt(tag: int) -> None:
    data = header()
    at = data.index(struct.pack("<HHI", tag, 4, 1))
    with pytest.raises(CorruptImage):
        probe(data[: at + 4] + bytes(4) + data[at + 8 :], max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("said", [(278, 1), (257, 9), (278, 0)])
def test_a_picture_without_all_its_strips_is_corrupt(said: tuple[int, int]) -> None:
    with pytest.raises(CorruptImage):
        probe(header(said), max_pixels=MAX_PIXELS)


def test_a_picture_without_all_its_tiles_or_planes_is_corrupt() -> None:
    tiles = ((322, 16), (323, 16), (324, 8), (325, 64))
    assert probe(header(*tiles), max_pixels=MAX_PIXELS).width_px == 8
    for more in ((256, 17), (257, 17)):
        with pytest.raises(CorruptImage):
            probe(header(*tiles, more), max_pixels=MAX_PIXELS)
    with pytest.raises(CorruptImage):
        probe(header((262, 2), (277, 3), (284, 2)), max_pixels=MAX_PIXELS)


def test_thousands_of_tiles_side_by_side_are_refused() -> None:
    data = written(samples(16, 16 * 1025, dtype=np.uint8), tile=(16, 16))
    with pytest.raises(UnsupportedImage, match="1025 tiles"):
        probe(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("said", [(256, 0), (257, 0), (262, 2), (277, 0)])
def test_nonsense_in_the_header_is_corrupt(said: tuple[int, int]) -> None:
    with pytest.raises(CorruptImage):
        probe(header(said), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16, np.float16])
def test_samples_of_other_types_are_refused(dtype: Any) -> None:
    data = written(np.ones((5, 7), dtype))
    with pytest.raises(UnsupportedImage):
        probe(data, max_pixels=MAX_PIXELS)


def test_the_limit_of_pixels_holds() -> None:
    with pytest.raises(TooManyPixels, match="7 x 5"):
        read_at_most(written(samples(5, 7)), 34)


def read_at_most(data: bytes, max_pixels: int) -> Picture:
    return decode(data, max_pixels=max_pixels, policy="strip")


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bytearray(written(np.zeros((10, 10), np.uint8)))
    at = data.index(struct.pack("<HHII", 256, 4, 1, 10)) if (
        struct.pack("<HHII", 256, 4, 1, 10) in data) else data.index(
            struct.pack("<HHIHH", 256, 3, 1, 10, 0))  # fmt: skip
    data[at : at + 12] = struct.pack("<HHII", 256, 4, 1, 2**31 - 1)
    with pytest.raises(TooManyPixels):
        read(bytes(data))


@pytest.mark.parametrize("share", [0.99, 0.7, 0.4, 0.1])
def test_a_cut_file_is_refused(share: float) -> None:
    data = written(samples(30, 30, 3))
    with pytest.raises((TruncatedImage, CorruptImage)):
        read(data[: int(len(data) * share)])


def test_a_directory_that_leads_nowhere_is_refused() -> None:
    for data in (
        b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff",
        b"II+\0\x08\0\0\0" + b"\xff" * 8, b"II*\0\x08\0\0\0\x01\0\0\0",
    ):  # fmt: skip
        with pytest.raises(ImageError):
            probe(data, max_pixels=MAX_PIXELS)
