"""Pictures into files, in bands from the top, while the rest is still being made."""

from collections.abc import Mapping
from typing import BinaryIO, Literal

from inference.encoders.encoder import Encoder, Rows, Shape
from inference.encoders.jpeg import JpegEncoder
from inference.encoders.png import PngEncoder
from inference.encoders.tiff import TiffEncoder
from inference.encoders.whole import AvifEncoder, WebpEncoder
from inference.images import check_fits
from inference.params import OutputFormat
from inference.picture import Metadata

__all__ = ["Encoder", "Rows", "Shape", "bits_for", "open_encoder"]

_ENCODERS: Mapping[OutputFormat, type[Encoder]] = {
    "jpg": JpegEncoder,
    "png": PngEncoder,
    "webp": WebpEncoder,
    "tiff": TiffEncoder,
    "avif": AvifEncoder,
}
_DEEP: tuple[OutputFormat, ...] = ("png", "tiff")


def open_encoder(
    format_: OutputFormat, sink: BinaryIO, *, shape: Shape, metadata: Metadata
) -> Encoder:
    """An encoder that writes a file of that format to `sink`, which is empty; TIFF seeks in it.

    Raises `OutputTooLarge` if the format cannot hold a picture of that size.
    """
    check_fits(shape.width_px, shape.height_px, format_=format_)
    return _ENCODERS[format_](sink, shape=shape, metadata=metadata)


def bits_for(format_: OutputFormat, picture_bits: Literal[8, 16]) -> Literal[8, 16]:
    """How many of a picture's bits a sample the format keeps; the encoders round what is more."""
    return picture_bits if format_ in _DEEP else 8
