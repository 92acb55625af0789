"""A training run of a few steps, from a folder of pictures to weights that load."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inference.networks.builtin import WIDTHS, BuiltIn
from tests.training.folders import options, trained


def loaded(path: Path, *, scale: int, width: str) -> BuiltIn:
    network = BuiltIn(scale=scale, channels=WIDTHS[width])
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return network


@pytest.mark.parametrize("kind", ["photo", "clean"])
def test_a_short_run_gives_weights_that_load(folder: Path, kind: str) -> None:
    path = trained(folder, "x2", "--scale", "2", "--steps", "3", "--kind", kind)
    picture = torch.rand(1, 3, 9, 9)
    assert torch.isfinite(loaded(path, scale=2, width="small")(picture)).all()


def test_the_file_says_what_it_is(folder: Path) -> None:
    path = trained(folder, "x4", "--scale", "4", "--steps", "2", "--credit", "drawn")
    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
    assert (about["scale"], about["width"], about["kind"]) == ("4", "small", "clean")
    assert (about["steps"], about["training_set"]) == ("2", "drawn")


def test_the_same_seed_gives_the_same_weights(folder: Path) -> None:
    asked = "--scale", "2", "--steps", "3", "--seed", "7", "--kind", "photo"
    one, two = (load_file(trained(folder, name, *asked)) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_killed_run_ends_as_if_it_had_not_been(folder: Path) -> None:
    asked = "--scale", "2", "--validate-every", "20", "--steps", "60"
    whole = load_file(trained(folder, "whole", *asked))
    state = "--state", str(folder / "state")
    command = options(folder, folder / "parts.safetensors", *asked, *state)
    with subprocess.Popen(
        [sys.executable, "-m", "training.train", *command], stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        assert any("step 20," in line for line in run.stderr)  # which it logs once it is saved
        run.kill()
    parts = load_file(trained(folder, "parts", *asked, *state))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_minutes_end_a_run(folder: Path) -> None:
    path = trained(folder, "x2", "--scale", "2", "--minutes", "0.001")
    with safe_open(path, framework="numpy") as file:
        assert int(file.metadata()["steps"]) > 0


def test_weights_of_another_shape_are_no_start(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_file({"head.weight": torch.zeros(32, 3, 3, 3)}, other)
    with pytest.raises(SystemExit, match="not a network of this shape"):
        trained(folder, "x2", "--scale", "2", "--steps", "1", "--start-from", str(other))
