"""Folders of pictures to train on, and short runs over them."""

import csv
from pathlib import Path

from tests.inference.drawings import scene
from training import train


def made(path: Path) -> Path:
    """Two pictures to train on and one to validate with."""
    files = [("a.png", "train", "photo"), ("b.png", "train", "text"), ("c.png", "val", "photo")]
    with (path / "manifest.csv").open("w", newline="") as manifest:
        csv.writer(manifest).writerows([("file", "split", "group"), *files])
    for i, (name, _, _) in enumerate(files):
        scene(232 + i, 225).save(path / name)
    return path


def options(folder: Path, out: Path, *further: str) -> list[str]:
    """The command line of a small run."""
    size = ["--batch", "2", "--crop", "32", "--threads", "1"]
    return ["--pictures", str(folder), "--out", str(out), *size, *further]


def trained(folder: Path, name: str, *further: str) -> Path:
    """The weights of a short run."""
    out = folder / f"{name}.safetensors"
    train.main(options(folder, out, *further))
    return out
