"""RestoreFormer++ at a tiny size: its file is read as the published one would be."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inference.checkpoints import load_network
from inference.errors import WeightsBad
from inference.networks.restoreformer import Form, RestoreFormer
from inference.provenance import Weights
from inference.published import restoreformer

TINY = Form(widths=(32, 32, 64), blocks=1, words=16, word_channels=32)
PUBLISHED_TENSORS = 441
PUBLISHED_PARAMETERS = 73_472_579


def network() -> RestoreFormer:
    torch.manual_seed(0)
    made = RestoreFormer(TINY).eval()
    torch.nn.init.normal_(made.quantize.embedding.weight)
    return made


def saved(folder: Path, held: object) -> Weights:
    """The file of whatever is held, and the row that describes it."""
    row = restoreformer("")
    torch.save(held, folder / row.file)
    data = (folder / row.file).read_bytes()
    return replace(row, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def bundle(made: RestoreFormer) -> dict[str, object]:
    """As the program that trained it wrote it: among other things."""
    own = {f"vqvae.{name}": tensor for name, tensor in made.state_dict().items()}
    return {"epoch": 1, "state_dict": {**own, "loss.logvar": torch.zeros(1)}}


def test_the_published_size_has_the_published_tensors() -> None:
    with torch.device("meta"):
        state = RestoreFormer(Form()).state_dict()
    assert len(state) == PUBLISHED_TENSORS
    assert sum(tensor.numel() for tensor in state.values()) == PUBLISHED_PARAMETERS


@pytest.mark.parametrize(
    "name",
    [
        "encoder.down.5.attn.1.norm2.weight",
        "encoder.down.4.downsample.conv.bias",
        "decoder.up.4.attn.2.proj_out.weight",
        "decoder.up.5.upsample.conv.weight",
        "decoder.up.0.block.0.nin_shortcut.weight",
        "decoder.mid.attn_1.q.weight",
        "quantize.embedding.weight",
        "post_quant_conv.bias",
    ],
)
def test_the_tensors_have_the_published_names(name: str) -> None:
    with torch.device("meta"):
        assert name in RestoreFormer(Form()).state_dict()


def test_a_saved_network_is_loaded_and_gives_the_same(tmp_path: Path) -> None:
    made = network()
    loaded = load_network(saved(tmp_path, bundle(made)), folder=tmp_path)
    picture = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(picture), made(picture))
        assert loaded(picture).shape == picture.shape


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    other = {"state_dict": {"body.0.weight": torch.zeros(3, 3, 3, 3)}}
    with pytest.raises(WeightsBad):
        load_network(saved(tmp_path, other), folder=tmp_path)


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    held = bundle(network())
    held["state_dict"].pop("vqvae.decoder.norm_out.weight")  # type: ignore[attr-defined]
    with pytest.raises(WeightsBad):
        load_network(saved(tmp_path, held), folder=tmp_path)


def test_a_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsBad):
        load_network(saved(tmp_path, {"state_dict": Path("/")}), folder=tmp_path)


def test_what_is_nearest_in_the_dictionary_is_what_the_decoder_gets() -> None:
    quantize = network().quantize
    words = quantize.embedding.weight.detach()
    code = (words[[3, 5]] + 0.01).T.reshape(1, -1, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(quantize(code)[0, :, 0].T, words[[3, 5]])


def test_the_decoder_asks_the_encoder_s_features_on_the_two_coarsest_levels() -> None:
    made = network()
    seen = made.encoder(torch.rand(1, 3, 32, 32))
    words = made.post_quant_conv(made.quantize(made.quant_conv(seen.code)))
    shown = made.decoder(words, seen)
    for level, matters in enumerate((False, True, True)):
        levels = [*seen.levels]
        levels[level] = torch.rand(levels[level].shape)
        differs = not torch.equal(made.decoder(words, seen._replace(levels=levels)), shown)
        assert differs == matters


def test_bfloat16_parameters_still_give_fp32() -> None:
    made = network().to(torch.bfloat16)
    with torch.inference_mode():
        assert made(torch.rand(1, 3, 32, 32)).dtype == torch.float32
