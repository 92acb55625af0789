"""The catalogue against what is really there."""

import hashlib
import os
import re
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
from safetensors import safe_open

from inference.catalogue import (
    CLARITY,
    MODELS,
    TOPAZ,
    WEIGHTS_FOLDER,
    Slot,
    has_creative,
    in_use,
    installed_models,
    is_present,
    needed,
    serving,
    weights_path,
)
from inference.checkpoints import load_network
from inference.errors import ModelUnknown, WeightsBad, WeightsMissing
from inference.params import CreativeOptions, Factor
from inference.provenance import LICENCES, Weights
from inference.published import ALL, CLEAN, GENERAL, GENERAL_WDN, PHOTO, SECOND_PASS
from inference.published_diffusion import LCM_LORA, STABLE_DIFFUSION, TILE_CONTROLNET
from tests.weights import present

FACTORS: tuple[Factor, ...] = (1, 2, 4, 6, 8)
SHIPPED = [weights for weights in ALL if weights.url is None]
CREATIVE = CLARITY.slots["clarity"]
SLOTS = pytest.mark.parametrize("slot", TOPAZ.slots.values(), ids=TOPAZ.slots.keys())
ROWS = pytest.mark.parametrize("weights", ALL, ids=lambda weights: weights.id)


@ROWS
def test_every_row_may_be_used_commercially(weights: Weights) -> None:
    assert weights.licence in {
        "Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "MIT",
        "CreativeML-OpenRAIL-M", "OpenRAIL", "OpenRAIL++-M",
    }  # fmt: skip
    assert LICENCES[weights.licence].startswith("https://")
    assert weights.attribution


@ROWS
def test_every_row_says_exactly_which_file_it_means(weights: Weights) -> None:
    assert re.fullmatch("[0-9a-f]{64}", weights.sha256)
    assert weights.size_bytes > 0
    assert Path(weights.file).name == weights.file
    if weights.url is not None:
        assert weights.url.startswith("https://")
        assert weights.url.endswith(f"/{weights.file}")
        assert weights.revision in weights.url


def test_no_two_rows_share_an_id_or_a_file() -> None:
    assert len({weights.id for weights in ALL}) == len(ALL)
    assert len({weights.file for weights in ALL}) == len(ALL)


def test_the_twin_is_of_the_same_shape() -> None:
    assert GENERAL.twin == GENERAL_WDN
    for weights in ALL:
        if weights.twin is not None:
            assert weights.twin in ALL
            assert (weights.architecture, weights.scale) == (
                weights.twin.architecture, weights.twin.scale,
            )  # fmt: skip
            assert 0 < weights.twin_share < 1


def test_every_variant_of_the_contract_has_a_slot() -> None:
    assert set(TOPAZ.slots) == {
        "standard-v2", "low-res-v2", "cgi", "high-fidelity-v2", "text-refine", "redefine",
    }  # fmt: skip


@SLOTS
def test_every_factor_is_reached_by_what_is_wanted_and_by_what_serves_meanwhile(slot: Slot) -> None:
    for recipes in (slot.recipes, slot.fallback):
        assert set(recipes) == set(FACTORS)
        for factor, networks in recipes.items():
            assert prod(weights.scale for weights in networks) >= factor
            assert set(networks) <= set(ALL)


@SLOTS
def test_a_second_pass_is_by_a_network_for_clean_pictures(slot: Slot) -> None:
    for recipes in (slot.recipes, slot.fallback):
        for networks in recipes.values():
            assert networks[1:] in ((), (SECOND_PASS,))


def test_what_serves_meanwhile_is_built_in_and_of_the_kind_that_the_slot_is_for() -> None:
    for name, slot in TOPAZ.slots.items():
        pair = PHOTO if name in {"standard-v2", "low-res-v2", "redefine"} else CLEAN
        assert slot.fallback[2] == (pair.x2,)
        assert slot.fallback[4] == (pair.x4,)


@SLOTS
def test_without_any_download_the_built_in_networks_serve_and_it_is_said(
    slot: Slot, tmp_path: Path
) -> None:
    for factor in FACTORS:
        served = serving(slot, factor, folder=tmp_path)
        assert served.is_fallback
        assert served.weights == slot.fallback[factor]
    assert installed_models(tmp_path) == {"topaz-image-upscale"}
    assert installed_models(tmp_path / "absent") == {"topaz-image-upscale"}


@SLOTS
def test_with_every_file_there_the_slots_own_networks_serve(slot: Slot, tmp_path: Path) -> None:
    present(*needed(slot), folder=tmp_path)
    for factor in FACTORS:
        served = serving(slot, factor, folder=tmp_path)
        assert not served.is_fallback
        assert served.weights == slot.recipes[factor]


def test_each_factor_is_served_by_itself(tmp_path: Path) -> None:
    slot = TOPAZ.slots["standard-v2"]
    present(*slot.recipes[2], folder=tmp_path)
    assert [serving(slot, factor, folder=tmp_path).is_fallback for factor in FACTORS] == [
        True, False, True, True, True,
    ]  # fmt: skip


def test_a_file_that_is_cut_off_or_lacks_its_twin_is_not_there(tmp_path: Path) -> None:
    present(GENERAL, folder=tmp_path)
    assert not is_present(GENERAL, tmp_path)
    present(GENERAL_WDN, folder=tmp_path)
    assert is_present(GENERAL, tmp_path)
    os.truncate(weights_path(GENERAL, tmp_path), GENERAL.size_bytes - 1)
    assert not is_present(GENERAL, tmp_path)


def test_nothing_stands_in_for_diffusion(tmp_path: Path) -> None:
    with pytest.raises(ModelUnknown, match="nothing here enlarges by 2"):
        serving(CREATIVE, 2, folder=tmp_path)
    assert MODELS.keys() - installed_models(tmp_path) == {"clarity-upscale"}


def test_clarity_is_served_once_all_its_files_are_there(tmp_path: Path) -> None:
    *others, last = needed(CREATIVE)
    present(*others, folder=tmp_path)
    assert not has_creative(tmp_path)
    present(last, folder=tmp_path)
    assert installed_models(tmp_path) == MODELS.keys()
    assert in_use(tmp_path) >= set(needed(CREATIVE))


def test_an_operators_checkpoint_takes_the_place_of_the_catalogues(tmp_path: Path) -> None:
    present(*(set(needed(CREATIVE)) - {STABLE_DIFFUSION}), folder=tmp_path)
    own = tmp_path / "own.safetensors"
    options = CreativeOptions(checkpoint=own)
    assert not has_creative(tmp_path, options=options)
    own.touch()
    assert "clarity-upscale" in installed_models(tmp_path, creative=options)
    assert STABLE_DIFFUSION not in in_use(tmp_path, creative=options)
    assert TILE_CONTROLNET in in_use(tmp_path, creative=options)
    assert "clarity-upscale" not in installed_models(tmp_path)


def test_few_steps_need_what_was_distilled_for_them(tmp_path: Path) -> None:
    options = CreativeOptions(is_few_step=True)
    present(*needed(CREATIVE), folder=tmp_path)
    assert not has_creative(tmp_path, options=options)
    present(LCM_LORA, folder=tmp_path)
    assert LCM_LORA in in_use(tmp_path, creative=options)
    assert LCM_LORA not in in_use(tmp_path)


@pytest.mark.parametrize("weights", SHIPPED, ids=lambda weights: weights.id)
def test_the_files_say_what_the_catalogue_says(weights: Weights) -> None:
    with safe_open(WEIGHTS_FOLDER / weights.file, framework="numpy") as file:
        about = file.metadata()
    assert about["architecture"] == weights.architecture
    name = f"builtin-x{about['scale']}-{about['width']}-{about['kind']}"
    assert name == weights.id
    assert about["licence"] == weights.licence
    assert about["training_set"]
    assert load_network(weights, folder=WEIGHTS_FOLDER).scale == weights.scale
    assert is_present(weights, WEIGHTS_FOLDER)


def test_what_ships_is_small() -> None:
    assert len(SHIPPED) == 8
    assert sum(weights.size_bytes for weights in SHIPPED) < 6_000_000


def pulled(data: bytes, folder: Path) -> Weights:
    """A file in the folder of those pulled, and its row."""
    (folder / "pulled").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    url = "https://example.test/pulled"
    return replace(CLEAN.x2, file="pulled", url=url, size_bytes=len(data), sha256=sha256)


def test_a_file_that_is_no_network_of_this_shape_is_bad(tmp_path: Path) -> None:
    with pytest.raises(WeightsBad):
        load_network(replace(CLEAN.x4, scale=2), folder=tmp_path)
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
