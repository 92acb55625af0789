"""XMP by itself: it stays as it is, but for what is left out."""

import pytest

from inference.params import MetadataPolicy
from inference.xmp import kept

POLICIES: tuple[MetadataPolicy, ...] = ("keep", "strip", "strip_gps")
SPACES = """xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:drone="http://www.dji.com/drone-dji/1.0/"
 xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" """


def document(attributes: str = "", inside: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f"<rdf:RDF {SPACES}><rdf:Description {attributes}>{inside}</rdf:Description></rdf:RDF>"
        '</x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def test_everything_stays_with_its_prefix_and_its_letters() -> None:
    xmp = document(
        'dc:source="J\u00f6\'s &lt;shop&gt; &amp; \u5199\u771f"',
        '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">a &amp; b</rdf:li></rdf:Alt></dc:title>',
    )
    made = kept(xmp, policy="strip_gps") or b""
    for part in (
        "<x:xmpmeta", "<rdf:Description", '<?xpacket end="w"?>', "a &amp; b",
        'xml:lang="x-default"', "J\u00f6's &lt;shop&gt; &amp; \u5199\u771f",
    ):  # fmt: skip
        assert part.encode() in made
    assert kept(made, policy="strip_gps") == made


@pytest.mark.parametrize(
    ("attributes", "inside"),
    [
        ('exif:GPSLatitude="48,51.4N"', ""),
        ("", "<exif:GPSLongitude>48,51.4N<dc:x>48,51.4N</dc:x></exif:GPSLongitude>"),
        ('drone:GpsLongtitude="48,51.4N"', ""),
        ('drone:AbsoluteLatitude="48,51.4N"', ""),
        ("", "<dc:place rdf:parseType='Resource'><exif:GPSLatitude>48,51.4N</exif:GPSLatitude>"
             "</dc:place>"),
    ],
)  # fmt: skip
def test_places_go_only_by_the_policy(attributes: str, inside: str) -> None:
    xmp = document(f'dc:source="a shop" {attributes}', inside)
    assert b"48,51.4N" in (kept(xmp, policy="keep") or b"")
    without = kept(xmp, policy="strip_gps") or b""
    assert b"a shop" in without
    assert b"48,51.4N" not in without
    assert kept(xmp, policy="strip") is None


@pytest.mark.parametrize("policy", ["keep", "strip_gps"])
def test_what_is_no_longer_true_always_goes(policy: MetadataPolicy) -> None:
    xmp = document(
        'tiff:Orientation="6" exif:PixelXDimension="4000" hdrgm:Version="1.0" tiff:Make="Box"',
        "<xmp:Thumbnails><rdf:Alt/></xmp:Thumbnails><tiff:ImageWidth>4000</tiff:ImageWidth>",
    )
    made = kept(xmp, policy=policy) or b""
    assert b"tiff:Make" in made
    for part in (b"Orientation", b"4000", b"hdrgm:Version", b"Thumbnails"):
        assert part not in made


@pytest.mark.parametrize(
    "xmp",
    [
        b"", b"not xml", b"<x>", b"\xff\xfe<x/>", b"<a:x/>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        b"<x>" + b"a" * 1_100_000 + b"</x>",
        b"<x>" * 100_000 + b"</x>" * 100_000,
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'.encode("utf-16"),
        None,
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_dropped(xmp: bytes | None) -> None:
    for policy in POLICIES:
        assert kept(xmp, policy=policy) is None
