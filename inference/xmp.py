"""XMP: as much of it as the policy lets into the result."""

import re
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from inference.params import MetadataPolicy

MAX_XMP_BYTES = 1024 * 1024
MAX_DEPTH = 64

_PLACE = re.compile(r"^gps|latitude|longt?itude", re.IGNORECASE)
"""Properties that say where, by whatever maker's name; one spells drone-dji:GpsLongtitude."""

_UNTRUE = {
    "http://ns.adobe.com/tiff/1.0/": {
        "Orientation", "ImageWidth", "ImageLength", "XResolution", "YResolution", "ResolutionUnit",
    },
    "http://ns.adobe.com/exif/1.0/": {"PixelXDimension", "PixelYDimension"},
    "http://ns.adobe.com/xap/1.0/": {"Thumbnails"},
    "http://ns.adobe.com/xmp/note/": {"HasExtendedXMP"},
}  # fmt: skip
"""Properties, by namespace, of the old file or its size."""

_OTHER_PARTS = {
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/container/item/",
}
"""Namespaces about gain maps and films that a phone appends to the file, and that stay behind."""


def kept(xmp: bytes | None, *, policy: MetadataPolicy) -> bytes | None:
    """XMP for the result: no orientation, sizes or thumbnail, and no place under `strip_gps`.

    What is too large or nested too deeply, declares a type of document (and with it entities), or
    is not well-formed UTF-8 is dropped.
    """
    if xmp is None or policy == "strip" or len(xmp) > MAX_XMP_BYTES:
        return None
    try:
        return _Copy(without_place=policy == "strip_gps").of(xmp.strip(b"\0 \r\n\t").decode())
    except (expat.ExpatError, UnicodeDecodeError, _Refused):
        return None


class _Refused(Exception):
    """The document is not one that is copied"""


class _Copy:
    """Writes down what a parser reads, with the same prefixes, and leaves things out."""

    def __init__(self, *, without_place: bool) -> None:
        self._without_place = without_place
        self._out: list[str] = []
        self._declared: list[str] = []
        self._depth = 0
        self._outside: int | None = None  # the depth below which nothing is copied

    def of(self, document: str) -> bytes:
        """The copy, in UTF-8."""
        parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
        parser.namespace_prefixes = True
        parser.ordered_attributes = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.ProcessingInstructionHandler = self._instruction
        parser.Parse(document, True)
        return "".join(self._out).encode()

    def _refuse(self, *_declaration: object) -> None:
        raise _Refused

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        name = "xmlns" if prefix is None else f"xmlns:{prefix}"
        self._declared.append(f" {name}={quoteattr(uri or '')}")

    def _start(self, name: str, attributes: list[str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Refused
        declared, self._declared = self._declared, []
        if self._outside is None and self._is_dropped(name):
            self._outside = self._depth
        if self._outside is not None:
            return
        said = zip(attributes[::2], attributes[1::2], strict=True)
        kept = [f" {_written(key)}={quoteattr(is_)}" for key, is_ in said
                if not self._is_dropped(key)]  # fmt: skip
        self._out.append(f"<{_written(name)}{''.join(declared)}{''.join(kept)}>")

    def _end(self, name: str) -> None:
        if self._outside is None:
            self._out.append(f"</{_written(name)}>")
        elif self._outside == self._depth:
            self._outside = None
        self._depth -= 1

    def _text(self, text: str) -> None:
        if self._outside is None:
            self._out.append(escape(text))

    def _instruction(self, target: str, content: str) -> None:
        if self._outside is None:
            self._out.append(f"<?{target} {content}?>")

    def _is_dropped(self, name: str) -> bool:
        space, _, rest = name.rpartition(" ") if name.count(" ") == 1 else name.partition(" ")
        local = rest.partition(" ")[0]
        if space in _OTHER_PARTS or local in _UNTRUE.get(space, ()):
            return True
        return self._without_place and _PLACE.search(local) is not None


def _written(name: str) -> str:
    """A name as the parser gives it (namespace, name, prefix) as a document has it."""
    parts = name.split(" ")
    return f"{parts[2]}:{parts[1]}" if len(parts) == 3 else parts[-1]
