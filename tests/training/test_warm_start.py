"""Starting from other weights: a wider network computes what the narrow one did."""

from pathlib import Path

import pytest
import torch

from inference.networks.builtin import BuiltIn
from tests.training.folders import trained
from training.warm_start import adopt, widened


def test_a_widened_network_is_the_same_function() -> None:
    torch.manual_seed(0)
    narrow, wide = BuiltIn(scale=2, channels=8), BuiltIn(scale=2, channels=12)
    torch.nn.init.normal_(narrow.tail.weight)
    dice = torch.Generator().manual_seed(0)
    wide.load_state_dict(widened(narrow.state_dict(), channels=12, dice=dice))
    picture = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(wide(picture), narrow(picture))


def test_twins_in_a_widened_network_are_told_apart() -> None:
    narrow = BuiltIn(scale=2, channels=8).state_dict()
    wide = widened(narrow, channels=12, dice=torch.Generator().manual_seed(0))
    reads = wide["neck.weight"]
    assert not torch.equal(reads[:, 0], reads[:, 8])
    torch.testing.assert_close(reads[:8, 0] + reads[:8, 8], narrow["neck.weight"][:, 0])


def test_another_scale_lends_all_but_its_last_convolution(folder: Path) -> None:
    path = trained(folder, "x2", "--scale", "2", "--steps", "3")
    two, four = BuiltIn(scale=2, channels=32), BuiltIn(scale=4, channels=32)
    for network in (two, four):
        adopt(network, path, dice=torch.Generator())
    assert torch.equal(two.neck.weight, four.neck.weight)
    assert two.tail.weight.abs().sum() > 0
    assert four.tail.weight.abs().sum() == 0


@pytest.mark.parametrize(("scale", "channels"), [(2, 16)])
def test_a_wider_network_is_no_start(folder: Path, scale: int, channels: int) -> None:
    path = trained(folder, "x2", "--scale", "2", "--steps", "1")
    with pytest.raises(SystemExit, match="not a network of this shape"):
        adopt(BuiltIn(scale=scale, channels=channels), path, dice=torch.Generator())
