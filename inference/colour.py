"""Colour: conversion to sRGB, and what lies under transparency."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from inference import profiles
from inference.picture import Samples

Pixels = NDArray[np.uint8]

STRIP_ROWS = 256

_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}
"""The colour space that an ICC profile's header must name, for each of Pillow's modes."""


def as_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """RGB by the picture's profile; by the plain formula where that is missing or invalid."""
    if profiles.kept(icc, space=_SPACES.get(image.mode, b"")) is None or icc is None:
        return image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            image, io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    assert converted is not None  # None only when converting in place
    return converted


def on_white(pixels: Pixels, *, alpha: Pixels) -> Pixels:
    """(h, w, 3) or (h, w) as it shows on white; in strips, since a whole picture is large."""
    shown = np.empty_like(pixels)
    for top in range(0, len(pixels), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        opacity = alpha[rows].astype(np.uint16)
        opacity = opacity[..., None] if pixels.ndim == 3 else opacity
        shown[rows] = (pixels[rows] * opacity + 255 * (255 - opacity) + 127) // 255
    return shown


def bleed(colour: Samples, *, alpha: Samples) -> Samples:
    """The same picture with the colour of invisible pixels taken from the nearest visible ones.

    Files hold anything under full transparency, often black, which a network would smear into
    the edges of what is visible. What is visible, however faint, keeps the colour it was given,
    since it may be shown on anything. `colour` is (h, w, 3) or (h, w), of 8 or 16 bits.
    """
    return _filled(colour, alpha > 0)


def _filled(colour: Samples, known: NDArray[np.bool_]) -> Samples:
    """Unknown pixels from a picture of half the size, whose unknown pixels come likewise."""
    if known.all() or not known.any():
        return colour
    height, width = known.shape
    coarse = _filled(*_halved(colour, known))
    doubled = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    mask = known[..., None] if colour.ndim == 3 else known
    filled: Samples = np.where(mask, colour, doubled)
    return filled


def _halved(colour: Samples, known: NDArray[np.bool_]) -> tuple[Samples, NDArray[np.bool_]]:
    """Means over the known ones of each two by two pixels, and where there was any."""
    odd = [(0, side % 2) for side in known.shape]
    known = np.pad(known, odd)
    padded = np.pad(colour, [*odd, (0, 0)][: colour.ndim])
    mask = known[..., None] if colour.ndim == 3 else known
    corners = [(slice(top, None, 2), slice(left, None, 2)) for top in (0, 1) for left in (0, 1)]
    total = sum((padded[corner] * mask[corner]).astype(np.uint32) for corner in corners)
    count = sum(mask[corner].astype(np.uint32) for corner in corners)
    mean: NDArray[Any] = (total + count // 2) // np.maximum(count, 1)
    kept = mean.astype(np.uint8) if colour.dtype == np.uint8 else mean.astype(np.uint16)
    return kept, np.asarray(count > 0).reshape(mean.shape[0], -1)
