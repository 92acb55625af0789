"""Picture files from outside: what a file holds, by its headers, and what a format can hold."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from inference import containers, exif, png_header, tiff_header
from inference.errors import AnimatedImage, CorruptImage, OutputTooLarge, TooManyPixels
from inference.exif import Exif
from inference.params import Factor, OutputFormat
from inference.png_header import PngHeader
from inference.tiff_header import TiffHeader

MAX_SIDE_PX: Mapping[OutputFormat, int] = {
    "jpg": 65_500, "png": 2**31 - 1, "webp": 16_383, "tiff": 2**31 - 1, "avif": 16_384,
}  # fmt: skip
"""The longest side that each format's files, and usual encoders and decoders, can hold.

Many decoders of AVIF stop at 268 megapixels besides; no picture within these sides has more.
"""

DENSITY_PPI = (1.0, 100_000.0)
"""Outside of this, a density is a mistake, and dropped."""

_SIDEWAYS = {5, 6, 7, 8}
_JFIF_PER_INCH = {1: 1.0, 2: 2.54}
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error,
    ArithmeticError, AttributeError,
)  # fmt: skip
"""What Pillow has been seen to raise on broken files."""

Image.MAX_IMAGE_PIXELS = None  # `max_pixels` is checked instead, before any pixel is decoded


@dataclass(frozen=True)
class ImageInfo:
    """What a file holds, with its sides as displayed: orientation applied."""

    format: OutputFormat
    width_px: int
    height_px: int


@dataclass(frozen=True)
class OpenFile:
    """A complete, still picture within the limit, not decoded yet; its sides are those stored.

    `header` is Pillow's picture for JPEG and WebP, and our own reading of PNG and TIFF.
    """

    format: OutputFormat
    width_px: int
    height_px: int
    header: Image.Image | PngHeader | TiffHeader
    exif: Exif | None
    xmp: bytes | None
    density_ppi: tuple[float, float] | None

    @property
    def orientation(self) -> int:
        """How the stored picture is to be turned, 1 to 8."""
        return exif.orientation(self.exif)


def probe(data: bytes, *, max_pixels: int) -> ImageInfo:
    """What a file holds, read from its headers alone; no pixel is decoded.

    Raises an `ImageError`: not an image, truncated, animated, too many pixels, not supported, or
    bad headers.
    """
    with opened(data, max_pixels=max_pixels) as file:
        width_px, height_px = file.width_px, file.height_px
        if file.orientation in _SIDEWAYS:
            width_px, height_px = height_px, width_px
        return ImageInfo(file.format, width_px, height_px)


def output_size(info: ImageInfo, factor: Factor) -> tuple[int, int]:
    """Width and height of the enlarged picture in pixels."""
    return info.width_px * factor, info.height_px * factor


def check_fits(width_px: int, height_px: int, *, format_: OutputFormat) -> None:
    """Raise `OutputTooLarge` if a picture of that size cannot be stored in that format."""
    limit_px = MAX_SIDE_PX[format_]
    if max(width_px, height_px) > limit_px:
        raise OutputTooLarge(
            f"The output would be {width_px} x {height_px} pixels; "
            f"a side of a {format_} file may have at most {limit_px}"
        )


@contextmanager
def opened(data: bytes, *, max_pixels: int) -> Iterator[OpenFile]:
    """A file's headers; what Pillow raises while it is open is corruption."""
    format_ = containers.inspect(data)
    if format_ == "png":
        yield _png(png_header.read(data), max_pixels)
    elif format_ == "tiff":
        yield _tiff(tiff_header.read(data), max_pixels)
    else:
        try:
            with Image.open(io.BytesIO(data), formats=["JPEG", "WEBP"]) as image:
                yield _by_pillow(image, format_, max_pixels)
        except _DECODER_ERRORS as error:
            raise CorruptImage from error


def _png(header: PngHeader, max_pixels: int) -> OpenFile:
    _check_pixels(header.width_px, header.height_px, max_pixels)
    said = exif.read(header.chunks.get(b"eXIf"))
    return OpenFile(
        format="png",
        width_px=header.width_px,
        height_px=header.height_px,
        header=header,
        exif=said,
        xmp=header.xmp,
        density_ppi=_density_ppi(header.density_ppi, said),
    )


def _tiff(header: TiffHeader, max_pixels: int) -> OpenFile:
    _check_pixels(header.width_px, header.height_px, max_pixels)
    return OpenFile(
        format="tiff",
        width_px=header.width_px,
        height_px=header.height_px,
        header=header,
        exif=header.exif,
        xmp=header.xmp,
        density_ppi=_density_ppi(None, header.exif),
    )


def _by_pillow(image: Image.Image, format_: OutputFormat, max_pixels: int) -> OpenFile:
    if image.format == "WEBP" and getattr(image, "is_animated", False):
        raise AnimatedImage
    _check_pixels(image.width, image.height, max_pixels)
    said = exif.read(image.info.get("exif"))
    unit = _JFIF_PER_INCH.get(image.info.get("jfif_unit", 0))
    density = None
    if unit is not None:
        across, down = image.info["jfif_density"]
        density = across * unit, down * unit
    return OpenFile(
        format=format_,
        width_px=image.width,
        height_px=image.height,
        header=image,
        exif=said,
        xmp=image.info.get("xmp"),
        density_ppi=_density_ppi(density, said),
    )


def _density_ppi(
    said: tuple[float, float] | None, beside: Exif | None
) -> tuple[float, float] | None:
    """Pixels per inch by the format's own word, or else by EXIF's, if there can be so many."""
    least, most = DENSITY_PPI
    for density in (said, exif.density_ppi(beside)):
        if density is not None and least <= min(density) <= max(density) <= most:
            return density
    return None


def _check_pixels(width_px: int, height_px: int, max_pixels: int) -> None:
    if min(width_px, height_px) < 1:
        raise CorruptImage
    if width_px * height_px > max_pixels:
        raise TooManyPixels(
            f"The image has {width_px} x {height_px} pixels; at most {max_pixels} are allowed"
        )
