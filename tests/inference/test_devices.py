"""Devices: what can be asked for, and how samples get there."""

import numpy as np
import pytest
import torch

from inference.catalogue import WEIGHTS_FOLDER
from inference.chain import Chain
from inference.checkpoints import load_network
from inference.devices import CPU_WINDOWS, Bits, Cpu, Sizes, device_named, padded
from inference.errors import DeviceMissing, NotANumber
from inference.networks.builtin import BuiltIn
from inference.provenance import Weights
from inference.published import PHOTO
from inference.tiling import Span, Windows
from tests.inference.drawings import noise, scene
from tests.inference.stand_ins import Nearest, made


def test_a_device_that_is_not_there_is_told() -> None:
    assert isinstance(device_named("cpu"), Cpu)
    if torch.cuda.is_available():
        assert device_named("auto").torch_device.type == "cuda"
    else:
        assert device_named("auto").torch_device.type == "cpu"
        with pytest.raises(DeviceMissing):
            device_named("cuda")


def test_edges_are_repeated_up_to_the_size_and_whole_pictures_are_not_copied() -> None:
    source = noise(3, 4, 1)
    larger = padded(source, width_px=6, height_px=4)
    assert larger.shape == (4, 6, 1)
    assert np.array_equal(larger[:3, :4], source)
    assert (larger[:, 4:] == larger[:, 3:4]).all()
    assert (larger[3] == larger[2]).all()
    assert padded(source, width_px=4, height_px=3) is source


def test_windows_are_gathered_from_pictures_that_cannot_be_written() -> None:
    source = noise(8, 9, 3)
    source.flags.writeable = False
    window = Cpu().upload(source, width_px=9, height_px=8)(Span(2, 5), Span(1, 9))
    assert np.array_equal(window.permute(1, 2, 0).numpy(), source[2:5, 1:9])


@pytest.mark.parametrize(
    ("has_bfloat16", "bears_bfloat16", "bits", "dtype"),
    [
        (True, True, 8, torch.bfloat16),
        (True, True, 16, torch.float32),
        (True, False, 8, torch.float32),
        (False, True, 8, torch.float32),
    ],
)
def test_a_processor_computes_in_bfloat16_only_where_that_suffices(
    bits: Bits, dtype: torch.dtype, *, has_bfloat16: bool, bears_bfloat16: bool
) -> None:
    network = BuiltIn(scale=2, channels=8, blocks=1)
    network.bears_bfloat16 = bears_bfloat16
    prepared = Cpu(has_bfloat16=has_bfloat16).prepare(network, bits=bits)
    assert {parameter.dtype for parameter in prepared.parameters()} == {dtype}


@pytest.mark.parametrize("weights", PHOTO)
def test_bfloat16_changes_few_values_and_hardly_any_by_more_than_a_level(weights: Weights) -> None:
    source = np.asarray(scene(96, 64))
    exact, rough = (
        made(Chain([Cpu(has_bfloat16=has).prepare(network)], scale=weights.scale), source)
        for has in (False, True)
        for network in [load_network(weights, folder=WEIGHTS_FOLDER)]
    )
    difference = np.abs(exact.astype(int) - rough)
    assert difference.max() <= 3
    assert (difference > 1).mean() < 0.001
    assert 0 < (difference > 0).mean() < 0.1


def test_a_band_is_fetched_only_if_it_is_sound() -> None:
    band = torch.zeros((2, 3, 1), dtype=torch.uint8)
    assert Cpu().fetch(band, is_finite=torch.tensor(True))().shape == (2, 3, 1)
    with pytest.raises(NotANumber):
        Cpu().fetch(band, is_finite=torch.tensor(False))


def test_a_later_networks_larger_input_makes_windows_smaller_but_not_all_halo() -> None:
    one = Cpu().sizes(Chain([Nearest(4)], scale=4))
    assert one == Sizes(CPU_WINDOWS, 1)
    two = Cpu().sizes(Chain([Nearest(4, radius_px=20), Nearest(2)], scale=8))
    assert two == Sizes(Windows(120, 128), 1)


def test_smaller_halves_the_batch_and_then_the_longer_side() -> None:
    steps = [Sizes(Windows(64, 96), 4)]
    for _ in range(4):
        steps.append(steps[-1].smaller())
    assert steps[1:] == [
        Sizes(Windows(64, 96), 2),
        Sizes(Windows(64, 96), 1),
        Sizes(Windows(64, 48), 1),
        Sizes(Windows(32, 48), 1),
    ]
