"""Pixels out of files: modes, depths, orientation, profiles, and damage."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from inference.decoding import decode
from inference.errors import CorruptImage
from inference.picture import Picture
from tests.inference.drawings import (
    MAX_PIXELS,
    chunk,
    cmyk_icc,
    file,
    grey_icc,
    noise,
    png,
    scene,
    turned,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS, policy="strip_gps")


def decoded(image: Image.Image, format_: str = "PNG", **options: Any) -> Picture:
    return read(file(image, format_, **options))


def grey() -> Image.Image:
    return Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_upright(format_: str, orientation: int) -> None:
    upright = noise(3, 5)
    stored = {
        1: upright, 2: np.fliplr(upright), 3: np.rot90(upright, 2), 4: np.flipud(upright),
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    image = Image.fromarray(np.ascontiguousarray(stored))
    assert np.array_equal(decoded(image, format_, exif=turned(orientation)).colour, upright)


def test_grey_and_alpha_are_kept() -> None:
    picture = decoded(grey())
    assert np.array_equal(picture.colour, np.asarray(grey()))
    assert picture.alpha is None
    both = decoded(Image.merge("LA", (grey(), grey().rotate(180))))
    assert np.array_equal(both.colour, np.asarray(grey()))
    assert both.alpha is not None
    assert np.array_equal(both.alpha, np.asarray(grey().rotate(180)))
    rgba = Image.fromarray(noise(3, 4, 4))
    picture = decoded(rgba)
    assert picture.alpha is not None
    assert np.array_equal(np.dstack((picture.colour, picture.alpha)), np.asarray(rgba))


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_one_bit_is_black_and_white(format_: str) -> None:
    assert set(decoded(grey().convert("1"), format_).colour.flat) == {0, 255}


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_of_a_png_are_kept(colour_type: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 65_536, (3, 5, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    picture = read(png(5, 3, depth=16, colour_type=colour_type, rows=rows))
    assert picture.colour.dtype == np.uint16
    alpha = [] if picture.alpha is None else [picture.alpha]
    assert np.array_equal(np.dstack([picture.colour, *alpha]), samples)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth_becomes_alpha(depth: int, interlace: bool) -> None:
    most = 2**depth - 1
    data = keyed_grey(most // 2, depth=depth, interlace=interlace)
    picture = read(data)
    assert picture.alpha is not None
    full = 65_535 if depth == 16 else 255
    assert picture.alpha.tolist() == [[0, full]]
    assert picture.colour[0, 1] == full


def keyed_grey(key: int, *, depth: int, interlace: bool) -> bytes:
    """Two grey pixels, the first of which is transparent, the second white."""
    most = 2**depth - 1
    if depth == 16:
        packed = key.to_bytes(2, "big") + most.to_bytes(2, "big")
    elif depth == 8:
        packed = bytes((key, most))
    else:
        packed = bytes([(key << (8 - depth)) | (most << (8 - 2 * depth))])
    if interlace:  # the first pixel is in the first pass, the second one in the sixth
        half = packed[: len(packed) // 2] if depth >= 8 else bytes([(key << (8 - depth)) & 255])
        rest = packed[len(packed) // 2 :] if depth >= 8 else bytes([(most << (8 - depth)) & 255])
        rows = b"\0" + half + b"\0" + rest
    else:
        rows = b"\0" + packed
    return png(2, 1, depth=depth, colour_type=0, rows=rows, key=key.to_bytes(2, "big"),
               interlace=interlace)  # fmt: skip


@pytest.mark.parametrize("image", [grey(), grey().convert("RGB"), Image.fromarray(
    np.array([[0, 257 * 40]], np.uint16))])  # fmt: skip
def test_a_transparent_colour_becomes_alpha(image: Image.Image) -> None:
    key = {"L": 40, "RGB": (40, 40, 40), "I;16": 257 * 40}[image.mode]
    picture = decoded(image, transparency=key)
    assert picture.alpha is not None
    hidden = (
        picture.colour.reshape(*picture.alpha.shape, -1)[..., 0] == key
        if (image.mode == "I;16")
        else picture.colour.reshape(*picture.alpha.shape, -1)[..., 0] == 40
    )
    assert np.array_equal(picture.alpha == 0, hidden)
    assert hidden.any()


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_palettes_become_colours(format_: str) -> None:
    indexed = scene(8, 8).quantize(4)
    assert np.array_equal(decoded(indexed, format_).colour, np.asarray(indexed.convert("RGB")))


def test_a_palettes_transparency_becomes_alpha() -> None:
    seen = decoded(scene(8, 8).quantize(4), transparency=bytes((0, 128, 255, 255))).alpha
    assert seen is not None
    assert {0, 128} < set(seen.flat)


def test_an_index_beyond_the_palette_is_some_colour_of_it() -> None:
    palette = chunk(b"PLTE", b"abcdef")
    plain = png(2, 1, depth=8, colour_type=3, rows=b"\0\0\5")
    assert read(plain[:33] + palette + plain[33:]).colour[0, 0].tolist() == [*b"abc"]
    with pytest.raises(CorruptImage):
        read(plain)  # no palette at all


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_by_its_profile(format_: str) -> None:
    inks = Image.new("CMYK", (8, 8), (200, 30, 60, 10))
    by_profile = decoded(inks, format_, icc_profile=cmyk_icc(128))
    assert np.ptp(by_profile.colour[0, 0].astype(int)) <= 1  # the profile calls every ink grey
    assert by_profile.metadata.icc is None


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
@pytest.mark.parametrize("icc", [None, b"junk" * 50, SRGB, cmyk_icc(128)[:200]])
def test_cmyk_without_a_usable_profile_becomes_rgb_all_the_same(
    format_: str, icc: bytes | None
) -> None:
    inks = Image.new("CMYK", (8, 8), (200, 30, 60, 10))
    picture = decoded(inks, format_, icc_profile=icc)
    red, green, blue = picture.colour[0, 0]
    assert red < 60 < min(green, blue)
    assert picture.metadata.icc is None


def test_inks_may_be_stored_the_other_way_round() -> None:
    """Adobe's programs invert them, and say so in a marker; YCCK is made of inverted ones."""
    inks = Image.new("CMYK", (8, 8), (200, 30, 60, 10))
    data = file(inks, "JPEG", quality=95)
    at = data.index(b"\xff\xee\x00\x0eAdobe")
    inverted = decoded(inks, "JPEG", quality=95).colour[0, 0].astype(int)
    straight = read(data[:at] + data[at + 16 :]).colour[0, 0].astype(int)
    plain = decoded(inks, "TIFF").colour[0, 0].astype(int)
    assert np.abs(inverted - plain).max() <= 4
    assert np.abs(straight - plain).max() > 60


def test_a_profile_whose_tables_are_nonsense_is_not_used() -> None:
    icc = cmyk_icc(128)
    icc = icc[:-600] + bytes(len(icc[-600:]))
    spoiled = icc.replace(b"mft1", b"mft9")
    inks = Image.new("CMYK", (8, 8), (200, 30, 60, 10))
    picture = decoded(inks, "TIFF", icc_profile=spoiled)
    assert np.array_equal(picture.colour, decoded(inks, "TIFF").colour)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_is_kept(format_: str) -> None:
    assert decoded(scene(8, 8), format_, icc_profile=SRGB).metadata.icc == SRGB


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_a_grey_profile_is_kept(format_: str) -> None:
    assert decoded(grey(), format_, icc_profile=grey_icc(1.0)).metadata.icc == grey_icc(1.0)


def test_a_profile_of_another_colour_space_is_dropped() -> None:
    assert decoded(grey(), icc_profile=SRGB).metadata.icc is None
    assert decoded(scene(8, 8), icc_profile=b"junk" * 50).metadata.icc is None


@pytest.mark.parametrize(
    ("format_", "part"), [("PNG", b"IDAT"), ("JPEG", b"\xff\xc4"), ("WEBP", b"VP8 ")]
)
def test_damage_inside_is_corrupt(format_: str, part: bytes) -> None:
    data = file(scene(64, 64), format_)
    at = data.index(part) + 8
    with pytest.raises(CorruptImage):
        read(data[:at] + bytes([255]) * 40 + data[at + 40 :])


def test_bad_checksums_are_corrupt() -> None:
    data = bytearray(png(2, 1, depth=8, colour_type=0, rows=b"\0ab"))
    for at in (29, len(data) - 13):  # IHDR's and IDAT's
        damaged = data.copy()
        damaged[at] ^= 1
        with pytest.raises(CorruptImage):
            read(bytes(damaged))


def test_too_few_and_too_many_rows() -> None:
    with pytest.raises(CorruptImage):
        read(png(2, 3, depth=8, colour_type=0, rows=b"\0ab"))
    assert read(png(2, 1, depth=8, colour_type=0, rows=b"\0ab" * 9)).colour.tolist() == [[97, 98]]


def test_progressive_pictures_are_read_like_plain_ones() -> None:
    plain = decoded(scene(40, 24), "JPEG").colour
    assert np.array_equal(decoded(scene(40, 24), "JPEG", progressive=True).colour, plain)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_single_pixel_keeps_its_shape(mode: str, format_: str) -> None:
    picture = decoded(Image.new(mode, (1, 1)), format_)
    is_grey = mode == "L" and format_ != "WEBP"
    assert picture.colour.shape == ((1, 1) if is_grey else (1, 1, 3))
