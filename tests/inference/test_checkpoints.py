"""Weights files: what loads, and why the others are refused."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inference.checkpoints import load_network
from inference.errors import WeightsBad, WeightsMissing
from inference.networks.network import Network
from inference.provenance import Weights
from tests.inference.networks.tiny import TINY, published, tiny

ANY_PROTOCOL = pytest.mark.filterwarnings("ignore:Detected pickle protocol")
PICTURE = torch.rand(1, 3, 16, 8)
TORCH_HEADER = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
"""How a file starts that torch.save wrote before it wrote archives: what it is, and which."""


def row(path: Path, architecture: str, *, scale: int, **more: Any) -> Weights:
    """A catalogue's row for a file as it is."""
    data = path.read_bytes()
    return Weights(
        id=path.stem, file=path.name, architecture=architecture, scale=scale, licence="MIT",
        sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), attribution="drawn",
        url="https://example.org/", **more,
    )  # fmt: skip


def saved(network: Network, path: Path, *, wrapper: str | None = None) -> Path:
    state = published(network)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state if wrapper is None else {wrapper: state, "iter": 5}, path)
    return path


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("file", ["x.safetensors", "x.pth"])
def test_every_architecture_loads_from_a_file(tmp_path: Path, name: str, file: str) -> None:
    network = tiny(name)
    architecture = name.partition(" ")[0]
    weights = row(saved(network, tmp_path / file), architecture, scale=network.scale)
    loaded = load_network(weights, folder=tmp_path)
    assert torch.equal(loaded(PICTURE), network(PICTURE))
    assert not loaded.training


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "state_dict"])
def test_what_training_wraps_is_unwrapped(tmp_path: Path, wrapper: str) -> None:
    network = tiny("srvgg x2")
    path = saved(network, tmp_path / "x.pth", wrapper=wrapper)
    loaded = load_network(row(path, "srvgg", scale=2), folder=tmp_path)
    assert torch.equal(loaded(PICTURE), network(PICTURE))


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    path = saved(tiny("srvgg x2").half(), tmp_path / "x.pth")
    loaded = load_network(row(path, "srvgg", scale=2), folder=tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_a_twin_is_mixed_in_by_its_share(tmp_path: Path) -> None:
    own, other = tiny("srvgg x4"), tiny("srvgg x4", seed=1)
    twin = row(saved(other, tmp_path / "twin.pth"), "srvgg", scale=4)
    path = saved(own, tmp_path / "own.pth")
    weights = row(path, "srvgg", scale=4, twin=twin, twin_share=0.25)
    mixed = load_network(weights, folder=tmp_path).state_dict()
    for name, tensor in own.state_dict().items():
        expected = 0.75 * tensor + 0.25 * other.state_dict()[name]
        torch.testing.assert_close(mixed[name], expected)


def test_a_twin_of_another_shape_is_refused(tmp_path: Path) -> None:
    twin = row(saved(tiny("srvgg x2"), tmp_path / "twin.pth"), "srvgg", scale=2)
    path = saved(tiny("srvgg x4"), tmp_path / "own.pth")
    with pytest.raises(WeightsBad, match="not of one shape"):
        load_network(row(path, "srvgg", scale=4, twin=twin, twin_share=0.5), folder=tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = saved(tiny("srvgg x2"), tmp_path / "x.pth")
    weights = row(path, "srvgg", scale=2)
    path.unlink()
    with pytest.raises(WeightsMissing, match=r"x\.pth"):
        load_network(weights, folder=tmp_path)


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    path = saved(tiny("srvgg x2"), tmp_path / "x.pth")
    weights = row(path, "srvgg", scale=2)
    saved(tiny("srvgg x2", seed=1), path)
    with pytest.raises(WeightsBad, match="SHA-256"):
        load_network(weights, folder=tmp_path)


def test_another_network_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    path = saved(tiny("realplksr x4"), tmp_path / "x.pth")
    with pytest.raises(WeightsBad, match="realplksr of scale 4; the catalogue expects rrdbnet of"):
        load_network(row(path, "rrdbnet", scale=2), folder=tmp_path)


def test_another_scale_is_refused(tmp_path: Path) -> None:
    path = saved(tiny("srvgg x4"), tmp_path / "x.pth")
    with pytest.raises(WeightsBad, match="srvgg of scale 4; the catalogue expects srvgg of"):
        load_network(row(path, "srvgg", scale=2), folder=tmp_path)


def test_tensors_of_nobody_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"something": torch.zeros(3)}, path)
    with pytest.raises(WeightsBad, match="no network that is known here"):
        load_network(row(path, "srvgg", scale=2), folder=tmp_path)


@ANY_PROTOCOL
@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\3\4 nonsense", b"\x80\4nonsense"])
@pytest.mark.parametrize("file", ["x.pth", "x.safetensors"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(WeightsBad):
        load_network(row(tmp_path / file, "srvgg", scale=2), folder=tmp_path)


@ANY_PROTOCOL
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\2h\7.",  # asks for something that was never kept
        b"\x80\2a.",  # appends to a list that is not there
        b"\x80\2J\1",  # ends within a number
        b"\x80\2ctorch._utils\n_rebuild_tensor_v2\n)R.",  # a tensor made of nothing
    ],
)
def test_a_pickle_that_stumbles_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"".join(pickle.dumps(each, 2) for each in TORCH_HEADER) + content)
    with pytest.raises(WeightsBad, match="cannot be read"):
        load_network(row(path, "srvgg", scale=2), folder=tmp_path)


@pytest.mark.parametrize(
    "content", [[1, 2], {"params": {"body.0.weight": 5}}, 7, {0: torch.zeros(1)}]
)
def test_other_things_than_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsBad):
        load_network(row(tmp_path / "x.pth", "srvgg", scale=2), folder=tmp_path)


class Trap:
    """A pickle that writes a file when it is read carelessly."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return Path.touch, (self.victim,)


@ANY_PROTOCOL
@pytest.mark.parametrize("by_torch", [True, False])
def test_a_pickle_with_other_intentions_is_not_run(tmp_path: Path, by_torch: bool) -> None:
    path, victim = tmp_path / "x.pth", tmp_path / "victim"
    if by_torch:
        torch.save({"params": Trap(victim)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(victim)))
    with pytest.raises(WeightsBad):
        load_network(row(path, "srvgg", scale=2), folder=tmp_path)
    assert not victim.exists()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    network = tiny("srvgg x2")
    next(network.parameters())[0, 0, 0, 0] = float("nan")
    path = saved(network, tmp_path / "x.pth")
    with pytest.raises(WeightsBad, match="not numbers"):
        load_network(row(path, "srvgg", scale=2), folder=tmp_path)
