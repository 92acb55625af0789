"""The catalogue against what is really there."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from inference.catalogue import (
    BUILT_IN_X2,
    BUILT_IN_X4,
    MODELS,
    WEIGHTS_FOLDER,
    Weights,
    installed_models,
)
from inference.checkpoints import load_network
from inference.errors import WeightsBad


def test_only_models_with_all_their_weights_are_installed(tmp_path: Path) -> None:
    assert installed_models() == {"topaz-image-upscale"}
    (tmp_path / BUILT_IN_X2.file).touch()
    assert installed_models(tmp_path) == set()
    (tmp_path / BUILT_IN_X4.file).touch()
    assert installed_models(tmp_path) == {"topaz-image-upscale"}


def test_every_topaz_slot_says_that_the_built_in_network_serves_it() -> None:
    assert set(MODELS["topaz-image-upscale"].slots) == {
        "standard-v2", "low-res-v2", "cgi", "high-fidelity-v2", "text-refine", "redefine",
    }  # fmt: skip
    for slot in MODELS["topaz-image-upscale"].slots.values():
        assert slot.network == "builtin"
        assert "built-in network" in slot.note


@pytest.mark.parametrize("weights", [BUILT_IN_X2, BUILT_IN_X4])
def test_the_files_say_what_the_catalogue_says(weights: Weights) -> None:
    with safe_open(WEIGHTS_FOLDER / weights.file, framework="numpy") as file:
        about = file.metadata()
    assert about["architecture"] == "span"
    assert about["scale"] == str(weights.scale)
    assert about["licence"] == weights.licence
    assert about["training_set"]
    assert load_network(weights, folder=WEIGHTS_FOLDER).scale == weights.scale


def test_a_file_that_is_no_network_of_this_shape_is_bad(tmp_path: Path) -> None:
    with pytest.raises(WeightsBad, match="shape"):
        load_network(replace(BUILT_IN_X4, scale=2), folder=WEIGHTS_FOLDER)
    (tmp_path / "noise").write_bytes(b"noise")
    sha256 = hashlib.sha256(b"noise").hexdigest()
    with pytest.raises(WeightsBad, match="shape"):
        load_network(replace(BUILT_IN_X2, file="noise", sha256=sha256), folder=tmp_path)
