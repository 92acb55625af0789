"""What names and shapes say."""

import pytest
import torch

from inference.networks.rrdbnet import RRDBNet
from inference.networks.state import length, shuffle_factor


def test_layers_are_counted_by_the_highest_number() -> None:
    state = {name: torch.zeros(1) for name in ("body.0.weight", "body.10.bias", "tail.12.weight")}
    assert length(state, "body.") == 11
    assert length(state, "feats.") == 0


@pytest.mark.parametrize(("channels", "of", "factor"), [(3, 3, 1), (48, 3, 4), (576, 64, 3)])
def test_a_shuffle_is_known_by_its_channels(channels: int, of: int, factor: int) -> None:
    assert shuffle_factor(channels, of=of) == factor


@pytest.mark.parametrize("channels", [0, 1, 4, 6, 49])
def test_channels_that_make_no_pixels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match="cannot be shuffled"):
        shuffle_factor(channels)


def test_an_input_shrunk_by_what_does_not_divide_the_growth_is_refused() -> None:
    state = dict(RRDBNet(scale=4, channels=4, blocks=1, growth=2).state_dict())
    state["conv_first.weight"] = torch.zeros(4, 3 * 3 * 3, 3, 3)
    with pytest.raises(ValueError, match="no whole scale"):
        RRDBNet.from_state(state)
