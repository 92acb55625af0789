"""What travels with the pixels: EXIF and XMP by the policy, never what is no longer true."""

import io
from typing import Any

import pytest
from PIL import Image, TiffImagePlugin

from inference.decoding import decode
from inference.metadata import kept_exif, kept_icc, kept_xmp, loaded, orientation
from inference.params import MetadataPolicy
from inference.picture import Metadata
from tests.inference.drawings import MAX_PIXELS, file, scene

POLICIES: tuple[MetadataPolicy, ...] = ("keep", "strip", "strip_gps")
XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description tiff:Orientation="6"
 exif:GPSLatitude="48,51.4N" dc:source="a shop"><exif:GPSLongitude>2,21E</exif:GPSLongitude>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def camera() -> bytes:
    """EXIF of a camera: model, place, orientation, size, exposure, maker's notes."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0110] = "Box Brownie"
    exif[0x011B] = 4000
    details = exif.get_ifd(0x8769)
    details[0xA002], details[0x829A], details[0x927C] = 4000, 0.5, b"secret notes"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 24.0)
    return exif.tobytes()


def metadata(format_: str, *, policy: MetadataPolicy = "keep", **options: Any) -> Metadata:
    data = file(scene(8, 6), format_, **options)
    return decode(data, max_pixels=MAX_PIXELS, policy=policy).metadata


def tags(exif: bytes | None) -> Image.Exif:
    assert exif is not None
    return loaded(exif)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_keep_keeps_all_but_what_is_no_longer_true(format_: str) -> None:
    kept = tags(metadata(format_, exif=camera()).exif)
    assert kept[0x0110] == "Box Brownie"
    assert kept.get_ifd(0x8825)[2] == (48.0, 51.0, 24.0)
    assert kept.get_ifd(0x8769)[0x829A] == 0.5
    assert 0x0112 not in kept
    assert 0x011B not in kept
    assert 0xA002 not in kept.get_ifd(0x8769)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_strip_gps_takes_the_place_away_wherever_it_is(format_: str) -> None:
    exif = metadata(format_, policy="strip_gps", exif=camera()).exif
    kept = tags(exif)
    assert kept[0x0110] == "Box Brownie"
    assert kept.get_ifd(0x8769)[0x829A] == 0.5
    assert not kept.get_ifd(0x8825)
    assert exif is not None
    assert b"secret notes" not in exif


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_strip_takes_everything(format_: str) -> None:
    described = metadata(format_, policy="strip", exif=camera(), xmp=XMP)
    assert (described.exif, described.xmp) == (None, None)


@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "TIFF"])
def test_xmp_is_kept_without_the_place(format_: str) -> None:
    options = {"tiffinfo": {700: XMP}} if format_ == "TIFF" else {"xmp": XMP}
    everything = metadata(format_, **options).xmp
    without = metadata(format_, policy="strip_gps", **options).xmp
    assert everything is not None
    assert without is not None
    assert b"GPSLatitude" in everything
    assert b"GPSLongitude" in everything
    assert b"GPS" not in without
    assert b"a shop" in without
    assert b"Orientation" not in everything


@pytest.mark.parametrize(
    "xmp",
    [
        b"not xml",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
        b"<x>" + b"a" * 1_100_000 + b"</x>",
        b"\xff\xfe<x/>",
        b"",
    ],
)
def test_xmp_that_cannot_be_trusted_is_dropped(xmp: bytes) -> None:
    for policy in POLICIES:
        assert kept_xmp(xmp, policy=policy) is None


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"II*\0\xff\xff\xff\xff", b"x" * 2_000_000, None]
)
def test_exif_that_cannot_be_read_is_dropped(data: bytes | None) -> None:
    exif = loaded(data)
    assert orientation(exif) == 1
    assert kept_exif(exif, policy="keep") is None


def test_exif_of_nothing_but_an_orientation_is_dropped() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    assert kept_exif(exif, policy="keep") is None


@pytest.mark.parametrize("value", [0, 9, 700, "six", (6, 6)])
def test_an_orientation_that_is_none_is_not_applied(value: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert orientation(exif) == 1


@pytest.mark.parametrize("icc", [None, b"", b"junk", b"\0" * 36 + b"acsp" + b"\0" * 200])
def test_a_profile_that_is_none_is_dropped(icc: bytes | None) -> None:
    assert kept_icc(icc, space=b"RGB ") is None


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_density_is_read(format_: str) -> None:
    density = metadata(format_, dpi=(300, 150)).density_ppi
    assert density == pytest.approx((300, 150), rel=1e-3)


def test_density_is_read_from_exif_where_the_format_has_no_place_for_it() -> None:
    exif = Image.Exif()
    exif[0x011A] = exif[0x011B] = TiffImagePlugin.IFDRational(100)
    exif[0x0128] = 3
    assert metadata("WEBP", exif=exif).density_ppi == pytest.approx((254, 254))


@pytest.mark.parametrize("dpi", [(0, 0), (1e9, 1e9)])
def test_an_absurd_density_is_dropped(dpi: tuple[float, float]) -> None:
    data = io.BytesIO()
    scene(8, 6).save(data, "TIFF", dpi=dpi)
    picture = decode(data.getvalue(), max_pixels=MAX_PIXELS, policy="keep")
    assert picture.metadata.density_ppi is None


def test_no_density_is_no_density() -> None:
    assert metadata("PNG").density_ppi is None
