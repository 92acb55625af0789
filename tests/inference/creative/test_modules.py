import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from inference.creative.modules import SD15, Modules
from inference.creative.parts import CONTROLNET, UNET, VAE, Part
from tests.inference.creative import tiny
from tests.inference.creative.original import original_unet, original_vae
from tests.inference.creative.written import (
    CONTROLNET_FILE,
    TEXT_FILE,
    UNET_FILE,
    VAE_FILE,
    edit,
    load,
    load_one,
    save,
)


def test_a_folder_is_loaded_as_it_was_saved(written: Path) -> None:
    assert_as_written(load(written))


def test_a_file_is_loaded_as_the_folder_it_stands_for(written: Path) -> None:
    assert_as_written(load_one(written))


@pytest.mark.parametrize(
    "name", ["controlnet.safetensors", "prefixed.safetensors", CONTROLNET_FILE]
)
def test_a_controlnet_of_one_file_is_loaded_in_either_layout(written: Path, name: str) -> None:
    modules = load(written, controlnet=written / name)
    assert_same(modules.controlnet.state_dict(), tiny.tiny_controlnet().state_dict())


@pytest.mark.parametrize("name", ["vae.safetensors", VAE_FILE, "checkpoint/vae"])
def test_another_vae_takes_the_place_of_the_checkpoints_own(files: Path, name: str) -> None:
    edit(files / "one.safetensors", lambda state: [
        state.pop(each) for each in list(state) if each.startswith("first_stage_model.")
    ])  # fmt: skip
    modules = load_one(files, vae=files / name)
    assert_same(modules.vae.state_dict(), tiny.tiny_vae().state_dict())


def test_the_old_names_of_a_vaes_attention_are_known(files: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(state: dict[str, Tensor]) -> None:
        for name in list(state):
            for now, then in old.items():
                if f".{now}." in name:
                    state[name.replace(now, then)] = state.pop(name)

    edit(files / VAE_FILE, rename)
    assert "encoder.mid_block.attentions.0.proj_attn.bias" in load_file(files / VAE_FILE)
    assert_as_written(load(files))


def test_a_text_encoder_saved_inside_its_wrapper_is_known(files: Path) -> None:
    edit(files / TEXT_FILE, lambda state: [
        state.update({f"text_model.{name}": state.pop(name)}) for name in list(state)
    ])  # fmt: skip
    assert_as_written(load(files))


def test_the_half_precision_variant_is_taken_where_there_is_no_other(files: Path) -> None:
    file = files / UNET_FILE
    halves = {name: tensor.half() for name, tensor in load_file(file).items()}
    save(halves, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    file.unlink()
    found = load(files).unet.state_dict()
    assert_same(found, {name: tensor.float() for name, tensor in halves.items()})


def test_the_modules_only_compute(written: Path) -> None:
    modules = load(written)
    for module in (modules.unet, modules.controlnet, modules.vae, modules.text_encoder):
        tensors = [*module.parameters(), *module.buffers()]
        assert not module.training
        assert not any(tensor.requires_grad for tensor in tensors)
        assert {tensor.device.type for tensor in tensors} == {"cpu"}
        assert module.dtype == torch.float32


def test_the_weights_come_in_the_precision_that_is_asked_for(written: Path) -> None:
    modules = load(written, dtype=torch.float16)
    expected = {name: each.half() for name, each in tiny.tiny_unet().state_dict().items()}
    assert_same(modules.unet.state_dict(), expected)
    for module in (modules.controlnet, modules.vae, modules.text_encoder):
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float16}


def test_the_text_encoder_says_what_the_saved_one_said(written: Path) -> None:
    ids = torch.arange(77)[None]
    with torch.no_grad():
        found = load(written).text_encoder(ids).last_hidden_state
        expected = tiny.tiny_text_encoder()(ids).last_hidden_state
    assert torch.equal(found, expected)


def test_loading_is_quiet(
    written: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(written)
        load_one(written)
    captured = capfd.readouterr()
    assert (captured.out, captured.err, caplog.text) == ("", "", "")


@pytest.fixture
def no_memory() -> Iterator[None]:
    """Makes tensors without memory: the real shapes hold billions of bytes."""
    with torch.device("meta"):
        yield


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize(
    ("part", "parameters"),
    [(UNET, 859_520_964), (VAE, 83_653_863), (CONTROLNET, 361_279_120)],
    ids=lambda value: value.name if isinstance(value, Part) else "",
)
def test_every_tensor_of_stable_diffusion_has_its_place(part: Part, parameters: int) -> None:
    config = json.loads((SD15 / part.name / "config.json").read_text())
    module = part.kind.from_config(config)
    expected = module.state_dict()
    if part is VAE:
        original = original_vae(expected, blocks=4)
    else:
        original = original_unet(expected, layers=2)
    found = part.rename({f"{part.prefix}{name}": each for name, each in original.items()}, config)
    assert {name: each.shape for name, each in found.items()} == {
        name: each.shape for name, each in expected.items()
    }
    assert sum(each.numel() for each in module.parameters()) == parameters


def assert_as_written(modules: Modules) -> None:
    """The modules hold the very weights of the tiny ones."""
    for found, made in (
        (modules.unet, tiny.tiny_unet()),
        (modules.controlnet, tiny.tiny_controlnet()),
        (modules.vae, tiny.tiny_vae()),
        (modules.text_encoder, tiny.tiny_text_encoder()),
    ):
        assert_same(found.state_dict(), made.state_dict())


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
