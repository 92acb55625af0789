"""Files into pictures: upright samples of 8 or 16 bits, and the metadata that may go along.

JPEG and WebP are read by Pillow. PNG and TIFF are read by libvips, which keeps 16 bits and every
kind of transparency; it also converts CMYK, since it has a profile for inks that come without one.
Neither gets to see EXIF or XMP.
"""

import logging
import struct
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from inference import exif, png_colour, png_header, profiles, xmp
from inference.errors import CorruptImage, UnsupportedImage
from inference.images import OpenFile, opened
from inference.params import MetadataPolicy
from inference.picture import Metadata, Picture, Samples
from inference.png_header import PngHeader
from inference.tiff_header import LAB, PHOTOMETRIC_RGB, TiffHeader

log = logging.getLogger(__name__)

pyvips.cache_set_max(0)  # every file is read once

_OPTIONS = {"access": "sequential", "fail_on": "error"}
_RGB_OF_BITS = {8: "srgb", 16: "rgb16"}
_BITS = {"uchar": 8, "ushort": 16}
_COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb": 3, "rgb16": 3, "cmyk": 4}


def decode(data: bytes, *, max_pixels: int, policy: MetadataPolicy) -> Picture:
    """The pixels as displayed; grey stays grey, alpha stays alpha, 16 bits stay 16.

    RGB and grey keep their ICC profile; CMYK and Lab become sRGB. Raises what `probe` raises,
    `CorruptImage` for what only decoding finds, and `UnsupportedImage`.
    """
    with opened(data, max_pixels=max_pixels) as file:
        samples, icc = _read(data, file)
        described = Metadata(
            icc=profiles.kept(icc, space=b"GRAY" if samples.shape[2] < 3 else b"RGB "),
            exif=exif.kept(file.exif, policy=policy),
            xmp=xmp.kept(file.xmp, policy=policy),
            density_ppi=file.density_ppi,
        )
    if samples.shape[:2] != (file.height_px, file.width_px):
        raise CorruptImage
    return _picture(np.ascontiguousarray(_upright(samples, file.orientation)), described)


def _read(data: bytes, file: OpenFile) -> tuple[Samples, bytes | None]:
    """(h, w, channels) of grey or RGB, with or without alpha, and the profile that describes it."""
    header = file.header
    try:
        if isinstance(header, PngHeader):
            image = pyvips.Image.pngload_buffer(png_header.bare(data), **_OPTIONS)
            return _samples(image), png_colour.icc(header)
        if isinstance(header, TiffHeader):
            return _tiff(data, header)
        return _by_pillow(header)
    except pyvips.Error as error:
        raise CorruptImage from error


def _by_pillow(image: Image.Image) -> tuple[Samples, bytes | None]:
    if image.mode not in ("L", "RGB", "RGBA", "CMYK"):
        raise UnsupportedImage(f"Pictures of the mode {image.mode} are not supported")
    icc = image.info.get("icc_profile")
    pixels = np.asarray(image)
    if image.mode == "CMYK":
        if "adobe" not in image.info:  # Pillow takes all inks for inverted, as Adobe stores them
            pixels = ~pixels
        inks = pyvips.Image.new_from_array(pixels, interpretation="cmyk")
        return _samples(_as_srgb(inks, icc)), None
    return (pixels if pixels.ndim == 3 else pixels[..., None]), icc


def _tiff(data: bytes, header: TiffHeader) -> tuple[Samples, bytes | None]:
    if header.photometric == LAB:  # libvips takes few kinds of Lab: it reads the bare numbers
        place = struct.pack(f"{header.order}H", PHOTOMETRIC_RGB)
        data = data[: header.photometric_at] + place + data[header.photometric_at + 2 :]
    image = pyvips.Image.tiffload_buffer(data, **_OPTIONS)
    if image.bands > header.shown_samples and image.bands == header.samples:
        image = image.extract_band(0, n=header.shown_samples)
    if header.photometric == LAB:
        return _samples(_lab_as_srgb(image)), None
    if image.interpretation == "cmyk":
        # From its file it can be read only once, and must be twice where the profile is broken.
        return _samples(_as_srgb(image.copy_memory(), header.icc)), None
    return _samples(image), header.icc


def _samples(image: Any) -> Samples:
    if image.format not in _BITS or image.interpretation not in _COLOURS:
        raise UnsupportedImage(f"Pictures of {image.interpretation} samples are not supported")
    if not 0 <= image.bands - _COLOURS[image.interpretation] <= 1:
        raise UnsupportedImage(f"Pictures of {image.bands} channels are not supported")
    samples: Samples = image.numpy().reshape(image.height, image.width, image.bands)
    return samples


def _as_srgb(image: Any, icc: bytes | None) -> Any:
    """CMYK by the picture's profile, if it has a valid one; else by a usual press's."""
    bits, inks = _BITS[image.format], image.extract_band(0, n=4)
    alpha = image[4] if image.bands > 4 else None
    if profiles.kept(icc, space=b"CMYK") is not None:
        inks.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
        try:
            converted = inks.icc_transform("srgb", embedded=True, depth=bits).copy_memory()
            return _joined(converted, alpha)
        except pyvips.Error:
            log.warning("a picture's CMYK profile is broken")
            inks.remove("icc-profile-data")
    return _joined(inks.colourspace(_RGB_OF_BITS[bits]), alpha)


def _lab_as_srgb(image: Any) -> Any:
    """CIE L*a*b* as TIFF has it: the whole range for L*, and a* and b* with a sign."""
    bits = _BITS[image.format]
    half = 2 ** (bits - 1)
    lightness = image[0] * (100 / (2 * half - 1))
    opposed = [
        (image[band] >= half).ifthenelse(image[band] - 2 * half, image[band]) * (128 / half)
        for band in (1, 2)
    ]
    lab = lightness.bandjoin(opposed).copy(interpretation="lab")
    return _joined(lab.colourspace(_RGB_OF_BITS[bits]), image[3] if image.bands > 3 else None)


def _joined(colour: Any, alpha: Any) -> Any:
    return colour if alpha is None else colour.bandjoin(alpha)


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
