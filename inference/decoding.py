"""Files into pictures: upright samples of 8 or 16 bits, and the metadata that may go along.

JPEG and WebP are read by Pillow. PNG, TIFF and whatever is in CMYK are read by libvips, which keeps
16 bits and every kind of transparency, and has a press's profile for inks that come without one.
"""

import logging
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from inference import metadata
from inference.errors import CorruptImage, UnsupportedImage
from inference.images import opened
from inference.params import MetadataPolicy
from inference.picture import Metadata, Picture, Samples
from inference.tiff_header import TiffHeader

log = logging.getLogger(__name__)

pyvips.cache_set_max(0)  # every file is read once

_MODES = ("L", "RGB", "RGBA")
_RGB_OF_BITS = {8: "srgb", 16: "rgb16"}
_GREY, _RGB = ("b-w", "grey16"), ("srgb", "rgb", "rgb16")


def decode(data: bytes, *, max_pixels: int, policy: MetadataPolicy) -> Picture:
    """The pixels as displayed; grey stays grey, alpha stays alpha, 16 bits stay 16.

    RGB and grey keep their ICC profile; CMYK and Lab become sRGB. Raises what `probe` raises,
    `CorruptImage` for what only decoding finds, and `UnsupportedImage`.
    """
    with opened(data, max_pixels=max_pixels) as file:
        if file.image is not None and file.image.mode in _MODES and file.format != "png":
            samples, icc = _by_pillow(file.image)
        else:
            samples, icc = _by_vips(data, file.icc, tiff=file.tiff)
        described = Metadata(
            icc=metadata.kept_icc(icc, space=b"GRAY" if samples.shape[2] < 3 else b"RGB "),
            exif=metadata.kept_exif(file.exif, policy=policy),
            xmp=metadata.kept_xmp(file.xmp, policy=policy),
            density_ppi=file.density_ppi,
        )
        turned = np.ascontiguousarray(_upright(samples, file.orientation))
    return _picture(turned, described)


def _by_pillow(image: Image.Image) -> tuple[Samples, bytes | None]:
    """(h, w, channels) of 8 bits, and the profile that describes them."""
    pixels = np.asarray(image)
    return (pixels if pixels.ndim == 3 else pixels[..., None]), image.info.get("icc_profile")


def _by_vips(
    data: bytes, icc: bytes | None, *, tiff: TiffHeader | None
) -> tuple[Samples, bytes | None]:
    try:
        image = pyvips.Image.new_from_buffer(data, "", access="sequential", fail_on="error")
        if tiff is not None:
            image = _without_extras(image, tiff)
        if image.format not in ("uchar", "ushort"):
            raise UnsupportedImage(f"Samples of the type {image.format} are not supported")
        if image.interpretation not in (*_GREY, *_RGB):
            image, icc = _as_srgb(image, icc), None
        samples: Samples = image.numpy()
    except pyvips.Error as error:
        raise CorruptImage from error
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[2] > 4:
        raise UnsupportedImage(f"Pictures of {samples.shape[2]} channels are not supported")
    return samples, icc


def _without_extras(image: Any, tiff: TiffHeader) -> Any:
    """Colour and alpha; further channels are selections and the like, which do not show."""
    kept = image.bands - tiff.extra_samples + (1 if tiff.has_alpha else 0)
    if 0 < kept < image.bands:
        image = image.extract_band(0, n=kept)
    return image


def _as_srgb(image: Any, icc: bytes | None) -> Any:
    """By the picture's profile, if it has a valid one; else by the plain formula."""
    bits = 16 if image.format == "ushort" else 8
    space = {"cmyk": b"CMYK", "lab": b"Lab "}.get(image.interpretation, b"")
    if metadata.kept_icc(icc, space=space) is not None:
        image = image.copy_memory()  # it can be read only once, and the profile may be broken
        try:
            return image.icc_transform("srgb", embedded=True, depth=bits).copy_memory()
        except pyvips.Error:
            log.warning("a picture's %s profile is broken", image.interpretation)
    return image.colourspace(_RGB_OF_BITS[bits])


def _upright(samples: Samples, orientation: int) -> NDArray[Any]:
    """Turned and mirrored as EXIF's orientation asks."""
    match orientation:
        case 2:
            return samples[:, ::-1]
        case 3:
            return samples[::-1, ::-1]
        case 4:
            return samples[::-1]
        case 5:
            return samples.swapaxes(0, 1)
        case 6:
            return samples.swapaxes(0, 1)[:, ::-1]
        case 7:
            return samples.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            return samples.swapaxes(0, 1)[::-1]
        case _:
            return samples


def _picture(samples: NDArray[Any], described: Metadata) -> Picture:
    match samples.shape[2]:
        case 1:
            return Picture(samples[..., 0], None, described)
        case 2:
            return Picture(samples[..., 0], samples[..., 1], described)
        case 3:
            return Picture(samples, None, described)
        case _:
            return Picture(samples[..., :3], samples[..., 3], described)
