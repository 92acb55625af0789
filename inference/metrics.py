"""How near one picture is to another: luma, PSNR, SSIM and the colour difference CIEDE2000."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
"""Samples from 0 to 255, of either precision; what comes of them has the same."""

PEAK = 255.0
MAX_PSNR_DB = 100.0
"""What pictures have that are equal: infinity has no place in JSON."""
WINDOW_PX, WINDOW_SIGMA_PX = 11, 1.5
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2

_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_D65 = _XYZ.sum(axis=1)  # white is what (1, 1, 1) becomes: greys have neither a nor b
_LAB_KNEE = 6 / 29


def luma(picture: Floats) -> Floats:
    """Y of BT.601 in studio range, unrounded, of (h, w, 3); grey, (h, w), is its own.

    So published figures take it, and Set14's grey picture.
    """
    if picture.ndim == 2:
        return picture
    return np.asarray(picture @ _LUMA.astype(picture.dtype) + picture.dtype.type(16))


def psnr_db(mean_square: float) -> float:
    """Peak signal-to-noise ratio of a mean squared error, for a peak of 255; capped."""
    if mean_square <= 0:
        return MAX_PSNR_DB
    return min(MAX_PSNR_DB, 10 * math.log10(PEAK**2 / mean_square))


def ssim(one: Floats, other: Floats) -> Floats:
    """Wang et al. 2004, section III.B and C, of two (h, w): a value for each place of the window.

    The window is a Gaussian of 11 x 11 with a sigma of 1.5, placed where it fits entirely, so the
    map is smaller by 10 each way. A side of fewer pixels takes a window of its own length.
    """
    mean1, mean2 = _weighted(one), _weighted(other)
    square1, square2, product = mean1 * mean1, mean2 * mean2, mean1 * mean2
    variances = _weighted(one * one + other * other) - square1 - square2
    covariance = _weighted(one * other) - product
    alike = (2 * product + _C1) * (2 * covariance + _C2)
    return alike / ((square1 + square2 + _C1) * (variances + _C2))


def _weighted(plane: Floats) -> Floats:
    for axis in range(2):
        window = _window(min(WINDOW_PX, plane.shape[axis]))
        places = plane.shape[axis] - len(window) + 1
        along = plane.swapaxes(0, axis)
        total = along[:places] * plane.dtype.type(window[0])
        part = np.empty_like(total)
        for at, weight in enumerate(window[1:], start=1):
            np.multiply(along[at : at + places], plane.dtype.type(weight), out=part)
            total += part
        plane = total.swapaxes(0, axis)
    return plane


def _window(length: int) -> NDArray[np.float64]:
    distances = np.arange(length) - (length - 1) / 2
    weights = np.exp(-(distances**2) / (2 * WINDOW_SIGMA_PX**2))
    return np.asarray(weights / weights.sum())


def lab(srgb: Floats) -> Floats:
    """sRGB (IEC 61966-2-1), (..., 3) in 0..255 -> CIELAB (ISO/CIE 11664-4) under D65."""
    encoded = srgb / PEAK
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    relative = linear @ _XYZ.T / _D65
    line = relative / (3 * _LAB_KNEE**2) + 4 / 29
    x, y, z = np.moveaxis(np.where(relative > _LAB_KNEE**3, np.cbrt(relative), line), -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def ciede2000(one: Floats, other: Floats) -> Floats:
    """ISO/CIE 11664-6 with all weights one, of two (..., 3) in CIELAB -> (...).

    After Sharma, Wu and Dalal 2005, Color Research and Application 30, pages 22 to 23: the hues of
    greys are 0, and two hues' mean is taken the short way round.
    """
    lightness1, lightness2 = one[..., 0], other[..., 0]
    chroma1, hue1, chroma2, hue2 = _chromas_and_hues(one, other)
    turn = np.where(chroma1 * chroma2 == 0, 0, (hue2 - hue1 + 180) % 360 - 180)
    across = 2 * np.sqrt(chroma1 * chroma2) * _sin(turn / 2)
    lightness, chroma = (lightness1 + lightness2) / 2, (chroma1 + chroma2) / 2
    hue = _mean_hue(hue1, hue2, is_grey=chroma1 * chroma2 == 0)

    tint = 1 - 0.17 * _cos(hue - 30) + 0.24 * _cos(2 * hue)
    tint += 0.32 * _cos(3 * hue + 6) - 0.20 * _cos(4 * hue - 63)
    from_mid = (lightness - 50) ** 2
    by_lightness = (lightness2 - lightness1) / (1 + 0.015 * from_mid / np.sqrt(20 + from_mid))
    by_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    by_hue = across / (1 + 0.015 * chroma * tint)
    in_blue = _sin(60 * np.exp(-(((hue - 275) / 25) ** 2)))
    mixed = -2 * _saturation(chroma) * in_blue * by_chroma * by_hue
    return np.asarray(np.sqrt(by_lightness**2 + by_chroma**2 + by_hue**2 + mixed))


def _chromas_and_hues(one: Floats, other: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """C' and h' of both (equations 2 to 7)."""
    plain = (np.hypot(one[..., 1], one[..., 2]) + np.hypot(other[..., 1], other[..., 2])) / 2
    stretch = 1 + 0.5 * (1 - _saturation(plain))
    a1, a2, b1, b2 = one[..., 1] * stretch, other[..., 1] * stretch, one[..., 2], other[..., 2]
    hue1, hue2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    return np.hypot(a1, b1), hue1, np.hypot(a2, b2), hue2


def _mean_hue(hue1: Floats, hue2: Floats, *, is_grey: NDArray[np.bool_]) -> Floats:
    """Equation 14; where one of the colours is grey, the hue of the other."""
    total = hue1 + hue2
    is_far = np.abs(hue1 - hue2) > 180
    mean = np.where(is_far, (total + np.where(total < 360, 360, -360)) / 2, total / 2)
    return np.where(is_grey, total, mean)


def _saturation(chroma: Floats) -> Floats:
    return np.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _sin(degrees: Floats) -> Floats:
    return np.sin(np.radians(degrees))


def _cos(degrees: Floats) -> Floats:
    return np.cos(np.radians(degrees))
