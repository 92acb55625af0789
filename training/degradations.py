"""What happens to pictures before somebody uploads them: slightly soft, noisy, saved as JPEG."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]

BLURRED_SHARE, BLUR_SIGMA_PX = 0.25, (0.2, 0.8)
NOISY_SHARE, NOISE_SIGMA_LEVELS = 0.25, (0.5, 4.0)
JPEG_SHARE, JPEG_QUALITY = 0.9, (60, 95)
JPEG_GRID_PX = 8


def photographed(picture: Pixels, dice: np.random.Generator) -> Pixels:
    """An (h, w, 3) picture as it comes from a camera and the web: each damage by its share."""
    if dice.random() < BLURRED_SHARE:
        soft = ImageFilter.GaussianBlur(dice.uniform(*BLUR_SIGMA_PX))
        picture = np.asarray(Image.fromarray(picture).filter(soft))
    if dice.random() < NOISY_SHARE:
        grain = dice.normal(0, dice.uniform(*NOISE_SIGMA_LEVELS), picture.shape)
        picture = (picture + grain).round().clip(0, 255).astype(np.uint8)
    if dice.random() < JPEG_SHARE:
        quality = int(dice.integers(*JPEG_QUALITY, endpoint=True))
        picture = recompressed(picture, quality=quality, subsampling=int(dice.choice([0, 2])))
    return picture


def recompressed(picture: Pixels, *, quality: int, subsampling: int) -> Pixels:
    """Through JPEG and back; subsampling 0 is 4:4:4 and 2 is 4:2:0."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))
