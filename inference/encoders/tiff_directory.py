"""TIFF's directories of tags (TIFF 6.0 section 2, and BigTIFF): read out of EXIF, and written."""

import struct
from collections.abc import Mapping
from typing import NamedTuple, Union

import numpy as np

SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16

_WORD_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4,
               LONG8: 8}  # fmt: skip
"""What is swapped as one between byte orders; a rational is two of them."""

_RATIONALS = (5, 10)
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_BELOW: Mapping[int, tuple[int, ...]] = {0: (_EXIF, _GPS), _EXIF: (_INTEROPERABILITY,)}
"""Which tags of which directory point to another one; 0 is the first directory."""

_DESCRIPTIVE = {
    0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298,
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, _EXIF, _GPS,
}  # fmt: skip
"""Of EXIF's first directory: who, what, when, with which camera; not how pixels are stored."""


class Entry(NamedTuple):
    """A tag's values: their TIFF type, and they themselves in little-endian bytes."""

    type: int
    content: bytes

    @property
    def values(self) -> int:
        """How many values there are."""
        words = len(self.content) // _WORD_BYTES[self.type]
        return words // 2 if self.type in _RATIONALS else words


Directory = Mapping[int, Union[Entry, "Directory"]]
"""Tags by number; a directory is one that the tag points to."""


def numbers(type_: int, *values: int) -> Entry:
    """An entry of SHORT, LONG, LONG8 or, in pairs, RATIONAL values."""
    return Entry(type_, np.array(values, f"<u{_WORD_BYTES[type_]}").tobytes())


def descriptive(exif: bytes) -> Directory:
    """What EXIF tells of a picture, ready for another file; nothing if it cannot be read."""
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        first = _read(exif, at, order=order, tag=0)
    except (KeyError, struct.error):
        return {}
    return {tag: entry for tag, entry in first.items() if tag in _DESCRIPTIVE}


def _read(exif: bytes, at: int, *, order: str, tag: int) -> Directory:
    """The directory that `tag` points to; entries of unknown types are left out."""
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    entries: dict[int, Entry | Directory] = {}
    for number in range(count):
        start = at + 2 + 12 * number
        inner, type_, count_of = struct.unpack_from(f"{order}HHI", exif, start)
        (offset,) = struct.unpack_from(f"{order}I", exif, start + 8)
        if inner in _BELOW.get(tag, ()):
            entries[inner] = _read(exif, offset, order=order, tag=inner)
        elif type_ in _WORD_BYTES:
            word_bytes = _WORD_BYTES[type_]
            size = count_of * word_bytes * (2 if type_ in _RATIONALS else 1)
            begin = offset if size > 4 else start + 8
            content = exif[begin : begin + size]
            if len(content) < size:
                raise struct.error("values behind the end")
            words = np.frombuffer(content, f"{order}u{word_bytes}")
            entries[inner] = Entry(type_, words.astype(f"<u{word_bytes}").tobytes())
    return entries


def written(directory: Directory, *, at: int, is_big: bool) -> bytes:
    """The little-endian bytes of a directory that begins at that offset, and what it points to."""
    offset_type, word = (LONG8, "Q") if is_big else (LONG, "I")
    word_bytes = struct.calcsize(word)
    head = struct.pack("<Q" if is_big else "<H", len(directory))
    entry_bytes = 4 + 2 * word_bytes
    behind = at + len(head) + len(directory) * entry_bytes + word_bytes
    tail = b""
    for tag, entry in sorted(directory.items()):
        if not isinstance(entry, Entry):
            below = behind + len(tail)
            tail += _even(written(entry, at=below, is_big=is_big))
            entry = numbers(offset_type, below)
        head += struct.pack(f"<HH{word}", tag, entry.type, entry.values)
        if len(entry.content) <= word_bytes:
            head += entry.content.ljust(word_bytes, b"\0")
        else:
            head += struct.pack(f"<{word}", behind + len(tail))
            tail += _even(entry.content)
    return head + bytes(word_bytes) + tail


def _even(content: bytes) -> bytes:
    """Offsets are even."""
    return content + bytes(len(content) % 2)
