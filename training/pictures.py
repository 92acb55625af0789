"""The training pictures: decoded and reduced once, then cut into pairs of small and true crops."""

import csv
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from training.degradations import JPEG_GRID_PX, photographed

Pixels = NDArray[np.uint8]
Kind = Literal["photo", "clean"]

GROUP_WEIGHTS = {
    "photo": 1.0,
    "cgi": 0.5,
    "art": 0.4,
    "drawing": 0.4,
    "text": 0.4,
    "synthetic": 0.4,
}


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


class Crops(Dataset[tuple[Pixels, Pixels]]):
    """Crop number i of an endless supply: (crop_px, crop_px, 3) and its truth, both uint8.

    What a crop shows depends on the seed and its number alone, so that a run can go on anywhere,
    with any number of loading processes, and give the same weights.
    """

    def __init__(self, pairs: list[Pair], *, kind: Kind, crop_px: int, seed: int) -> None:
        self._pairs, self._kind, self._crop_px, self._seed = pairs, kind, crop_px, seed
        weights = np.array([pair.weight for pair in pairs])
        self._shares = weights / weights.sum()

    def __getitem__(self, number: int) -> tuple[Pixels, Pixels]:
        dice = np.random.default_rng((self._seed, number))
        pair = self._pairs[dice.choice(len(self._pairs), p=self._shares)]
        small, large = self._window(pair, dice)
        turns, mirror = int(dice.integers(0, 4)), int(dice.choice([-1, 1]))
        return (
            np.rot90(small, turns)[:, ::mirror].copy(),
            np.rot90(large, turns)[:, ::mirror].copy(),
        )

    def _window(self, pair: Pair, dice: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Cut after compression, so that JPEG's grid may start anywhere in the crop."""
        crop_px, scale = self._crop_px, pair.large.shape[0] // pair.small.shape[0]
        wide_px = crop_px + JPEG_GRID_PX - 1
        top, left = (dice.integers(0, side - wide_px + 1) for side in pair.small.shape[:2])
        small = pair.small[top : top + wide_px, left : left + wide_px]
        if self._kind == "photo":
            small = photographed(small, dice)
        down, right = dice.integers(0, JPEG_GRID_PX, size=2)
        small = small[down : down + crop_px, right : right + crop_px]
        top, left = (top + down) * scale, (left + right) * scale
        return small, pair.large[top : top + crop_px * scale, left : left + crop_px * scale]


def middle(pair: Pair, *, side_px: int) -> tuple[Pixels, Pixels]:
    """The middle of a picture, at most `side_px` square before enlarging, and its truth."""
    scale = pair.large.shape[0] // pair.small.shape[0]
    top, left = (max(0, side - side_px) // 2 for side in pair.small.shape[:2])
    small = pair.small[top : top + side_px, left : left + side_px]
    large = pair.large[top * scale :, left * scale :]
    return small, large[: small.shape[0] * scale, : small.shape[1] * scale]


def planes(pictures: Tensor) -> Tensor:
    """(n, h, w, 3) uint8 as (n, 3, h, w) in 0..1, channels last."""
    return pictures.permute(0, 3, 1, 2).float().div(255)
