"""Devices: what can be asked for, and how samples get there."""

import numpy as np
import pytest
import torch

from inference.chain import Chain
from inference.devices import CPU_WINDOWS, Cpu, Sizes, device_named, padded
from inference.errors import DeviceMissing, NotANumber
from inference.tiling import Span, Windows
from tests.inference.drawings import noise
from tests.inference.stand_ins import Nearest


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


def test_a_band_is_fetched_only_if_it_is_sound() -> None:
    band = torch.zeros((2, 3, 1), dtype=torch.uint8)
    assert Cpu().fetch(band, is_finite=torch.tensor(True))().shape == (2, 3, 1)
    with pytest.raises(NotANumber):
        Cpu().fetch(band, is_finite=torch.tensor(False))


def test_a_later_networks_larger_input_makes_windows_smaller_but_not_all_halo() -> None:
    one = Cpu().sizes(Chain([Nearest(4)], scale=4))
    assert one == Sizes(CPU_WINDOWS, 1)
    two = Cpu().sizes(Chain([Nearest(4, radius_px=20), Nearest(2)], scale=8))
    assert two == Sizes(Windows(120, 120), 1)


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
