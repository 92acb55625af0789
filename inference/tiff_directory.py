"""TIFF's directories of tags (TIFF 6.0 section 2, and BigTIFF): where values are, and written."""

import struct
from collections.abc import Mapping
from typing import NamedTuple, Union

from inference.errors import CorruptImage, TruncatedImage

MAX_TAGS = 4096
MAX_VALUES_BYTES = 4 * 1024 * 1024
"""The most that one tag may hold: a profile, XMP, or where a million strips are."""

SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16

_WORDS = {1: "B", 2: "B", SHORT: "H", LONG: "I", RATIONAL: "I", 6: "b", UNDEFINED: "B", 8: "h",
          9: "i", 10: "i", 11: "I", 12: "Q", 13: "I", LONG8: "Q", 17: "q", 18: "Q"}  # fmt: skip
"""What the types are made of, in struct's letters; a rational is two words."""

_RATIONALS, _FLOATS = (5, 10), (11, 12)
_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}


class Field(NamedTuple):
    """A tag's values in a file: their type and number, and the offset where they begin."""

    type: int
    values: int
    at: int

    @property
    def size_bytes(self) -> int:
        """How long the values are, all together."""
        return self.values * _word_bytes(self.type) * (2 if self.type in _RATIONALS else 1)


class Entry(NamedTuple):
    """A tag's values by themselves: their TIFF type, and their bytes."""

    type: int
    content: bytes

    @property
    def values(self) -> int:
        """How many values there are."""
        words = len(self.content) // _word_bytes(self.type)
        return words // 2 if self.type in _RATIONALS else words


Directory = Mapping[int, Union[Entry, "Directory"]]
"""Tags by number; a directory is one that the tag points to."""


class TiffFile:
    """Bytes that begin as a TIFF's do. Nothing is read before it is asked for.

    `order` is struct's sign for the order of bytes. Everything raises `TruncatedImage` for what
    lies behind the end, and `CorruptImage` for what exceeds the limits or is no TIFF.
    """

    def __init__(self, data: bytes) -> None:
        if not begins_as_tiff(data):
            raise CorruptImage
        self._data = data
        self.order = _ORDERS[data[:4]]
        self._is_big = b"+" in data[2:4]
        self.first_at = self._number("Q", 8) if self._is_big else self._number("I", 4)

    def directory(self, at: int) -> tuple[dict[int, Field], int]:
        """The directory at an offset, without tags of unknown types; the next one's offset or 0."""
        count_form, word = ("Q", "Q") if self._is_big else ("H", "I")
        word_bytes = struct.calcsize(word)
        entry_bytes = 4 + 2 * word_bytes
        count = self._number(count_form, at)
        if count > MAX_TAGS:
            raise CorruptImage
        at += struct.calcsize(count_form)
        end = at + count * entry_bytes
        following = self._number(word, end)  # raises if the directory is not all there
        fields: dict[int, Field] = {}
        for place in range(at, end, entry_bytes):
            tag, kind, values = struct.unpack_from(f"{self.order}HH{word}", self._data, place)
            if kind in _WORDS:
                field = Field(kind, values, place + 4 + word_bytes)
                if field.size_bytes > word_bytes:
                    field = field._replace(at=self._number(word, field.at))
                fields[tag] = field
        return fields, following

    def content(self, field: Field) -> bytes:
        """A field's bytes as they are."""
        if field.size_bytes > MAX_VALUES_BYTES:
            raise CorruptImage
        if field.at + field.size_bytes > len(self._data):
            raise TruncatedImage
        return self._data[field.at : field.at + field.size_bytes]

    def numbers(self, field: Field) -> tuple[int, ...]:
        """A field's whole numbers; a rational is two of them."""
        if field.type in _FLOATS:
            raise CorruptImage
        return self._words(field)

    def little(self, field: Field) -> Entry:
        """A field's values in little-endian order."""
        words = self._words(field)
        return Entry(field.type, struct.pack(f"<{len(words)}{_WORDS[field.type]}", *words))

    def _words(self, field: Field) -> tuple[int, ...]:
        content, letter = self.content(field), _WORDS[field.type]
        return struct.unpack(
            f"{self.order}{len(content) // struct.calcsize(letter)}{letter}", content
        )

    def _number(self, form: str, at: int) -> int:
        if at + struct.calcsize(form) > len(self._data):
            raise TruncatedImage
        return int(struct.unpack_from(f"{self.order}{form}", self._data, at)[0])


def begins_as_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF does."""
    return data[:4] in _ORDERS


def numbers(type_: int, *values: int, order: str = "<") -> Entry:
    """An entry of SHORT, LONG, LONG8 or, in pairs, RATIONAL values."""
    return Entry(type_, struct.pack(f"{order}{len(values)}{_WORDS[type_]}", *values))


def written(directory: Directory, *, at: int, is_big: bool, order: str = "<") -> bytes:
    """The bytes of a directory that begins at that offset, and of what it points to.

    The entries' contents are in `order` already.
    """
    offset_type, word = (LONG8, "Q") if is_big else (LONG, "I")
    word_bytes = struct.calcsize(word)
    head = struct.pack(f"{order}{'Q' if is_big else 'H'}", len(directory))
    entry_bytes = 4 + 2 * word_bytes
    behind = at + len(head) + len(directory) * entry_bytes + word_bytes
    tail = b""
    for tag, entry in sorted(directory.items()):
        if not isinstance(entry, Entry):
            below = behind + len(tail)
            tail += _even(written(entry, at=below, is_big=is_big, order=order))
            entry = numbers(offset_type, below, order=order)
        head += struct.pack(f"{order}HH{word}", tag, entry.type, entry.values)
        if len(entry.content) <= word_bytes:
            head += entry.content.ljust(word_bytes, b"\0")
        else:
            head += struct.pack(f"{order}{word}", behind + len(tail))
            tail += _even(entry.content)
    return head + bytes(word_bytes) + tail


def _word_bytes(type_: int) -> int:
    return struct.calcsize(_WORDS[type_])


def _even(content: bytes) -> bytes:
    """Offsets are even."""
    return content + bytes(len(content) % 2)
