"""EXIF: what a picture's says, and as much of it as the policy lets into the result."""

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from inference.errors import ImageError
from inference.params import MetadataPolicy
from inference.tiff_directory import Directory, Entry, Field, TiffFile, written

MAX_EXIF_BYTES = 1024 * 1024

_PREFIX = b"Exif\0\0"
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_PIXELS_PER_INCH = {2: 1.0, 3: 2.54}

_FIRST = 0  # stands for the first directory, which no tag points to
_DETAILS, _GPS, _INTEROPERABILITY, _MAKER_NOTE = 0x8769, 0x8825, 0xA005, 0x927C
_BELOW: Mapping[int, tuple[int, ...]] = {_FIRST: (_DETAILS, _GPS), _DETAILS: (_INTEROPERABILITY,)}
"""Which tags of which directory point to another one."""

_UNTRUE: Mapping[int, set[int]] = {
    _FIRST: {
        *range(0x00FE, 0x0107), 0x0108, 0x0109, 0x010A, 0x0111, _ORIENTATION,
        *range(0x0115, 0x011D), *range(0x0120, 0x0126), _RESOLUTION_UNIT, 0x012D, 0x013D, 0x013E,
        0x013F, *range(0x0140, 0x0148), 0x014A, *range(0x014C, 0x0155), 0x015B,
        *range(0x0200, 0x020A), 0x0211, 0x0212, 0x0213, 0x0214, 0x02BC, 0x83BB, 0x8649, 0x8773,
    },
    _DETAILS: {0xA002, 0xA003},
}  # fmt: skip
"""Tags that say how the samples lay in the old file and how many, or repeat what travels alone."""

_PLACES: Mapping[int, set[int]] = {_FIRST: {_GPS}, _DETAILS: {_MAKER_NOTE}}

_DESCRIPTIVE = {
    0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298,
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, _DETAILS, _GPS,
}  # fmt: skip
"""Of the first directory: who, what, when, with which camera; not how pixels are stored."""


class Exif(NamedTuple):
    """The first directory of a TIFF structure; a TIFF file's own is one too."""

    file: TiffFile
    fields: Mapping[int, Field]


def read(data: bytes | None) -> Exif | None:
    """EXIF, with or without its prefix. None if it is too large or nothing can be read of it."""
    if data is None or len(data) > MAX_EXIF_BYTES:
        return None
    try:
        file = TiffFile(data.removeprefix(_PREFIX))
        return Exif(file, file.directory(file.first_at)[0])
    except ImageError:
        return None


def orientation(exif: Exif | None) -> int:
    """How the stored picture is to be turned, 1 to 8."""
    values = _numbers(exif, _ORIENTATION)
    return values[0] if len(values) == 1 and 1 <= values[0] <= 8 else 1


def density_ppi(exif: Exif | None) -> tuple[float, float] | None:
    """Pixels per inch across and down, if it says so; nothing about whether they can be."""
    unit = _PIXELS_PER_INCH.get((_numbers(exif, _RESOLUTION_UNIT) or (2,))[0])
    across, down = _numbers(exif, _X_RESOLUTION), _numbers(exif, _Y_RESOLUTION)
    if unit is None or not len(across) == len(down) == 2 or not across[1] or not down[1]:
        return None
    return across[0] / across[1] * unit, down[0] / down[1] * unit


def kept(exif: Exif | None, *, policy: MetadataPolicy) -> bytes | None:
    """A TIFF structure without prefix for the result, or None.

    Tags keep their types, bytes and order of bytes. Left out: the orientation, the thumbnail, the
    density and the sizes of the source; by `strip_gps` the place, and the maker's notes too, in
    which some cameras repeat it. Where notes are kept, offsets inside of them lead nowhere.
    """
    if exif is None or policy == "strip":
        return None
    order = exif.file.order

    def is_kept(directory: int, tag: int) -> bool:
        if policy == "strip_gps" and tag in _PLACES.get(directory, ()):
            return False
        return tag not in _UNTRUE.get(directory, ())

    entries = _entries(exif, is_kept, lambda field: Entry(field.type, exif.file.content(field)))
    if not entries:
        return None
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return header + written(entries, at=8, is_big=False, order=order)


def descriptive(data: bytes) -> Directory:
    """What EXIF tells of a picture, in little-endian order, ready to be a TIFF file's own tags."""
    exif = read(data)
    if exif is None:
        return {}

    def is_kept(directory: int, tag: int) -> bool:
        return directory != _FIRST or tag in _DESCRIPTIVE

    return _entries(exif, is_kept, exif.file.little)


def _entries(
    exif: Exif,
    is_kept: Callable[[int, int], bool],
    entry: Callable[[Field], Entry],
    directory: int = _FIRST,
) -> dict[int, Entry | Directory]:
    """Directories below included, as far as they can be read; nothing if all is too large."""
    entries: dict[int, Entry | Directory] = {}
    left_bytes = MAX_EXIF_BYTES
    for tag, field in exif.fields.items():
        if not is_kept(directory, tag):
            continue
        try:
            if tag in _BELOW.get(directory, ()):
                (at,) = exif.file.numbers(field)
                below = exif._replace(fields=exif.file.directory(at)[0])
                inner = _entries(below, is_kept, entry, tag)
                if inner:
                    entries[tag] = inner
            elif field.type <= 13:  # the others are BigTIFF's
                left_bytes -= field.size_bytes
                if left_bytes < 0:
                    return {}
                entries[tag] = entry(field)
        except (ImageError, ValueError):  # that tag is damaged
            continue
    return entries


def _numbers(exif: Exif | None, tag: int) -> tuple[int, ...]:
    if exif is None or tag not in exif.fields:
        return ()
    try:
        return exif.file.numbers(exif.fields[tag])
    except ImageError:
        return ()
