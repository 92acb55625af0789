import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from inference.creative.loras import fuse
from inference.creative.modules import load_modules
from inference.errors import WeightsBad, WeightsMissing
from inference.params import Lora
from tests.inference.creative import tiny

RANK = 2
QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONV = "up_blocks.0.resnets.0.conv1"
POINT = "down_blocks.1.attentions.0.proj_in"  # a convolution of one pixel
TEXT = "encoder.layers.1.self_attn.q_proj"

Spell = Callable[[str, str], tuple[str, str, str]]


def peft_names(part: str, layer: str) -> tuple[str, str, str]:
    wrapped = f"text_model.{layer}" if part == "text_encoder" else layer
    name = f"{part}.{wrapped}"
    return f"{name}.lora_A.weight", f"{name}.lora_B.weight", f"{name}.alpha"


def kohya_names(part: str, layer: str) -> tuple[str, str, str]:
    prefix = "lora_te_text_model_" if part == "text_encoder" else "lora_unet_"
    name = prefix + layer.replace(".", "_")
    return f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"


def early_names(part: str, layer: str) -> tuple[str, str, str]:
    """Diffusers' own from before peft."""
    if part == "text_encoder":
        name = f"{part}.text_model.{layer}.lora_linear_layer"
    elif ".to_" in layer:
        attention, _, projection = layer.rpartition(".to_")
        name = f"{part}.{attention}.processor.to_{projection.removesuffix('.0')}_lora"
    else:
        name = f"{part}.{layer}.lora"
    return f"{name}.down.weight", f"{name}.up.weight", f"{name}.alpha"


@pytest.fixture
def unet() -> Any:
    return tiny.tiny_unet()


@pytest.fixture
def text_encoder() -> Any:
    return tiny.tiny_text_encoder()


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return tmp_path / "lora.safetensors"


def factors(weight: Tensor, *, rank: int = RANK) -> tuple[Tensor, Tensor]:
    """Down and up for a layer of this weight."""
    generator = torch.Generator().manual_seed(7)
    ones = (1,) * (weight.ndim - 2)
    down = torch.randn((rank, *weight.shape[1:]), generator=generator)
    return down, torch.randn((weight.shape[0], rank, *ones), generator=generator)


def product(down: Tensor, up: Tensor) -> Tensor:
    """What both do one after the other, as one layer's weight."""
    if down.ndim == 2:
        return up @ down
    return torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)


def weight_of(network: nn.Module, layer: str) -> Tensor:
    weight = network.get_submodule(layer).weight
    assert isinstance(weight, Tensor)
    return weight.clone()


def save(file: Path, tensors: dict[str, Tensor], *, noted: dict[str, Any] | None = None) -> None:
    remarks = None if noted is None else {"lora_adapter_metadata": json.dumps(noted)}
    save_file(tensors, file, metadata=remarks)


def write_query(file: Path, unet: nn.Module, *, noted: dict[str, Any] | None = None) -> Tensor:
    """A LoRA for one layer of the UNet, and its up @ down."""
    down, up = factors(weight_of(unet, QUERY))
    down_name, up_name, _ = peft_names("unet", QUERY)
    save(file, {down_name: down, up_name: up}, noted=noted)
    return product(down, up)


@pytest.mark.parametrize(
    ("spell", "alpha"),
    [
        (early_names, None),
        (peft_names, None),
        (peft_names, 8.0),
        (kohya_names, None),
        (kohya_names, 1.0),
    ],
)
@pytest.mark.parametrize("layer", [QUERY, OUT, CONV, POINT, TEXT])
def test_a_layer_becomes_itself_plus_the_weighted_product(
    unet: Any, text_encoder: Any, lora: Path, spell: Spell, alpha: float | None, layer: str
) -> None:
    part, network = ("text_encoder", text_encoder) if layer == TEXT else ("unet", unet)
    before = weight_of(network, layer)
    down, up = factors(before)
    down_name, up_name, alpha_name = spell(part, layer)
    tensors = {down_name: down, up_name: up}
    if alpha is not None:
        tensors[alpha_name] = torch.tensor(alpha)
    save(lora, tensors)
    fuse(Lora(lora, 0.7), unet=unet, text_encoder=text_encoder)
    scale = 0.7 * (RANK if alpha is None else alpha) / RANK
    expected = before + scale * product(down, up)
    torch.testing.assert_close(weight_of(network, layer), expected)


def test_nothing_else_changes(unet: Any, text_encoder: Any, lora: Path) -> None:
    write_query(lora, unet)
    fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)
    assert changed(unet, tiny.tiny_unet()) == [f"{QUERY}.weight"]
    assert changed(text_encoder, tiny.tiny_text_encoder()) == []


def test_no_weight_changes_nothing(unet: Any, text_encoder: Any, lora: Path) -> None:
    write_query(lora, unet)
    fuse(Lora(lora, 0.0), unet=unet, text_encoder=text_encoder)
    assert changed(unet, tiny.tiny_unet()) == []


def test_a_negative_weight_takes_away_what_a_positive_one_adds(
    unet: Any, text_encoder: Any, lora: Path
) -> None:
    before = weight_of(unet, QUERY)
    write_query(lora, unet)
    for weight in (0.5, -0.5):
        fuse(Lora(lora, weight), unet=unet, text_encoder=text_encoder)
    torch.testing.assert_close(weight_of(unet, QUERY), before)


def test_the_sum_is_rounded_once(text_encoder: Any, lora: Path) -> None:
    unet = tiny.tiny_unet().half()
    before = weight_of(unet, QUERY)
    expected = (before.float() + 0.3 * write_query(lora, unet)).half()
    fuse(Lora(lora, 0.3), unet=unet, text_encoder=text_encoder)
    assert torch.equal(weight_of(unet, QUERY), expected)


def test_the_alpha_in_the_header_counts(unet: Any, text_encoder: Any, lora: Path) -> None:
    before = weight_of(unet, QUERY)
    change = write_query(lora, unet, noted={"unet.lora_alpha": 6, "unet.r": RANK})
    fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)
    torch.testing.assert_close(weight_of(unet, QUERY), before + 6 / RANK * change)


def test_the_unet_is_changed_as_peft_would(unet: Any, text_encoder: Any, lora: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for layer in (QUERY, OUT, CONV, POINT):
        down, up = factors(weight_of(unet, layer))
        down_name, up_name, _ = peft_names("unet", layer)
        tensors |= {down_name: down, up_name: up}
    save(lora, tensors)
    other = tiny.tiny_unet()
    other.load_lora_adapter(dict(tensors), prefix="unet")
    other.fuse_lora(lora_scale=0.6)
    other.unload_lora()
    fuse(Lora(lora, 0.6), unet=unet, text_encoder=text_encoder)
    torch.testing.assert_close(dict(unet.state_dict()), dict(other.state_dict()))


def test_modules_are_loaded_with_their_loras_and_keep_no_adapters(
    tmp_path: Path, unet: Any
) -> None:
    tiny.write_checkpoint(tmp_path / "checkpoint")
    tiny.write_controlnet(tmp_path / "controlnet")
    before = weight_of(unet, QUERY)
    change = write_query(tmp_path / "a.safetensors", unet)
    modules = load_modules(
        tmp_path / "checkpoint",
        controlnet=tmp_path / "controlnet",
        tokenizer=None,
        loras=[Lora(tmp_path / "a.safetensors", 0.5), Lora(tmp_path / "a.safetensors", 0.25)],
    )
    torch.testing.assert_close(weight_of(modules.unet, QUERY), before + 0.75 * change)
    assert not any(isinstance(each, BaseTunerLayer) for each in modules.unet.modules())
    assert not any(parameter.requires_grad for parameter in modules.unet.parameters())


def test_a_missing_file_is_missing(unet: Any, text_encoder: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="nowhere"):
        fuse(Lora(tmp_path / "nowhere.safetensors", 1.0), unet=unet, text_encoder=text_encoder)


def test_a_pickle_is_refused(unet: Any, text_encoder: Any, tmp_path: Path) -> None:
    (tmp_path / "lora.pt").write_bytes(b"\x80\x04")
    with pytest.raises(WeightsBad, match=r"lora\.pt is not read"):
        fuse(Lora(tmp_path / "lora.pt", 1.0), unet=unet, text_encoder=text_encoder)


@pytest.mark.parametrize(
    "shapes",
    [
        ((RANK, 7), (64, RANK)),
        ((RANK, 64), (7, RANK)),
        ((RANK, 64), (64, 3)),
        ((), (64, RANK)),
        ((0, 64), (64, 0)),
    ],
)
def test_a_change_of_another_shape_is_refused(
    unet: Any, text_encoder: Any, lora: Path, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    down_name, up_name, _ = peft_names("unet", QUERY)
    save(lora, {down_name: torch.ones(shapes[0]), up_name: torch.ones(shapes[1])})
    with pytest.raises(WeightsBad, match=r"to_q' is changed by .* weights are \[64, 64\]"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


@pytest.mark.parametrize(
    "layer", ["unet.down_blocks.9.attn1.to_q", "lora_te2_text_model_encoder_layers_0_mlp_fc1"]
)
def test_a_layer_that_is_not_there_is_refused(
    unet: Any, text_encoder: Any, lora: Path, layer: str
) -> None:
    down, up = factors(weight_of(unet, QUERY))
    save(lora, {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up})
    with pytest.raises(WeightsBad, match=f"'{layer}', which is no layer"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


def test_a_refused_file_changes_nothing(unet: Any, text_encoder: Any, lora: Path) -> None:
    down, up = factors(weight_of(unet, QUERY))
    down_name, up_name, _ = peft_names("unet", QUERY)
    strange = {"unet.z.lora_A.weight": down.clone(), "unet.z.lora_B.weight": up.clone()}
    save(lora, {down_name: down, up_name: up, **strange})
    with pytest.raises(WeightsBad):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)
    assert changed(unet, tiny.tiny_unet()) == []


@pytest.mark.parametrize("ending", ["lora_mid.weight", "hada_w1_a", "dora_scale", "diff"])
def test_another_kind_of_change_is_refused(
    unet: Any, text_encoder: Any, lora: Path, ending: str
) -> None:
    save(lora, {f"unet.{QUERY}.{ending}": torch.ones(2, 2)})
    with pytest.raises(WeightsBad, match=f"{ending}', which is no part of a plain LoRA"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


def test_half_a_change_is_refused(unet: Any, text_encoder: Any, lora: Path) -> None:
    save(lora, {f"unet.{QUERY}.lora_A.weight": torch.ones(RANK, 32)})
    with pytest.raises(WeightsBad, match="only a part of the change"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


def test_an_alpha_of_many_numbers_is_refused(unet: Any, text_encoder: Any, lora: Path) -> None:
    down, up = factors(weight_of(unet, QUERY))
    names = kohya_names("unet", QUERY)
    save(lora, dict(zip(names, (down, up, torch.ones(2)), strict=True)))
    with pytest.raises(WeightsBad, match=r"alpha .* is not one number"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


def test_a_file_without_tensors_is_refused(unet: Any, text_encoder: Any, lora: Path) -> None:
    save(lora, {})
    with pytest.raises(WeightsBad, match="holds no LoRA"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


@pytest.mark.parametrize("noted", ["use_rslora", "use_dora", "alpha_pattern"])
def test_a_scaling_that_is_not_followed_is_refused(
    unet: Any, text_encoder: Any, lora: Path, noted: str
) -> None:
    write_query(lora, unet, noted={f"unet.{noted}": {"x": 1}})
    with pytest.raises(WeightsBad, match=f"made with {noted}"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


@pytest.mark.parametrize("remark", ["{", "[1]", '{"unet.lora_alpha": "much"}'])
def test_a_header_that_makes_no_sense_is_refused(
    unet: Any, text_encoder: Any, lora: Path, remark: str
) -> None:
    down, up = factors(weight_of(unet, QUERY))
    down_name, up_name, _ = peft_names("unet", QUERY)
    save_file({down_name: down, up_name: up}, lora, metadata={"lora_adapter_metadata": remark})
    with pytest.raises(WeightsBad, match="nothing sensible"):
        fuse(Lora(lora, 1.0), unet=unet, text_encoder=text_encoder)


def test_a_sum_that_is_not_finite_is_refused(text_encoder: Any, lora: Path) -> None:
    unet = tiny.tiny_unet().half()
    write_query(lora, unet)
    with pytest.raises(WeightsBad, match="infinite"):
        fuse(Lora(lora, 1e7), unet=unet, text_encoder=text_encoder)


def changed(network: nn.Module, original: nn.Module) -> list[str]:
    """The names of the tensors that differ."""
    before = original.state_dict()
    return [name for name, each in network.state_dict().items() if not each.equal(before[name])]
