import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file

from inference.creative.modules import SD15
from inference.creative.parts import TEXT_ENCODER, UNET, VAE
from inference.errors import WeightsBad, WeightsMissing
from tests.inference.creative import tiny
from tests.inference.creative.written import (
    CONTROLNET_FILE,
    TEXT_FILE,
    UNET_FILE,
    VAE_FILE,
    change,
    edit,
    load,
    load_one,
)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint", "controlnet", "checkpoint/unet", "checkpoint/vae/config.json", UNET_FILE,
        TEXT_FILE, CONTROLNET_FILE, "checkpoint/tokenizer", "checkpoint/tokenizer/vocab.json",
        "checkpoint/tokenizer/merges.txt",
    ],
)  # fmt: skip
def test_what_is_missing_is_named(files: Path, name: str) -> None:
    path = files / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(WeightsMissing, match=path.parent.name):
        load(files)


@pytest.mark.parametrize("which", ["checkpoint", "controlnet", "vae", "tokenizer"])
def test_a_path_to_nothing_is_missing(written: Path, which: str) -> None:
    with pytest.raises(WeightsMissing, match="nowhere"):
        load(written, **{which: written / "nowhere.safetensors"})


def test_a_checkpoint_of_one_file_needs_a_tokenizer(written: Path) -> None:
    with pytest.raises(WeightsMissing, match="no tokenizer"):
        load_one(written, tokenizer=None)


@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".pt", ".pth"])
def test_a_pickle_is_not_even_opened(files: Path, suffix: str) -> None:
    file = (files / "one.safetensors").rename(files / f"one{suffix}")
    with pytest.raises(WeightsBad, match=rf"one\{suffix} is not read"):
        load_one(files, checkpoint=file)


def test_a_folder_of_pickles_is_refused(files: Path) -> None:
    (files / UNET_FILE).rename(files / "checkpoint/unet/diffusion_pytorch_model.bin")
    with pytest.raises(WeightsBad, match=r"diffusion_pytorch_model\.bin is not read"):
        load(files)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickled", b"<html>not found</html>"])
def test_a_file_that_is_no_safetensors_file_is_refused(files: Path, content: bytes) -> None:
    (files / UNET_FILE).write_bytes(content)
    with pytest.raises(WeightsBad, match=r"unet.* cannot be read as safetensors"):
        load(files)


def test_a_file_cut_short_is_refused(files: Path) -> None:
    content = (files / VAE_FILE).read_bytes()
    (files / VAE_FILE).write_bytes(content[:-100])
    with pytest.raises(WeightsBad, match=r"vae.* cannot be read as safetensors"):
        load(files)


@pytest.mark.parametrize("name", [UNET_FILE, VAE_FILE, TEXT_FILE, CONTROLNET_FILE])
def test_a_missing_tensor_is_named(files: Path, name: str) -> None:
    lost = list(load_file(files / name))[-1]
    edit(files / name, lambda state: state.pop(lost))
    with pytest.raises(WeightsBad, match=f"lacks 1 tensors, such as '{lost}'"):
        load(files)


@pytest.mark.parametrize(
    "lost",
    [
        "model.diffusion_model.input_blocks.3.1.proj_in.weight",
        "first_stage_model.encoder.mid.attn_1.k.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
    ],
)
def test_a_missing_tensor_of_one_file_is_named(files: Path, lost: str) -> None:
    edit(files / "one.safetensors", lambda state: state.pop(lost))
    with pytest.raises(WeightsBad, match="lacks 1 tensors"):
        load_one(files)


def test_a_missing_tensor_of_an_original_controlnet_is_named(files: Path) -> None:
    edit(files / "controlnet.safetensors", lambda state: state.pop("zero_convs.1.0.bias"))
    with pytest.raises(WeightsBad, match=r"controlnet_down_blocks\.1\.bias"):
        load(files, controlnet=files / "controlnet.safetensors")


@pytest.mark.parametrize("name", [UNET_FILE, VAE_FILE, TEXT_FILE, CONTROLNET_FILE])
def test_a_tensor_too_many_is_named(files: Path, name: str) -> None:
    edit(files / name, lambda state: state.update(another=torch.ones(1)))
    with pytest.raises(WeightsBad, match="has 1 tensors more, such as 'another'"):
        load(files)


def test_a_tensor_of_another_shape_is_named(files: Path) -> None:
    edit(files / UNET_FILE, lambda state: state.update({"conv_in.bias": torch.ones(7)}))
    with pytest.raises(WeightsBad, match=r"'conv_in\.bias' is \[7\], not \[32\]"):
        load(files)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(files: Path, value: float) -> None:
    edit(files / UNET_FILE, lambda state: state["conv_in.bias"].fill_(value))
    with pytest.raises(WeightsBad, match=r"'conv_in\.bias' that are not finite"):
        load(files)


def test_a_value_beyond_the_precision_that_is_asked_for_is_refused(files: Path) -> None:
    edit(files / UNET_FILE, lambda state: state["conv_in.bias"].fill_(1e5))
    with pytest.raises(WeightsBad, match=r"not finite in torch\.float16"):
        load(files, dtype=torch.float16)


@pytest.mark.parametrize("prefix", [UNET.prefix, VAE.prefix, TEXT_ENCODER.prefix])
def test_a_file_without_one_of_the_parts_is_refused(files: Path, prefix: str) -> None:
    edit(files / "one.safetensors", lambda state: [
        state.pop(name) for name in list(state) if name.startswith(prefix)
    ])  # fmt: skip
    with pytest.raises(WeightsBad, match=f"begins with '{prefix}'"):
        load_one(files)


def test_an_unknown_layout_is_refused(written: Path) -> None:
    with pytest.raises(WeightsBad, match="does not hold the expected controlnet"):
        load(written, controlnet=written / VAE_FILE)


def test_a_missing_tensor_that_the_conversion_stumbles_over_is_named(files: Path) -> None:
    lost = "decoder.up.3.upsample.conv.bias"
    edit(files / "one.safetensors", lambda state: state.pop(f"first_stage_model.{lost}"))
    with pytest.raises(WeightsBad, match=f"holds no whole vae.*{lost}"):
        load_one(files)


def test_one_file_of_other_shapes_than_stable_diffusion_is_refused(written: Path) -> None:
    with pytest.raises(WeightsBad, match="does not hold the expected unet"):
        load_one(written, shapes=SD15)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_configuration_that_is_no_json_object_is_refused(files: Path, content: bytes) -> None:
    file = files / "checkpoint/unet/config.json"
    file.write_bytes(content)
    with pytest.raises(WeightsBad, match=r"config\.json"):
        load(files)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("unet", {"down_block_types": ["NoSuchBlock", "DownBlock2D"]}),
        ("unet", {"layers_per_block": "two"}),
        ("vae", {"norm_num_groups": 5}),
        ("text_encoder", {"hidden_size": "wide"}),
        ("text_encoder", {"num_attention_heads": 5}),
        ("text_encoder", {"hidden_act": "none"}),
    ],
)
def test_a_configuration_that_describes_nothing_is_refused(
    files: Path, part: str, values: dict[str, object]
) -> None:
    change(files / "checkpoint" / part / "config.json", **values)
    with pytest.raises(WeightsBad, match=rf"{part}/config\.json does not describe a"):
        load(files)


def test_another_class_is_refused(files: Path) -> None:
    change(files / "checkpoint/vae/config.json", _class_name="AutoencoderTiny")
    with pytest.raises(WeightsBad, match="describes a AutoencoderTiny, not a AutoencoderKL"):
        load(files)


def test_a_unet_for_another_text_encoder_is_refused(files: Path) -> None:
    shutil.rmtree(files / "checkpoint/unet")
    other = tiny.UNET | {"cross_attention_dim": 48}
    UNet2DConditionModel(**other).save_pretrained(files / "checkpoint/unet")
    with pytest.raises(WeightsBad, match="unet has cross_attention_dim = 48; expected is 32"):
        load(files)


def test_a_controlnet_for_another_unet_is_refused(files: Path) -> None:
    shutil.rmtree(files / "controlnet")
    unet = UNet2DConditionModel(**tiny.UNET | {"block_out_channels": (32, 96)})
    ControlNetModel.from_unet(unet).save_pretrained(files / "controlnet")
    with pytest.raises(WeightsBad, match=r"controlnet has block_out_channels = .*96"):
        load(files)


def test_a_unet_that_reads_more_than_latents_is_refused(files: Path) -> None:
    shutil.rmtree(files / "checkpoint/unet")
    other = tiny.UNET | {"in_channels": 9}
    UNet2DConditionModel(**other).save_pretrained(files / "checkpoint/unet")
    with pytest.raises(WeightsBad, match="unet has in_channels = 9; expected is 4"):
        load(files)


def test_a_vae_of_another_reduction_is_refused(files: Path) -> None:
    smaller = tiny.VAE | {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }
    AutoencoderKL(**smaller).save_pretrained(files / "vae")
    with pytest.raises(WeightsBad, match="vae halves a picture 1 times; expected are 3"):
        load(files, vae=files / "vae")


def test_a_unet_that_predicts_something_else_than_noise_is_refused(files: Path) -> None:
    (files / "checkpoint/scheduler").mkdir()
    file = files / "checkpoint/scheduler/scheduler_config.json"
    file.write_text(json.dumps({"prediction_type": "v_prediction"}))
    with pytest.raises(WeightsBad, match="predicts 'v_prediction', expected is 'epsilon'"):
        load(files)
