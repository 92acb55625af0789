"""The training pictures: decoded and reduced once, then cut into pairs of small and true crops."""

import csv
import io
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F

Pixels = NDArray[np.uint8]

GROUP_WEIGHTS = {
    "photo": 1.0,
    "cgi": 0.5,
    "art": 0.4,
    "drawing": 0.4,
    "text": 0.4,
    "synthetic": 0.4,
}
JPEG_GRID_PX = 8  # crops are cut after compression, so that its grid may start anywhere in them


class Pair(NamedTuple):
    """One picture twice: `large` is (h, w, 3) uint8, `small` the same reduced by the scale."""

    small: Pixels
    large: Pixels
    weight: float


def load(folder: Path, *, split: Literal["train", "val"], scale: int) -> list[Pair]:
    """Every picture of a split of `folder`/manifest.csv, in its order; sides end on the scale."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as rows:
        chosen = [row for row in csv.DictReader(rows) if row["split"] == split]
    pairs = []
    for row in chosen:
        large = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
        large = large[: large.shape[0] // scale * scale, : large.shape[1] // scale * scale]
        weight = GROUP_WEIGHTS[row["group"]] * large.shape[0] * large.shape[1]
        pairs.append(Pair(reduced(large, scale=scale), large, weight))
    return pairs


def reduced(picture: Pixels, *, scale: int) -> Pixels:
    """Antialiased bicubic (Keys, a = -0.5), rounded to 8 bits as a stored small picture is."""
    planes = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    small = F.interpolate(planes, size=(height, width), mode="bicubic", antialias=True)
    pixels: Pixels = small[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    return pixels


def batch(
    pairs: list[Pair],
    dice: np.random.Generator,
    *,
    size: int,
    crop_px: int,
    degraded_share: float,
) -> tuple[Tensor, Tensor]:
    """`size` crops: (size, 3, crop_px, crop_px) and the truth, both RGB in 0..1, channels last."""
    weights = np.array([pair.weight for pair in pairs])
    chosen = dice.choice(len(pairs), size=size, p=weights / weights.sum())
    crops = [_crop(pairs[i], dice, crop_px=crop_px, share=degraded_share) for i in chosen]
    return as_tensor([small for small, _ in crops]), as_tensor([large for _, large in crops])


def as_tensor(pictures: list[Pixels]) -> Tensor:
    """Equally large (h, w, 3) uint8 pictures as one (n, 3, h, w) tensor in 0..1, channels last."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(255)


def _crop(
    pair: Pair, dice: np.random.Generator, *, crop_px: int, share: float
) -> tuple[Pixels, Pixels]:
    scale = pair.large.shape[0] // pair.small.shape[0]
    wide_px = crop_px + JPEG_GRID_PX - 1
    top, left = (dice.integers(0, side - wide_px + 1) for side in pair.small.shape[:2])
    small = pair.small[top : top + wide_px, left : left + wide_px]
    if dice.random() < share:
        small = degraded(small, dice)
    down, right = dice.integers(0, JPEG_GRID_PX, size=2)
    small = small[down : down + crop_px, right : right + crop_px]
    top, left = (top + down) * scale, (left + right) * scale
    large = pair.large[top : top + crop_px * scale, left : left + crop_px * scale]
    turns, mirror = int(dice.integers(0, 4)), int(dice.choice([-1, 1]))
    return np.rot90(small, turns)[:, ::mirror], np.rot90(large, turns)[:, ::mirror]


def middle(pair: Pair, *, side_px: int, scale: int) -> tuple[Pixels, Pixels]:
    """The middle of a picture, at most `side_px` square before enlarging, and its truth."""
    top, left = (max(0, side - side_px) // 2 for side in pair.small.shape[:2])
    small = pair.small[top : top + side_px, left : left + side_px]
    large = pair.large[top * scale :, left * scale :]
    return small, large[: small.shape[0] * scale, : small.shape[1] * scale]


def degraded(picture: Pixels, dice: np.random.Generator) -> Pixels:
    """As pictures come from the web: sometimes slightly soft, mostly saved as JPEG."""
    if dice.random() < 0.25:
        soft = ImageFilter.GaussianBlur(dice.uniform(0.2, 0.6))
        picture = np.asarray(Image.fromarray(picture).filter(soft))
    if dice.random() < 0.85:
        quality, subsampling = int(dice.integers(60, 96)), int(dice.choice([0, 2]))
        picture = recompressed(picture, quality=quality, subsampling=subsampling)
    return picture


def recompressed(picture: Pixels, *, quality: int, subsampling: int) -> Pixels:
    """Through JPEG and back; subsampling 0 is 4:4:4 and 2 is 4:2:0."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))
