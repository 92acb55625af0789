"""What travels with the pixels of every format: by the policy, and never what is no longer true."""

import struct
from typing import Any

import pytest
from PIL import Image

from inference import exif
from inference.decoding import decode
from inference.params import MetadataPolicy
from inference.picture import Metadata
from tests.inference.drawings import MAX_PIXELS, chunk, file, png, scene

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<rdf:Description exif:GPSLatitude="48,51.4N" dc:source="a shop"/></rdf:RDF></x:xmpmeta>"""


def camera() -> bytes:
    """EXIF of a camera: model, place, orientation, size, exposure, maker's notes."""
    said = Image.Exif()
    said[0x0112] = 6
    said[0x0110] = "Box Brownie"
    said[0x011B] = 4000
    details = said.get_ifd(0x8769)
    details[0xA002], details[0x829A], details[0x927C] = 4000, 0.5, b"secret notes"
    said.get_ifd(0x8825)[2] = (48.0, 51.0, 24.0)
    return said.tobytes()


def read(data: bytes, *, policy: MetadataPolicy = "keep") -> Metadata:
    return decode(data, max_pixels=MAX_PIXELS, policy=policy).metadata


def metadata(format_: str, *, policy: MetadataPolicy = "keep", **options: Any) -> Metadata:
    if options.get("xmp") is not None and format_ == "TIFF":
        options["tiffinfo"] = {700: options.pop("xmp")}
    if options.get("xmp") is not None and format_ == "PNG":
        late = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + options["xmp"])
        return read(png(1, 1, depth=8, colour_type=0, rows=b"\0\0", late=late), policy=policy)
    return read(file(scene(8, 6), format_, **options), policy=policy)


def tags(said: bytes | None) -> Image.Exif:
    """EXIF as Pillow reads it."""
    assert said is not None
    read_ = Image.Exif()
    read_.load(said)
    return read_


@pytest.mark.parametrize("format_", FORMATS)
def test_keep_keeps_all_but_what_is_no_longer_true(format_: str) -> None:
    kept = tags(metadata(format_, exif=camera()).exif)
    assert kept[0x0110] == "Box Brownie"
    assert kept.get_ifd(0x8825)[2] == (48.0, 51.0, 24.0)
    assert kept.get_ifd(0x8769)[0x829A] == 0.5
    assert kept.get_ifd(0x8769)[0x927C] == b"secret notes"
    assert 0x0112 not in kept
    assert 0x011B not in kept
    assert 0xA002 not in kept.get_ifd(0x8769)


@pytest.mark.parametrize("format_", FORMATS)
def test_strip_gps_takes_the_place_away_wherever_it_is(format_: str) -> None:
    said = metadata(format_, policy="strip_gps", exif=camera()).exif
    kept = tags(said)
    assert kept[0x0110] == "Box Brownie"
    assert kept.get_ifd(0x8769)[0x829A] == 0.5
    assert not kept.get_ifd(0x8825)
    assert b"secret notes" not in (said or b"")


@pytest.mark.parametrize("format_", FORMATS)
def test_strip_takes_everything(format_: str) -> None:
    assert metadata(format_, policy="strip", exif=camera()).exif is None
    assert metadata(format_, policy="strip", xmp=XMP).xmp is None


@pytest.mark.parametrize("format_", FORMATS)
def test_xmp_is_kept_without_the_place(format_: str) -> None:
    everything = metadata(format_, xmp=XMP).xmp or b""
    without = metadata(format_, policy="strip_gps", xmp=XMP).xmp or b""
    assert b"GPSLatitude" in everything
    assert b"a shop" in without
    assert b"GPS" not in without


def test_a_large_tiffs_exif_is_kept() -> None:
    large = Image.new("RGB", (900, 900))
    data = file(large, "TIFF", exif=camera())
    assert len(data) > exif.MAX_EXIF_BYTES
    assert tags(read(data).exif)[0x0110] == "Box Brownie"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_density_is_read(format_: str) -> None:
    density = metadata(format_, dpi=(300, 150)).density_ppi
    assert density == pytest.approx((300, 150), rel=1e-3)


def resolution(ppi: int, *, unit: int) -> Image.Exif:
    said = Image.Exif()
    said[0x011A] = said[0x011B] = float(ppi)
    said[0x0128] = unit
    return said


def test_density_is_read_from_exif_where_the_format_does_not_say_it() -> None:
    for format_ in ("WEBP", "JPEG"):
        density = metadata(format_, exif=resolution(100, unit=3)).density_ppi
        assert density == pytest.approx((254, 254))
    assert metadata("PNG", exif=resolution(100, unit=1)).density_ppi is None


def test_the_formats_own_density_goes_before_exifs() -> None:
    said = metadata("JPEG", dpi=(300, 300), exif=resolution(72, unit=2)).density_ppi
    assert said == (300, 300)


@pytest.mark.parametrize("per_metre", [0, 1, 2**32 - 1])
def test_an_absurd_density_is_dropped(per_metre: int) -> None:
    content = struct.pack(">IIB", per_metre, per_metre, 1)
    data = png(1, 1, depth=8, colour_type=0, rows=b"\0\0", late=chunk(b"pHYs", content))
    assert read(data).density_ppi is None


@pytest.mark.parametrize("format_", FORMATS)
def test_no_density_is_no_density(format_: str) -> None:
    assert metadata(format_).density_ppi is None


def test_exif_without_a_density_does_not_make_one_up() -> None:
    assert metadata("JPEG", exif=b"Exif\0\0nonsense").density_ppi is None


def test_a_larger_picture_is_printed_at_the_same_size() -> None:
    assert Metadata(density_ppi=(300.0, 72.0)).scaled(4).density_ppi == (1200.0, 288.0)
    assert Metadata(icc=b"profile").scaled(4) == Metadata(icc=b"profile")
