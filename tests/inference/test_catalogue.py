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
    serving,
)
from inference.checkpoints import load_network
from inference.errors import WeightsBad, WeightsMissing
from inference.params import Factor

FACTORS: tuple[Factor, ...] = (1, 2, 4, 6, 8)


def test_the_model_without_any_weights_is_not_installed(tmp_path: Path) -> None:
    assert installed_models(tmp_path) == {"topaz-image-upscale"}


def test_every_variant_has_a_slot_that_the_built_in_weights_can_serve(tmp_path: Path) -> None:
    assert set(MODELS["topaz-image-upscale"].slots) == {
        "standard-v2", "low-res-v2", "cgi", "high-fidelity-v2", "text-refine", "redefine",
    }  # fmt: skip
    for slot in MODELS["topaz-image-upscale"].slots.values():
        for factor in FACTORS:
            assert serving(slot, factor, folder=tmp_path).is_fallback


@pytest.mark.parametrize("weights", [BUILT_IN_X2, BUILT_IN_X4])
def test_the_files_say_what_the_catalogue_says(weights: Weights) -> None:
    with safe_open(WEIGHTS_FOLDER / weights.file, framework="numpy") as file:
        about = file.metadata()
    assert about["architecture"] == "span"
    assert about["scale"] == str(weights.scale)
    assert about["licence"] == weights.licence
    assert about["training_set"]
    assert load_network(weights, folder=WEIGHTS_FOLDER).scale == weights.scale


def pulled(data: bytes, folder: Path) -> Weights:
    """A file in the folder of those pulled, and its row."""
    (folder / "pulled").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    url = "https://example.test/pulled"
    return replace(BUILT_IN_X2, file="pulled", url=url, size_bytes=len(data), sha256=sha256)


def test_a_file_that_is_no_network_of_this_shape_is_bad(tmp_path: Path) -> None:
    with pytest.raises(WeightsBad):
        load_network(replace(BUILT_IN_X4, scale=2), folder=tmp_path)
    with pytest.raises(WeightsBad):
        load_network(pulled(b"noise", tmp_path), folder=tmp_path)


def test_a_file_that_is_not_the_one_catalogued_is_never_used(tmp_path: Path) -> None:
    weights = pulled(b"noise", tmp_path)
    (tmp_path / "pulled").write_bytes(b"poise")
    with pytest.raises(WeightsBad, match="SHA-256"):
        load_network(weights, folder=tmp_path)
    (tmp_path / "pulled").unlink()
    with pytest.raises(WeightsMissing, match="pulled"):
        load_network(weights, folder=tmp_path)
