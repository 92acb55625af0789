"""What is cut from pictures: pairs that show the same place, and damage that stays mild."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference.drawings import noise, scene
from training.degradations import photographed
from training.pictures import Crops, Kind, load, middle, planes, reduced


def crops(folder: Path, *, kind: Kind = "clean", seed: int = 0) -> Crops:
    return Crops(load(folder, split="train", scale=2), kind=kind, crop_px=24, seed=seed)


@pytest.mark.parametrize(("kind", "near"), [("clean", 0.02), ("photo", 0.04)])
def test_a_crop_and_its_truth_show_the_same_place(folder: Path, kind: Kind, near: float) -> None:
    some = crops(folder, kind=kind)
    pairs = [some[number] for number in range(16)]
    small, large = (planes(torch.from_numpy(np.stack(each))) for each in zip(*pairs, strict=True))
    assert small.shape == (16, 3, 24, 24)
    assert large.shape == (16, 3, 48, 48)
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < near


def test_a_crop_depends_on_its_number_and_the_seed_alone(folder: Path) -> None:
    one, two = crops(folder, kind="photo"), crops(folder, kind="photo")
    two[0]  # what was cut before does not matter
    assert np.array_equal(one[5][0], two[5][0])
    assert not np.array_equal(one[5][0], one[6][0])
    assert not np.array_equal(one[5][0], crops(folder, kind="photo", seed=1)[5][0])


def test_damage_is_mild_and_keeps_the_size() -> None:
    dice = np.random.default_rng(0)
    picture = np.asarray(scene(40, 40))
    for _ in range(20):
        worse = photographed(picture, dice)
        assert worse.shape == picture.shape
        assert np.abs(worse.astype(int) - picture).mean() < 20


def test_reduction_rounds_to_levels() -> None:
    assert reduced(noise(8, 8, 3), scale=2).dtype == np.uint8


def test_the_middle_and_its_truth_fit(folder: Path) -> None:
    small, large = middle(load(folder, split="val", scale=2)[0], side_px=30)
    assert (small.shape, large.shape) == ((30, 30, 3), (60, 60, 3))
