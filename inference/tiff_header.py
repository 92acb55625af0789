"""What a TIFF file says of its first picture: the directory of tags, read without decoding.

TIFF 6.0 (Adobe, 1992) and BigTIFF (Library of Congress, fdd000328).
"""

import struct
from typing import NamedTuple

from inference.errors import AnimatedImage, CorruptImage, TruncatedImage, UnsupportedImage

MAX_TAGS = 4096
MAX_VALUES = 4 * 1024 * 1024
"""The most that one tag may hold, in bytes: a profile, XMP, or where a million strips are."""

_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "2I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q"}
_REDUCED = 1  # of NewSubfileType
_UNSIGNED = 1  # of SampleFormat
_ALPHA = (1, 2)  # of ExtraSamples: colour multiplied by it, or not
_PIXELS_PER_INCH = {2: 1.0, 3: 2.54}

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_ORIENTATION, _SAMPLES, _XRES, _YRES, _RES_UNIT = 274, 277, 282, 283, 296
_STRIPS, _TILES = (273, 279), (324, 325)  # where they are, and how long
_EXTRA, _FORMAT, _XMP, _ICC = 338, 339, 700, 34675

Tags = dict[int, tuple[int, ...] | bytes]


class TiffHeader(NamedTuple):
    """`colour_samples` and `extra_samples` are numbers of channels; `orientation` is EXIF's."""

    width_px: int
    height_px: int
    bits: int
    colour_samples: int
    extra_samples: int
    has_alpha: bool
    orientation: int
    icc: bytes | None
    xmp: bytes | None
    density_ppi: tuple[float, float] | None


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read(data: bytes) -> TiffHeader:
    """The first picture's header.

    Raises `TruncatedImage` or `CorruptImage`, `AnimatedImage` for further pages (but not for a
    thumbnail), and `UnsupportedImage` for samples that are not unsigned integers of up to 16 bits.
    """
    try:
        tags, further = _directory(data, _first(data))
        _check_complete(data, tags)
        _check_pages(data, further)
        return _header(tags)
    except (struct.error, IndexError, KeyError, TypeError) as error:
        raise CorruptImage from error


def _header(tags: Tags) -> TiffHeader:
    bits = set(_numbers(tags, _BITS, (1,)))
    formats = set(_numbers(tags, _FORMAT, (_UNSIGNED,)))
    if len(bits) != 1 or max(bits) > 16 or formats != {_UNSIGNED}:
        raise UnsupportedImage(f"TIFF samples of {sorted(bits)} bits are not supported")
    samples = _number(tags, _SAMPLES, 1)
    extra = _numbers(tags, _EXTRA, ())
    return TiffHeader(
        width_px=_number(tags, _WIDTH),
        height_px=_number(tags, _HEIGHT),
        bits=max(bits),
        colour_samples=samples - len(extra),
        extra_samples=len(extra),
        has_alpha=bool(extra) and extra[0] in _ALPHA,
        orientation=_number(tags, _ORIENTATION, 1),
        icc=_bytes(tags, _ICC),
        xmp=_bytes(tags, _XMP),
        density_ppi=_density(tags),
    )


def _check_complete(data: bytes, tags: Tags) -> None:
    """Every strip or tile must lie in the file."""
    for offsets, sizes in (_STRIPS, _TILES):
        places = zip(_numbers(tags, offsets, ()), _numbers(tags, sizes, ()), strict=False)
        if any(place + size > len(data) for place, size in places):
            raise TruncatedImage


def _check_pages(data: bytes, offset: int) -> None:
    """A second picture may only be a smaller copy of the first."""
    if not offset:
        return
    tags, _ = _directory(data, offset)
    if not _number(tags, _SUBFILE, 0) & _REDUCED:
        raise AnimatedImage


def _first(data: bytes) -> int:
    order = _order(data)
    if _is_big(data):
        return int(struct.unpack_from(f"{order}Q", data, 8)[0])
    return int(struct.unpack_from(f"{order}I", data, 4)[0])


def _directory(data: bytes, at: int) -> tuple[Tags, int]:
    """The tags at an offset, and the offset of the next directory, or 0."""
    order, is_big = _order(data), _is_big(data)
    count_form, entry, inline, next_form = ("Q", 20, 8, "Q") if is_big else ("H", 12, 4, "I")
    if at + struct.calcsize(f"{order}{count_form}") > len(data):
        raise TruncatedImage
    (count,) = struct.unpack_from(f"{order}{count_form}", data, at)
    if count > MAX_TAGS:
        raise CorruptImage
    at += struct.calcsize(f"{order}{count_form}")
    if at + count * entry + inline > len(data):
        raise TruncatedImage
    tags: Tags = {}
    for place in range(at, at + count * entry, entry):
        tag, kind, number = struct.unpack_from(f"{order}HH{next_form}", data, place)
        if kind in _TYPES:
            tags[tag] = _value(
                data, place + entry - inline, kind=_TYPES[kind], number=number, inline=inline
            )
    (further,) = struct.unpack_from(f"{order}{next_form}", data, at + count * entry)
    return tags, int(further)


def _value(
    data: bytes, place: int, *, kind: str, number: int, inline: int
) -> tuple[int, ...] | bytes:
    order = _order(data)
    size = struct.calcsize(f"{order}{kind}") * number
    if size > MAX_VALUES:
        raise CorruptImage
    if size > inline:
        (place,) = struct.unpack_from(f"{order}{'Q' if inline == 8 else 'I'}", data, place)
    if place + size > len(data):
        raise TruncatedImage
    if kind == "s":
        return data[place : place + size]
    return struct.unpack_from(f"{order}{kind * number}", data, place)


def _density(tags: Tags) -> tuple[float, float] | None:
    unit = _PIXELS_PER_INCH.get(_number(tags, _RES_UNIT, 2))
    across, down = (_numbers(tags, tag, (0, 0)) for tag in (_XRES, _YRES))
    if unit is None or not across[1] or not down[1]:
        return None
    return across[0] / across[1] * unit, down[0] / down[1] * unit


def _number(tags: Tags, tag: int, default: int | None = None) -> int:
    values = _numbers(tags, tag, None if default is None else (default,))
    return values[0]


def _numbers(tags: Tags, tag: int, default: tuple[int, ...] | None) -> tuple[int, ...]:
    values = tags.get(tag, default)
    if values is None or isinstance(values, bytes):
        raise CorruptImage
    return values


def _bytes(tags: Tags, tag: int) -> bytes | None:
    value = tags.get(tag)
    if isinstance(value, tuple):
        value = bytes(value) if all(0 <= each < 256 for each in value) else None
    return value or None


def _order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _is_big(data: bytes) -> bool:
    return data[2:4] in (b"+\0", b"\0+")
