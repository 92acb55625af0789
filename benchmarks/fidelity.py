"""How near one picture is to another: PSNR and SSIM on luma, as papers print them."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()


def luma(picture: Pixels, *, border_px: int) -> Floats:
    """Y of BT.601 in studio range, unrounded, without the border, of an (h, w, 3) picture.

    Of a grey one, (h, w, 1), its own values: so published figures take Set14's grey picture.
    """
    inner = picture[border_px:-border_px, border_px:-border_px]
    if picture.shape[2] == 1:
        return inner[..., 0].astype(np.float64)
    return np.asarray(inner @ (np.array([65.481, 128.553, 24.966]) / 255) + 16)


def psnr_db(one: Floats, other: Floats) -> float:
    """Peak signal-to-noise ratio for a peak of 255."""
    return float(10 * np.log10(255**2 / np.square(one - other).mean()))


def ssim(one: Floats, other: Floats) -> float:
    """Wang et al. 2004: Gaussian window of 11 x 11, sigma 1.5, where it fits entirely."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean1, mean2 = _blurred(one), _blurred(other)
    variance1 = _blurred(one * one) - mean1**2
    variance2 = _blurred(other * other) - mean2**2
    covariance = _blurred(one * other) - mean1 * mean2
    alike = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return float(np.mean(alike / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2))))


def _blurred(plane: Floats) -> Floats:
    for _ in range(2):
        length = plane.shape[0] - len(_WINDOW) + 1
        plane = sum(
            (weight * plane[i : i + length] for i, weight in enumerate(_WINDOW)),
            start=np.zeros((length, plane.shape[1])),
        ).T
    return plane
