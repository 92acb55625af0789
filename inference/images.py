"""Picture files from outside: what a file holds, by its headers, and what a format can hold."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from inference import containers, metadata, tiff_header
from inference.containers import Container
from inference.errors import AnimatedImage, CorruptImage, OutputTooLarge, TooManyPixels
from inference.params import Factor, OutputFormat
from inference.tiff_header import TiffHeader

MAX_SIDE_PX: Mapping[OutputFormat, int] = {
    "jpg": 65_500, "png": 2**31 - 1, "webp": 16_383, "tiff": 2**31 - 1, "avif": 16_384,
}  # fmt: skip
"""The longest side that each format's files, and usual encoders and decoders, can hold.

Many decoders of AVIF stop at 268 megapixels besides; no picture within these sides has more.
"""

_SIDEWAYS = {5, 6, 7, 8}
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error,
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

    `image` is Pillow's, for all but TIFF, which has a `tiff` header instead.
    """

    format: OutputFormat
    width_px: int
    height_px: int
    orientation: int
    exif: Image.Exif
    xmp: bytes | None
    icc: bytes | None
    density_ppi: tuple[float, float] | None
    image: Image.Image | None = None
    tiff: TiffHeader | None = None


def probe(data: bytes, *, max_pixels: int) -> ImageInfo:
    """What a file holds, read from its headers alone; no pixel is decoded.

    Raises an `ImageError`: not an image, truncated, animated, too many pixels, or bad headers.
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
    container = containers.inspect(data)
    if container.format == "tiff":
        yield _tiff(data, max_pixels=max_pixels)
        return
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"]) as image:
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise AnimatedImage
            _check_pixels(*image.size, max_pixels=max_pixels)
            yield _described(image, container)
    except _DECODER_ERRORS as error:
        raise CorruptImage from error


def _described(image: Image.Image, container: Container) -> OpenFile:
    # Pillow's own `getexif` would decode a PNG to look for it.
    exif = metadata.loaded(container.late_exif or image.info.get("exif"))
    xmp = image.info.get("xmp")
    return OpenFile(
        format=container.format,
        width_px=image.width,
        height_px=image.height,
        orientation=metadata.orientation(exif),
        exif=exif,
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        icc=image.info.get("icc_profile"),
        density_ppi=metadata.density_ppi(image.info, exif),
        image=image,
    )


def _tiff(data: bytes, *, max_pixels: int) -> OpenFile:
    header = tiff_header.read(data)
    _check_pixels(header.width_px, header.height_px, max_pixels=max_pixels)
    return OpenFile(
        format="tiff",
        width_px=header.width_px,
        height_px=header.height_px,
        orientation=header.orientation,
        exif=metadata.loaded(data),  # a TIFF's directory is EXIF's first one
        xmp=header.xmp,
        icc=header.icc,
        density_ppi=metadata.plausible(header.density_ppi),
        tiff=header,
    )


def _check_pixels(width_px: int, height_px: int, *, max_pixels: int) -> None:
    if min(width_px, height_px) < 1:
        raise CorruptImage
    if width_px * height_px > max_pixels:
        raise TooManyPixels(
            f"The image has {width_px} x {height_px} pixels; at most {max_pixels} are allowed"
        )
