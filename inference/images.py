"""Pictures in files: what a file holds, its pixels as arrays, and arrays as a file again."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference import colour, containers
from inference.containers import Container
from inference.errors import AnimatedImage, CorruptImage, OutputTooLarge, TooManyPixels
from inference.params import Factor, OutputFormat

Pixels = NDArray[np.uint8]

MAX_SIDE_PX: Mapping[OutputFormat, int] = {
    "jpg": 65_500, "png": 2**31 - 1, "webp": 16_383, "tiff": 2**31 - 1, "avif": 16_384,
}  # fmt: skip
"""The longest side that each format's files, and usual encoders and decoders, can hold.

Many decoders of AVIF stop at 268 megapixels besides; no picture within these sides has more.
"""

_ENCODING: Mapping[OutputFormat, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
    "png": {"format": "PNG", "compress_level": 1},  # 6 is four times slower for a few per cent
    "webp": {"format": "WEBP", "quality": 95},
}
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
class Picture:
    """Upright pixels. `colour` is (h, w, 3) or, for grey, (h, w); `alpha` is (h, w)."""

    colour: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None


def probe(data: bytes, *, max_pixels: int) -> ImageInfo:
    """What a file holds, read from its headers alone; no pixel is decoded.

    Raises an `ImageError`: not an image, truncated, animated, too many pixels, or bad headers.
    """
    with _opened(data, max_pixels=max_pixels) as (image, container):
        width_px, height_px = image.size
        if _orientation(image, container) in _SIDEWAYS:
            width_px, height_px = height_px, width_px
        return ImageInfo(container.format, width_px, height_px)


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """The pixels as displayed, in 8 bits; grey stays grey and alpha stays alpha.

    RGB and grey keep their ICC profile; CMYK becomes sRGB. Raises what `probe` raises, and
    `CorruptImage` for what only decoding finds.
    """
    with _opened(data, max_pixels=max_pixels) as (image, container):
        orientation = _orientation(image, container)
        icc = colour.kept_profile(image)
        plain = colour.plain(image)
        if orientation in _UPRIGHT:
            plain = plain.transpose(_UPRIGHT[orientation])
        pixels = np.asarray(plain)
    if plain.mode == "RGBA":
        return Picture(pixels[..., :3], pixels[..., 3], icc)
    if plain.mode == "LA":
        return Picture(pixels[..., 0], pixels[..., 1], icc)
    return Picture(pixels, None, icc)


def encode(picture: Picture, *, format_: OutputFormat) -> bytes:
    """A file with the pixels and their ICC profile, and nothing else of the source's metadata.

    JPEG, at quality 95 with full chroma, shows transparency on white.
    """
    check_fits(*reversed(picture.colour.shape[:2]), format_=format_)
    pixels, alpha, icc = picture.colour, picture.alpha, picture.icc
    if alpha is not None and format_ == "jpg":
        pixels, alpha = colour.on_white(pixels, alpha=alpha), None
    image = Image.fromarray(pixels)
    if format_ == "webp" and image.mode == "L" and icc:  # WebP has no grey for it to describe
        image, icc = colour.as_srgb(image, icc), None
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    file = io.BytesIO()
    image.save(file, icc_profile=icc, **_ENCODING[format_])
    return file.getvalue()


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
def _opened(data: bytes, *, max_pixels: int) -> Iterator[tuple[Image.Image, Container]]:
    """A complete, still picture within the limit; what Pillow raises meanwhile is corruption."""
    container = containers.inspect(data)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"]) as image:
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise AnimatedImage
            if image.width * image.height > max_pixels:
                raise TooManyPixels(
                    f"The image has {image.width} x {image.height} pixels; "
                    f"at most {max_pixels} are allowed"
                )
            yield image, container
    except _DECODER_ERRORS as error:
        raise CorruptImage from error


def _orientation(image: Image.Image, container: Container) -> int:
    """EXIF's orientation, 1 to 8. Pillow's own `getexif` would decode a PNG to look for it."""
    exif = Image.Exif()
    try:
        exif.load(container.late_exif or image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        return 1  # viewers show a picture with unreadable EXIF as it is stored
