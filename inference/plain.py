"""Plain enlarging, to try the service out with: Pillow's Lanczos, marked as such, on no card.

It is no engine to be paid for. The outcome has the size and the format of the real one, its pixels
have 8 bits and no metadata.
"""

import io
from functools import cache
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from inference.errors import CorruptImage, UnsupportedImage
from inference.params import OutputFormat, UpscaleParams

NETWORK = "sandbox"
MARK = "SANDBOX"
SAMPLE_SIDE_PX = 64

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_NAMES: dict[OutputFormat, str] = {
    "jpg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "tiff": "TIFF",
    "avif": "AVIF",
}
_LEAST_MARKED_PX = 48


class Enlarged(NamedTuple):
    """What was written. There is nothing to report on its fidelity."""

    width_px: int
    height_px: int
    network: str = NETWORK
    is_fallback: bool = False
    quality: None = None


def enlarge(source: bytes, params: UpscaleParams, *, sink: BinaryIO) -> Enlarged:
    """Write the picture as displayed, exactly `params.factor` times as wide and high, and marked.

    Raises an `ImageError` for what is wrong with the picture. What it takes of memory grows with
    the output: the caller limits that.
    """
    picture = _read(source)
    size_px = (picture.width * params.factor, picture.height * params.factor)
    large = picture.resize(size_px, Image.Resampling.LANCZOS)
    _mark(large)
    if params.output_format == "jpg":
        large = _opaque(large)
    large.save(sink, _NAMES[params.output_format])
    return Enlarged(*size_px)


@cache
def sample() -> bytes:
    """A small picture that is always at hand, as a PNG."""
    side_px = (SAMPLE_SIDE_PX, SAMPLE_SIDE_PX)
    across = Image.linear_gradient("L").resize(side_px)
    down = across.transpose(Image.Transpose.ROTATE_90)
    round_ = Image.radial_gradient("L").resize(side_px)
    buffer = io.BytesIO()
    Image.merge("RGB", (across, down, round_)).save(buffer, "PNG")
    return buffer.getvalue()


def _read(source: bytes) -> Image.Image:
    """The first frame, upright, in 8 bits: grey or RGB, with alpha or without."""
    try:
        with Image.open(io.BytesIO(source), formats=_FORMATS) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        raise UnsupportedImage from error
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError) as error:
        raise CorruptImage from error
    if upright.mode.startswith("I"):  # Pillow cuts 16 bits off instead of reducing them
        return Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
    if upright.mode in ("L", "LA", "RGB", "RGBA"):
        return upright
    has_alpha = "transparency" in upright.info or upright.mode == "PA"
    return upright.convert("RGBA" if has_alpha else "RGB")


def _mark(picture: Image.Image) -> None:
    """Write on it what it is, if there is room."""
    if min(picture.size) < _LEAST_MARKED_PX:
        return
    light, dark = _inks(len(picture.getbands()))
    ImageDraw.Draw(picture).text(
        (picture.width // 2, picture.height // 2),
        MARK,
        font=ImageFont.load_default(size=min(picture.size) / 6),
        anchor="mm",
        fill=light,
        stroke_width=max(min(picture.size) // 200, 1),
        stroke_fill=dark,
    )


def _inks(bands: int) -> tuple[int | tuple[int, ...], int | tuple[int, ...]]:
    """Opaque white and black for so many bands: grey or RGB, with alpha or without."""
    if bands == 1:
        return 255, 0
    return (255,) * bands, (0,) * (bands - 1 if bands in (2, 4) else bands) + (255,) * (
        bands in (2, 4)
    )


def _opaque(picture: Image.Image) -> Image.Image:
    """The same without alpha, which JPEG has not, on white."""
    if picture.mode not in ("LA", "RGBA"):
        return picture
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
