"""Profiles: which ones are believed, and what a PNG's chunks about colour become."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from inference import profiles
from inference.decoding import decode
from inference.errors import UnsupportedImage
from inference.images import probe
from inference.picture import Picture
from inference.png_header import MAX_ICC_BYTES
from inference.profiles import Curve, Primaries, kept, of_primaries
from tests.inference.drawings import MAX_PIXELS, chunk, cmyk_icc, grey_icc, icc, png

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SRGB_CHRM = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
P3_CHRM = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)


def rgb(*said: tuple[bytes, bytes], colour_type: int = 2) -> bytes:
    """A PNG of one orange, or grey, pixel with these chunks."""
    rows = b"\0" + bytes((200, 100, 50))[: 3 if colour_type == 2 else 1]
    plain = png(1, 1, depth=8, colour_type=colour_type, rows=rows)
    at = 8 + 25  # behind IHDR
    return plain[:at] + b"".join(chunk(*each) for each in said) + plain[at:]


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS, policy="strip")


def shown(data: bytes) -> list[int]:
    """The pixel in sRGB, by the profile that came out, as a colour management system has it."""
    picture = read(data)
    assert picture.metadata.icc is not None
    image = Image.fromarray(picture.colour)
    made = ImageCms.profileToProfile(
        image, io.BytesIO(picture.metadata.icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert made is not None
    return [int(value) for value in np.asarray(made)[0, 0]]


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def places(*values: int) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *values)


def test_whole_profiles_of_the_right_space_are_kept() -> None:
    assert kept(SRGB, space=b"RGB ") == SRGB
    assert kept(grey_icc(1.0), space=b"GRAY") == grey_icc(1.0)
    assert kept(cmyk_icc(128), space=b"CMYK") == cmyk_icc(128)


@pytest.mark.parametrize(
    "data",
    [
        None, b"", b"junk" * 50, SRGB[:200], SRGB[:-1], grey_icc(1.0),
        SRGB[:128] + b"\xff" * 8 + SRGB[136:],  # tags without number
        SRGB[:12] + b"link" + SRGB[16:],  # says nothing about samples
        SRGB + bytes(MAX_ICC_BYTES),
        icc(b"RGB ", {}),
    ],
)  # fmt: skip
def test_others_are_dropped(data: bytes | None) -> None:
    assert kept(data, space=b"RGB ") is None


def test_a_linear_png_says_so_in_a_profile() -> None:
    expected = [round(255 * (1.055 * (v / 255) ** (1 / 2.4) - 0.055)) for v in (200, 100, 50)]
    assert np.abs(np.subtract(shown(rgb(gamma(1.0))), expected)).max() <= 1


def test_a_linear_grey_png_has_a_grey_profile() -> None:
    found = read(rgb(gamma(1.0), colour_type=0)).metadata.icc
    assert kept(found, space=b"GRAY") is not None


def test_wider_primaries_become_a_profile() -> None:
    expected = [215, 93, 31]  # by the matrices of both spaces
    for said in ((gamma(1 / 2.2), places(*P3_CHRM)), ((b"cICP", bytes((12, 13, 0, 1))),)):
        assert np.abs(np.subtract(shown(rgb(*said)), expected)).max() <= 1


@pytest.mark.parametrize(
    "said",
    [
        (), (gamma(1 / 2.2),), (gamma(0.45455), places(*SRGB_CHRM)), ((b"sRGB", b"\0"), gamma(1.0)),
        (gamma(0),), (gamma(40_000),), ((b"gAMA", b"?"),), (places(*P3_CHRM),),
        ((b"cICP", bytes((1, 13, 0, 1))), gamma(1.0)), ((b"iCCP", b"broken"), gamma(1.0)),
    ],
)  # fmt: skip
def test_what_is_usual_or_makes_no_sense_needs_no_profile(said: tuple[tuple[bytes, bytes]]) -> None:
    assert read(rgb(*said)).metadata.icc is None


@pytest.mark.parametrize("numbers", [(0,) * 8, (1, 0) * 4, (2**31,) * 8, (33_000, 33_000) * 4])
def test_impossible_primaries_are_dropped(numbers: tuple[int, ...]) -> None:
    assert read(rgb(gamma(1.0), places(*numbers))).metadata.icc is None


def test_a_profile_goes_before_gamma_and_cicp_before_a_profile() -> None:
    iccp = b"iCCP", b"mine\0\0" + zlib.compress(SRGB)
    assert read(rgb(iccp, gamma(1.0))).metadata.icc == SRGB
    assert read(rgb(iccp, (b"cICP", bytes((9, 8, 0, 1))))).metadata.icc not in (None, SRGB)
    assert read(rgb(iccp, (b"cICP", bytes((200, 200, 0, 1))))).metadata.icc == SRGB


def test_a_profile_that_inflates_without_end_is_dropped() -> None:
    bomb = b"iCCP", b"mine\0\0" + zlib.compress(bytes(2 * MAX_ICC_BYTES))
    assert read(rgb(bomb)).metadata.icc is None


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused_before_it_is_paid_for(transfer: int) -> None:
    with pytest.raises(UnsupportedImage, match="dynamic range"):
        probe(rgb((b"cICP", bytes((9, transfer, 0, 1)))), max_pixels=1)


def test_what_is_made_is_what_is_kept() -> None:
    p3 = Primaries((0.3127, 0.329), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
    assert kept(of_primaries(p3, Curve(2.2)), space=b"RGB ") is not None
    assert kept(profiles.of_grey(Curve(1.8)), space=b"GRAY") is not None
