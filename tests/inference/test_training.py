"""A training run of a few steps, from a folder of pictures to weights that load."""

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inference.catalogue import BUILT_IN_X2, BUILT_IN_X4
from inference.checkpoints import load_network
from tests.inference.drawings import noise, scene
from training import pictures, train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures to train on and one to validate with."""
    files = [("a.png", "train", "photo"), ("b.png", "train", "text"), ("c.png", "val", "photo")]
    with (tmp_path / "manifest.csv").open("w", newline="") as manifest:
        csv.writer(manifest).writerows([("file", "split", "group"), *files])
    for i, (name, _, _) in enumerate(files):
        scene(170 + i, 161).save(tmp_path / name)
    return tmp_path


def trained(folder: Path, name: str, *options: str) -> Path:
    out = folder / name
    train.main(
        ["--pictures", str(folder), "--out", str(out), "--batch", "2", "--crop", "32", *options]
    )
    return out


def test_a_short_run_gives_weights_that_load(folder: Path) -> None:
    two = trained(folder, "x2", "--scale", "2", "--steps", "3", "--credit", "drawn")
    four = trained(folder, "x4", "--scale", "4", "--steps", "2", "--start-from", str(two))
    for weights, path in ((BUILT_IN_X2, two), (BUILT_IN_X4, four)):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        made = replace(weights, file=path.name, sha256=sha256)
        network = load_network(made, folder=folder)
        assert torch.isfinite(network(torch.rand(1, 3, 9, 9))).all()


def test_the_same_seed_gives_the_same_weights(folder: Path) -> None:
    options = "--scale", "2", "--steps", "3", "--seed", "7"
    one, two = (load_file(trained(folder, name, *options)) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_goes_on_from_its_checkpoint(folder: Path) -> None:
    state = "--scale", "2", "--state", str(folder / "state")
    trained(folder, "x2", *state, "--steps", "2")
    path = trained(folder, "x2", *state, "--steps", "4")
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["steps"] == "4"


def test_weights_of_another_shape_are_no_start(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_file({"head.weight": torch.zeros(32, 3, 3, 3)}, other)
    with pytest.raises(SystemExit, match="not a network of this shape"):
        trained(folder, "x2", "--scale", "2", "--steps", "1", "--start-from", str(other))


def test_crops_show_the_same_place(folder: Path) -> None:
    pairs = pictures.load(folder, split="train", scale=2)
    small, large = pictures.batch(
        pairs, np.random.default_rng(0), size=16, crop_px=24, degraded_share=0
    )
    assert small.shape == (16, 3, 24, 24)
    assert large.shape == (16, 3, 48, 48)
    means = torch.nn.functional.avg_pool2d(large, 2)
    assert (means - small).abs().mean() < 0.02


def test_degrading_changes_little_and_not_the_size() -> None:
    dice = np.random.default_rng(0)
    picture = np.asarray(scene(40, 40))
    for _ in range(20):
        worse = pictures.degraded(picture, dice)
        assert worse.shape == picture.shape
        assert np.abs(worse.astype(int) - picture).mean() < 20


def test_reduction_rounds_to_levels() -> None:
    assert pictures.reduced(noise(8, 8, 3), scale=2).dtype == np.uint8
