"""Samples to encode, and the files that our encoders make of them."""

import io
from typing import Literal, cast

import numpy as np
from PIL import Image, ImageCms

from inference.encoders import Shape, open_encoder
from inference.params import OutputFormat
from inference.picture import Metadata, Samples
from tests.inference.drawings import noise, scene

FORMATS: tuple[OutputFormat, ...] = ("jpg", "png", "webp", "tiff", "avif")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

Bits = Literal[8, 16]
Channels = Literal[1, 2, 3, 4]


def drawn(width: int, height: int, *, channels: Channels, bits: Bits) -> Samples:
    """(h, w, channels): a scene with soft shades, its alpha too; 16 bits use all of theirs."""
    rgba = scene(160, 120).resize((width, height)).convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize((width, height)))
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    samples = np.asarray(rgba.convert(mode), np.uint8).reshape(height, width, channels)
    if bits == 8:
        return samples
    return np.asarray(samples * np.uint16(256) + noise(height, width, channels), np.uint16)


def shape_of(samples: Samples) -> Shape:
    """What an encoder is told of these samples, (h, w, channels)."""
    height, width, channels = samples.shape
    bits = cast(Bits, samples.itemsize * 8)
    return Shape(width, height, cast(Channels, channels), bits)


def encoded(
    samples: Samples,
    format_: OutputFormat,
    *,
    rows: int | None = None,
    metadata: Metadata = Metadata(),  # noqa: B008, frozen
) -> bytes:
    """The file, written that many rows at a time; all at once if not said."""
    file = io.BytesIO()
    with open_encoder(format_, file, shape=shape_of(samples), metadata=metadata) as encoder:
        for top in range(0, len(samples), rows or len(samples)):
            encoder.write(samples[top : top + (rows or len(samples))])
    return file.getvalue()
