"""Pixels out of files and into files: modes, orientation, profiles, and what is left behind."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from inference.errors import CorruptImage, OutputTooLarge
from inference.images import Picture, decode, encode
from inference.params import OutputFormat
from tests.inference.drawings import (
    MAX_PIXELS,
    cmyk_icc,
    file,
    grey_icc,
    noise,
    opened,
    png,
    scene,
    turned,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS: tuple[OutputFormat, ...] = ("jpg", "png", "webp")


def decoded(image: Image.Image, format_: str = "PNG", **options: Any) -> Picture:
    return decode(file(image, format_, **options), max_pixels=MAX_PIXELS)


def grey() -> Image.Image:
    return Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_upright(orientation: int) -> None:
    upright = noise(3, 5)
    stored = {
        1: upright, 2: np.fliplr(upright), 3: np.rot90(upright, 2), 4: np.flipud(upright),
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    image = Image.fromarray(np.ascontiguousarray(stored))
    assert np.array_equal(decoded(image, exif=turned(orientation)).colour, upright)


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


def test_one_bit_is_black_and_white() -> None:
    assert set(decoded(grey().convert("1")).colour.flat) == {0, 255}


def test_sixteen_bits_are_rounded_to_eight() -> None:
    sixteen = Image.fromarray(np.array([[0, 128, 129, 65_535]], np.uint16))
    assert decoded(sixteen).colour.tolist() == [[0, 0, 1, 255]]
    rgb = png(1, 1, depth=16, colour_type=2, rows=b"\0\x12\x34\x80\0\xff\xff")
    assert decode(rgb, max_pixels=1).colour.tolist() == [[[0x12, 0x80, 0xFF]]]


@pytest.mark.parametrize("image", [grey(), grey().convert("RGB"), Image.fromarray(
    np.array([[0, 257 * 40]], np.uint16))])  # fmt: skip
def test_a_transparent_colour_becomes_alpha(image: Image.Image) -> None:
    key = {"L": 40, "RGB": (40, 40, 40), "I;16": 257 * 40}[image.mode]
    picture = decoded(image, transparency=key)
    assert picture.alpha is not None
    hidden = picture.colour.reshape(*picture.alpha.shape, -1)[..., 0] == 40
    assert np.array_equal(picture.alpha == 0, hidden)
    assert hidden.any()


def test_palettes_become_colours_and_alpha() -> None:
    indexed = scene(8, 8).quantize(4)
    picture = decoded(indexed)
    assert np.array_equal(picture.colour, np.asarray(indexed.convert("RGB")))
    seen = decoded(indexed, transparency=bytes((0, 128, 255, 255))).alpha
    assert seen is not None
    assert {0, 128} < set(seen.flat)


def test_cmyk_becomes_srgb_by_its_profile() -> None:
    inks = Image.new("CMYK", (8, 8), (200, 30, 60, 10))
    by_profile = decoded(inks, "JPEG", icc_profile=cmyk_icc(128))
    assert np.ptp(by_profile.colour[0, 0].astype(int)) <= 1  # the profile calls every ink grey
    assert by_profile.icc is None


@pytest.mark.parametrize("icc", [None, b"junk" * 50, SRGB, cmyk_icc(128)[:200]])
def test_cmyk_without_a_usable_profile_becomes_rgb_all_the_same(icc: bytes | None) -> None:
    inks = Image.new("CMYK", (8, 8), (200, 30, 60, 10))
    picture = decoded(inks, "JPEG", icc_profile=icc)
    red, green, blue = picture.colour[0, 0]
    assert red < blue < green
    assert picture.icc is None


@pytest.mark.parametrize("format_", FORMATS)
def test_a_profile_survives(format_: OutputFormat) -> None:
    picture = decoded(scene(8, 8), icc_profile=SRGB)
    assert opened(encode(picture, format_=format_)).info["icc_profile"] == SRGB


def test_a_grey_profile_survives_where_grey_does() -> None:
    icc = grey_icc(1.0)
    picture = decoded(grey(), icc_profile=icc)
    assert opened(encode(picture, format_="png")).info["icc_profile"] == icc
    webp = opened(encode(picture, format_="webp"))
    assert "icc_profile" not in webp.info
    lighter = np.asarray(webp.convert("L"), int)[1, 1] - picture.colour[1, 1]
    assert lighter > 30  # a gamma of 1 made dark values light, and WebP holds them as sRGB


def test_a_profile_of_another_colour_space_is_dropped() -> None:
    assert decoded(grey(), icc_profile=SRGB).icc is None
    assert decoded(scene(8, 8), icc_profile=b"junk" * 50).icc is None


@pytest.mark.parametrize("format_", FORMATS)
def test_no_exif_goes_out(format_: OutputFormat) -> None:
    source = decoded(scene(8, 8), "JPEG", exif=turned(6), comment=b"SecretComment")
    data = encode(source, format_=format_)
    assert not opened(data).getexif()
    assert b"Secret" not in data


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_png_keeps_every_value(mode: str) -> None:
    image = Image.frombytes(mode, (5, 3), noise(3, 5, len(mode)).tobytes())
    again = opened(encode(decoded(image), format_="png"))
    assert again.mode == mode
    assert again.tobytes() == image.tobytes()


def test_jpeg_shows_transparency_on_white_and_keeps_full_chroma() -> None:
    rgba = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    rgba.paste((255, 0, 0, 255), (8, 0, 16, 16))
    shown = opened(encode(decoded(rgba), format_="jpg"))
    assert np.abs(np.asarray(shown, int)[:, :8] - 255).max() <= 2
    assert np.abs(np.asarray(shown, int)[:, 8:] - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("format_", ["png", "webp"])
def test_alpha_is_kept(format_: OutputFormat) -> None:
    alpha = noise(8, 8)
    data = encode(Picture(np.asarray(scene(8, 8)), alpha), format_=format_)
    assert np.array_equal(np.asarray(opened(data))[..., 3], alpha)


def test_what_is_too_long_for_the_format_is_not_encoded() -> None:
    with pytest.raises(OutputTooLarge):
        encode(Picture(np.zeros((1, 16_384), np.uint8)), format_="webp")


@pytest.mark.parametrize(
    ("format_", "part"), [("PNG", b"IDAT"), ("JPEG", b"\xff\xc4"), ("WEBP", b"VP8 ")]
)
def test_damage_inside_is_corrupt(format_: str, part: bytes) -> None:
    data = file(scene(64, 64), format_)
    at = data.index(part) + 8
    with pytest.raises(CorruptImage):
        decode(data[:at] + bytes([255]) * 40 + data[at + 40 :], max_pixels=MAX_PIXELS)
