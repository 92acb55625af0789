"""What travels beside the pixels: EXIF and XMP, as far as the policy lets them, and density."""

import struct
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from inference.params import MetadataPolicy

MAX_EXIF_BYTES = 1024 * 1024
MAX_XMP_BYTES = 1024 * 1024
MAX_ICC_BYTES = 4 * 1024 * 1024
DENSITY_PPI = (1.0, 100_000.0)
"""Outside of this, a density is a mistake, and dropped."""

_EXIF_PREFIX = b"Exif\0\0"
_EXIF_IFD, _GPS_IFD, _MAKER_NOTE = 0x8769, 0x8825, 0x927C
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_ORIENTATION = 0x0112
_OF_THE_FILE = {
    *range(0x00FE, 0x0107), 0x0111, _ORIENTATION, *range(0x0115, 0x011D), *range(0x0120, 0x0126),
    _RESOLUTION_UNIT, 0x013D, *range(0x0140, 0x0148), 0x014A, *range(0x0151, 0x0157), 0x015B,
    *range(0x0200, 0x020A), 0x0211, 0x0212, 0x0213, 0x0214, 0x02BC, 0x83BB, 0x8649, 0x8773,
}  # fmt: skip
"""Tags that say how the samples lie in the old file, or repeat what travels by itself."""
_OF_THE_SIZE = {0xA002, 0xA003}  # the old width and height, in EXIF's own directory

_GPS_SPACES = ("{http://ns.adobe.com/exif/1.0/}GPS", "{http://cipa.jp/exif/1.0/}GPS")
_OLD_NAMES = {
    "{http://ns.adobe.com/tiff/1.0/}Orientation",
    "{http://ns.adobe.com/tiff/1.0/}ImageWidth",
    "{http://ns.adobe.com/tiff/1.0/}ImageLength",
    "{http://ns.adobe.com/exif/1.0/}PixelXDimension",
    "{http://ns.adobe.com/exif/1.0/}PixelYDimension",
}
_UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error,
    AttributeError, OverflowError, ZeroDivisionError,
)  # fmt: skip
"""What Pillow has been seen to raise on broken EXIF."""


def loaded(data: bytes | None) -> Image.Exif:
    """EXIF as tags; empty where there is none or it cannot be read, as viewers take it."""
    exif = Image.Exif()
    if data is not None and len(data) <= MAX_EXIF_BYTES:
        try:
            exif.load(data)
        except _UNREADABLE:
            return Image.Exif()
    return exif


def orientation(exif: Image.Exif) -> int:
    """How the stored picture is to be turned, 1 to 8."""
    value = exif.get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def kept_exif(exif: Image.Exif, *, policy: MetadataPolicy) -> bytes | None:
    """EXIF without prefix for the result: no orientation, no thumbnail, no sizes of the source.

    `strip_gps` also leaves out the maker's notes, in which some cameras repeat the place.
    """
    if policy == "strip":
        return None
    try:
        details = exif.get_ifd(_EXIF_IFD)
        for tag in _OF_THE_FILE & set(exif):
            del exif[tag]
        for tag in _OF_THE_SIZE & set(details):
            del details[tag]
        if policy == "strip_gps":
            exif.pop(_GPS_IFD, None)
            details.pop(_MAKER_NOTE, None)
        data = exif.tobytes().removeprefix(_EXIF_PREFIX) if exif else b""
    except _UNREADABLE:
        return None
    return data if 0 < len(data) <= MAX_EXIF_BYTES else None


def kept_xmp(xmp: bytes | None, *, policy: MetadataPolicy) -> bytes | None:
    """XMP for the result: without orientation and sizes, and without GPS under `strip_gps`.

    What is too large, declares entities or is not well-formed is dropped.
    """
    if xmp is None or policy == "strip" or len(xmp) > MAX_XMP_BYTES or b"<!" in xmp:
        return None
    try:
        root = ElementTree.fromstring(xmp.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    for element in root.iter():
        for name in [name for name in element.attrib if _is_dropped(name, policy)]:
            del element.attrib[name]
        for child in [child for child in element if _is_dropped(child.tag, policy)]:
            element.remove(child)
    kept: bytes = ElementTree.tostring(root, encoding="utf-8")
    return kept


def kept_icc(icc: bytes | None, *, space: bytes) -> bytes | None:
    """A profile that is one and describes samples of this space (`GRAY`, `RGB `): else none."""
    if icc is None or not 128 <= len(icc) <= MAX_ICC_BYTES:
        return None
    return icc if icc[36:40] == b"acsp" and icc[16:20] == space else None


def density_ppi(info: Mapping[Any, Any], exif: Image.Exif) -> tuple[float, float] | None:
    """Pixels per inch as the container says (JFIF, pHYs), or else as EXIF does."""
    said = info.get("dpi")
    if said is None and _X_RESOLUTION in exif and _Y_RESOLUTION in exif:
        inches = {2: 1.0, 3: 2.54}.get(exif.get(_RESOLUTION_UNIT, 2))
        if inches is not None:
            said = exif[_X_RESOLUTION], exif[_Y_RESOLUTION]
            return plausible(said, unit=inches)
    return plausible(said)


def plausible(said: Any, *, unit: float = 1.0) -> tuple[float, float] | None:
    """Two numbers as a density, if they can be one."""
    try:
        across, down = (float(each) * unit for each in said)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    least, most = DENSITY_PPI
    return (across, down) if least <= across <= most and least <= down <= most else None


def _is_dropped(name: str, policy: MetadataPolicy) -> bool:
    return name in _OLD_NAMES or (policy == "strip_gps" and name.startswith(_GPS_SPACES))
