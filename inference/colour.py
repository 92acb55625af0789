"""Colour models: any picture as plain grey or RGB, profiles, and what lies under transparency."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]

STRIP_ROWS = 256

_SPACES = {
    **dict.fromkeys(("1", "L", "LA", "I", "I;16"), b"GRAY"),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "RGBX"), b"RGB "),
    "CMYK": b"CMYK",
}
"""The colour space that an ICC profile's header must name, for each of Pillow's modes."""


def plain(image: Image.Image) -> Image.Image:
    """The picture in mode L, LA, RGB or RGBA, 8 bits a sample.

    16-bit grey is rounded; CMYK goes to sRGB through its profile, if that is valid.
    """
    is_keyed = "transparency" in image.info
    match image.mode:
        case "L" | "LA" | "RGB" | "RGBA" if not is_keyed:
            image.load()
            return image
        case "1" | "L":
            return image.convert("L").convert("LA") if is_keyed else image.convert("L")
        case "I;16" | "I":
            return _from_16_bits(np.asarray(image), key=image.info.get("transparency"))
        case "P" | "RGB":
            return image.convert("RGBA" if is_keyed else "RGB")
        case "PA":
            return image.convert("RGBA")
        case "CMYK":
            return as_srgb(image, image.info.get("icc_profile"))
        case _:
            return image.convert("RGB")


def kept_profile(image: Image.Image) -> bytes | None:
    """The profile that describes what `plain` gives: none for CMYK, which it has converted."""
    icc = image.info.get("icc_profile")
    return icc if image.mode != "CMYK" and _suits(icc, image.mode) else None


def as_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """RGB by the picture's profile; by the plain formula where that is missing or invalid."""
    if icc is None or not _suits(icc, image.mode):
        return image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            image, io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    assert converted is not None  # None only when converting in place
    return converted


def _suits(icc: bytes | None, mode: str) -> bool:
    """Whether a profile is one and describes pictures of this mode: its header says so."""
    return icc is not None and icc[36:40] == b"acsp" and icc[16:20] == _SPACES.get(mode)


def on_white(pixels: Pixels, *, alpha: Pixels) -> Pixels:
    """(h, w, 3) or (h, w) as it shows on white; in strips, since a whole picture is large."""
    shown = np.empty_like(pixels)
    for top in range(0, len(pixels), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        opacity = alpha[rows].astype(np.uint16)
        opacity = opacity[..., None] if pixels.ndim == 3 else opacity
        shown[rows] = (pixels[rows] * opacity + 255 * (255 - opacity) + 127) // 255
    return shown


def bleed(colour: Pixels, *, alpha: Pixels) -> Pixels:
    """The same picture with the colour of invisible pixels taken from the nearest visible ones.

    Files hold anything under full transparency, often black, which a network would smear into
    the edges of what is visible. `colour` is (h, w, 3) or (h, w).
    """
    return _filled(colour, alpha > 0)


def _filled(colour: Pixels, known: NDArray[np.bool_]) -> Pixels:
    """Unknown pixels from a picture of half the size, whose unknown pixels come likewise."""
    if known.all() or not known.any():
        return colour
    height, width = known.shape
    coarse = _filled(*_halved(colour, known))
    doubled = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    mask = known[..., None] if colour.ndim == 3 else known
    return np.where(mask, colour, doubled)


def _halved(colour: Pixels, known: NDArray[np.bool_]) -> tuple[Pixels, NDArray[np.bool_]]:
    """Means over the known ones of each two by two pixels, and where there was any."""
    odd = [(0, side % 2) for side in known.shape]
    known = np.pad(known, odd)
    colour = np.pad(colour, [*odd, (0, 0)][: colour.ndim])
    mask = known[..., None] if colour.ndim == 3 else known
    corners = [(slice(top, None, 2), slice(left, None, 2)) for top in (0, 1) for left in (0, 1)]
    total = sum((colour * mask)[corner].astype(np.uint16) for corner in corners)
    count = sum(mask[corner].astype(np.uint16) for corner in corners)
    mean = (total + count // 2) // np.maximum(count, 1)
    return np.asarray(mean, dtype=np.uint8), np.asarray(count > 0).reshape(mean.shape[0], -1)


def _from_16_bits(grey: NDArray[np.generic], *, key: int | None) -> Image.Image:
    values = np.clip(grey.astype(np.int64), 0, 65_535)
    image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if key is not None:
        image.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return image
