"""What a TIFF file says of its first picture: the directory's tags, read without decoding.

TIFF 6.0 (Adobe, 1992) and BigTIFF (Library of Congress, fdd000328).
"""

from typing import NamedTuple

from inference.errors import AnimatedImage, CorruptImage, TruncatedImage, UnsupportedImage
from inference.exif import Exif
from inference.tiff_directory import SHORT, Field, TiffFile

MAX_SAMPLES = 8
"""Of a pixel: colours, alpha, and a few channels that do not show."""

MAX_DIRECTORIES = 64
MAX_TILE_PIXELS = 4096 * 4096
"""A tile is decoded as a whole; one may be larger only in a picture that is."""

MAX_TILES_ACROSS = 1024
"""Beyond, the decoder's search for a tile takes longer than its decoding."""

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS = 254, 255, 256, 257, 258
_COMPRESSION, _PHOTOMETRIC = 259, 262
_SAMPLES, _INK_SET, _EXTRA, _FORMAT, _XMP, _ICC, _DNG = 277, 332, 338, 339, 700, 34675, 50706
_STRIPS, _TILES = (273, 279), (324, 325)  # where they are, and how long
_ROWS_A_STRIP, _TILE_SIDES, _PLANES = 278, (322, 323), 284

_REDUCED, _MASK = 1, 4  # of NewSubfileType
_UNSIGNED = 1  # of SampleFormat
_ALPHA = (1, 2)  # of ExtraSamples: colour multiplied by it, or not
_SEPARATE = 2  # of PlanarConfiguration: each plane has strips of its own
_JPEG = 7
_COMPRESSIONS = (1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946)  # none, CCITT, LZW, JPEG, Deflate, PackBits
PHOTOMETRIC_RGB, _INKS, _YCBCR, LAB = 2, 5, 6, 8
_COLOURS = {0: 1, 1: 1, PHOTOMETRIC_RGB: 3, 3: 1, _INKS: 4, _YCBCR: 3, LAB: 3}
"""How many samples each photometric interpretation has without the extra ones."""


class TiffHeader(NamedTuple):
    """Of `samples` a pixel, `shown_samples` are colour and alpha, the others selections and such.

    `photometric_at` is the offset of the photometric interpretation's two bytes.
    """

    width_px: int
    height_px: int
    photometric: int
    photometric_at: int
    order: str
    samples: int
    shown_samples: int
    icc: bytes | None
    xmp: bytes | None
    exif: Exif


def read(data: bytes) -> TiffHeader:
    """The first picture's header.

    Raises `TruncatedImage` or `CorruptImage`; `AnimatedImage` for further pages (but not for a
    thumbnail or a mask); `UnsupportedImage` for a camera's raw file, for samples that are not
    unsigned integers of 1, 2, 4, 8 or 16 bits, for rare compressions and rare kinds of colour.
    """
    file = TiffFile(data)
    fields, following = file.directory(file.first_at)
    page = _Page(file, fields)
    if _DNG in fields or page.is_reduced():
        raise UnsupportedImage("A camera's raw files are not supported")
    _check_still(file, following)
    page.check_kind()
    page.check_parts(len(data))
    return TiffHeader(
        width_px=page.number(_WIDTH),
        height_px=page.number(_HEIGHT),
        photometric=page.number(_PHOTOMETRIC),
        photometric_at=fields[_PHOTOMETRIC].at,
        order=file.order,
        samples=page.number(_SAMPLES, 1),
        shown_samples=page.shown_samples(),
        icc=page.content(_ICC),
        xmp=page.content(_XMP),
        exif=Exif(file, fields),
    )


def _check_still(file: TiffFile, at: int) -> None:
    """Further pictures may only be smaller copies of the first, or masks for it."""
    for _ in range(MAX_DIRECTORIES):
        if not at:
            return
        fields, at = file.directory(at)
        page = _Page(file, fields)
        if not page.is_reduced() and not page.number(_SUBFILE, 0) & _MASK:
            raise AnimatedImage
    raise CorruptImage


class _Page:
    """One picture's tags."""

    def __init__(self, file: TiffFile, fields: dict[int, Field]) -> None:
        self._file = file
        self._fields = fields

    def number(self, tag: int, default: int | None = None) -> int:
        """A tag's first value; `CorruptImage` where it has none."""
        return self.numbers(tag, None if default is None else (default,))[0]

    def numbers(self, tag: int, default: tuple[int, ...] | None) -> tuple[int, ...]:
        if tag not in self._fields and default is not None:
            return default
        values = self._file.numbers(self._fields[tag]) if tag in self._fields else ()
        if min(values, default=-1) < 0:
            raise CorruptImage
        return values

    def content(self, tag: int) -> bytes | None:
        return self._file.content(self._fields[tag]) if tag in self._fields else None

    def shown_samples(self) -> int:
        """The colours, and alpha; a sample more than the colours that nothing is said of is it."""
        colours = _COLOURS[self.number(_PHOTOMETRIC)]
        more = self.number(_SAMPLES, 1) - colours
        return colours + int(more > 0 and self.number(_EXTRA, _ALPHA[0]) in _ALPHA)

    def is_reduced(self) -> bool:
        return bool(self.number(_SUBFILE, 0) & _REDUCED) or self.number(_OLD_SUBFILE, 0) == 2

    def check_kind(self) -> None:
        """What the samples are must be something that is taken."""
        bits, samples = self.numbers(_BITS, (1,)), self.number(_SAMPLES, 1)
        if set(self.numbers(_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}:
            raise UnsupportedImage("TIFF samples that are signed or floating are not supported")
        if len(set(bits)) != 1 or bits[0] not in ((1, 2, 4, 8, 16) if samples == 1 else (8, 16)):
            raise UnsupportedImage(f"TIFF samples of {bits[0]} bits are not supported")
        if samples > MAX_SAMPLES:
            raise UnsupportedImage(f"{samples} samples a pixel are not supported")
        compression, photometric = self.number(_COMPRESSION, 1), self.number(_PHOTOMETRIC)
        if compression not in _COMPRESSIONS:
            raise UnsupportedImage(f"TIFF compression {compression} is not supported")
        is_raw_ycbcr = photometric == _YCBCR and compression != _JPEG
        is_other_ink = photometric == _INKS and self.number(_INK_SET, 1) != 1
        if photometric == LAB and self._fields[_PHOTOMETRIC].type != SHORT:
            raise CorruptImage
        if photometric not in _COLOURS or is_raw_ycbcr or is_other_ink:
            raise UnsupportedImage(f"TIFF pictures of the kind {photometric} are not supported")
        if samples - len(self.numbers(_EXTRA, ())) < _COLOURS[photometric]:
            raise CorruptImage

    def check_parts(self, size_bytes: int) -> None:
        """Every strip or tile that the picture needs must lie in the file."""
        width_px, height_px = self.number(_WIDTH), self.number(_HEIGHT)
        is_tiled = _TILE_SIDES[0] in self._fields
        if is_tiled:
            part_px = self.number(_TILE_SIDES[0]), self.number(_TILE_SIDES[1])
        else:
            part_px = max(width_px, 1), self.number(_ROWS_A_STRIP, max(height_px, 1))
        if not all(part_px):
            raise CorruptImage
        if is_tiled and part_px[0] * part_px[1] > max(MAX_TILE_PIXELS, 4 * width_px * height_px):
            raise CorruptImage
        across, down = -(-width_px // part_px[0]), -(-height_px // part_px[1])
        if across > MAX_TILES_ACROSS:
            raise UnsupportedImage(f"{across} tiles side by side are not supported")
        needed = across * down
        if self.number(_PLANES, 1) == _SEPARATE:
            needed *= self.number(_SAMPLES, 1)
        at, sizes = (self.numbers(tag, None) for tag in (_TILES if is_tiled else _STRIPS))
        if min(len(at), len(sizes)) < needed:
            raise CorruptImage
        if any(start + size > size_bytes for start, size in zip(at, sizes, strict=False)):
            raise TruncatedImage
