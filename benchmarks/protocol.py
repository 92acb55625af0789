"""The published protocol of super-resolution: sets, reductions, and luma PSNR and SSIM.

Sides are cut to multiples of the scale, pictures reduced by MATLAB's bicubic, and a border of
`scale` pixels is not counted.
"""

import io
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.resampling import CUBIC, Kernel, resized
from inference.metrics import Floats, luma, psnr_db, ssim

Pixels = NDArray[np.uint8]
Method = Callable[[Pixels, int], Pixels]
"""Takes a picture, (h, w, 3) or (h, w, 1), and a scale; gives the enlarged one."""


class Score(NamedTuple):
    """Means over a set."""

    psnr_db: float
    ssim: float


class Pair(NamedTuple):
    """What a method is given, and what it should give."""

    small: Pixels
    truth: Pixels


def pairs(
    folder: Path, scale: int, *, damage: Callable[[Pixels], Pixels] | None = None
) -> list[Pair]:
    """A set's pictures, reduced and, on request, damaged after that."""
    small = [(reduced(truth, scale), truth) for truth in truths(folder, scale)]
    return [Pair(each if damage is None else damage(each), truth) for each, truth in small]


def score(method: Method, some: list[Pair], scale: int) -> Score:
    """How near a method comes to the truth."""
    psnrs, likenesses = [], []
    for small, truth in some:
        made = inner_luma(method(small, scale), border_px=scale)
        true = inner_luma(truth, border_px=scale)
        psnrs.append(psnr_db(float(np.square(made - true).mean())))
        likenesses.append(float(ssim(made, true).mean()))
    return Score(statistics.fmean(psnrs), statistics.fmean(likenesses))


def inner_luma(picture: Pixels, *, border_px: int) -> Floats:
    """Of (h, w, 3) or, grey, (h, w, 1), without the border."""
    inner = picture[border_px:-border_px, border_px:-border_px].astype(np.float64)
    return luma(inner[..., 0] if picture.shape[2] == 1 else inner)


def truths(folder: Path, scale: int) -> Iterator[Pixels]:
    """A set's pictures with sides that the scale divides."""
    for path in pictures(folder):
        picture = pixels(path)
        height, width = (side // scale * scale for side in picture.shape[:2])
        yield picture[:height, :width]


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder, in a fixed order."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".webp"))


def pixels(path: Path) -> Pixels:
    """A file as (h, w, 3) or, grey, (h, w, 1)."""
    picture = np.asarray(Image.open(path))
    return picture if picture.ndim == 3 else picture[..., None]


def reduced(picture: Pixels, scale: int) -> Pixels:
    """The small picture that the methods are given."""
    height, width = (side // scale for side in picture.shape[:2])
    return resized(picture, width=width, height=height, kernel=CUBIC)


def through_jpeg(picture: Pixels) -> Pixels:
    """At quality 75 with halved chroma, as much of the web has it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=75, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def by_kernel(kernel: Kernel) -> Method:
    """Plain enlargement."""
    return lambda small, scale: resized(
        small, width=small.shape[1] * scale, height=small.shape[0] * scale, kernel=kernel
    )
