"""What every architecture promises: sizes, types, what it can see, and its published shape."""

import pytest
import torch
from torch.nn import functional as F

from inference.checkpoints import ARCHITECTURES
from inference.networks.builtin import WIDTHS, BuiltIn
from inference.networks.dat import DAT
from inference.networks.dat_attention import Form
from inference.networks.network import Network
from inference.networks.realplksr import RealPLKSR
from inference.networks.rrdbnet import RRDBNet
from inference.networks.span import SPAN
from inference.networks.srvgg import SRVGG
from tests.inference.networks.tiny import TINY, published, tiny

LOCAL = [name for name in TINY if name.partition(" ")[0] in ("builtin", "rrdbnet", "srvgg", "span")]


def real_plksr(*, sampling_groups: int = 0) -> RealPLKSR:
    return RealPLKSR(
        scale=4, channels=64, blocks=28, partial=16, kernel_px=17, sampling_groups=sampling_groups
    )


def dat2() -> DAT:
    form = Form(channels=180, heads=6, window=(8, 32))
    return DAT(form, groups=6, blocks=6, expansion=2, wide=64, factors=(2, 2))


def enlarged(network: Network, picture: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        out: torch.Tensor = network(picture)
        return out


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 14), (16, 7)])
def test_sizes_are_exact_and_numbers_fp32(name: str, height: int, width: int) -> None:
    network = tiny(name)
    height, width = (side + -side % network.multiple_px for side in (height, width))
    out = enlarged(network, torch.rand(2, 3, height, width))
    assert out.shape == (2, 3, height * network.scale, width * network.scale)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


@pytest.mark.parametrize("name", TINY)
def test_its_tensors_say_all_that_there_is_to_know(name: str) -> None:
    network = tiny(name)
    again = type(network).from_state(published(network)).eval()
    picture = torch.rand(1, 3, 16, 8)
    assert torch.equal(enlarged(again, picture), enlarged(network, picture))
    assert (again.scale, again.radius_px) == (network.scale, network.radius_px)


@pytest.mark.parametrize(
    ("name", "half_type", "share"),
    [
        *((name, torch.bfloat16, 0.1) for name in TINY),
        *((name, torch.float16, 0.01) for name in LOCAL),
    ],
)
def test_sixteen_bits_are_near_to_thirty_two(
    name: str, half_type: torch.dtype, share: float
) -> None:
    network, picture = tiny(name), torch.rand(1, 3, 16, 8)
    whole = enlarged(network, picture)
    rounded = enlarged(network.to(half_type), picture)
    assert rounded.dtype == torch.float32
    spread = whole.std().item()
    assert (rounded - whole).abs().max() < share * max(spread, 1)


@pytest.mark.parametrize("name", LOCAL)
def test_nothing_reaches_farther_than_the_radius(name: str) -> None:
    network = tiny(name)
    radius_px = network.radius_px
    side, middle = 2 * radius_px + 12, radius_px + 4
    before = torch.rand(1, 3, side, side)
    after = before.clone()
    after[..., middle, middle] = 1 - after[..., middle, middle].round()
    changed = (enlarged(network, after) - enlarged(network, before)).abs().amax(dim=(0, 1))
    places = torch.nonzero(changed > 1e-4)
    assert places.min() >= (middle - radius_px) * network.scale
    assert places.max() < (middle + radius_px + 1) * network.scale


@pytest.mark.parametrize("name", [name for name in TINY if name not in LOCAL])
def test_what_looks_at_everything_says_so(name: str) -> None:
    assert not tiny(name).is_local


def test_a_network_of_gates_shut_is_its_skip() -> None:
    picture = torch.rand(1, 3, 6, 5)
    bilinear = F.interpolate(picture, scale_factor=2, mode="bilinear")
    assert torch.equal(enlarged(BuiltIn(scale=2, channels=8), picture), bilinear)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (RRDBNet(scale=4, channels=64, blocks=23, growth=32), 16_697_987),
        (RRDBNet(scale=2, channels=64, blocks=23, growth=32), 16_703_171),
        (RRDBNet(scale=4, channels=64, blocks=6, growth=32), 4_467_779),
        (SRVGG(scale=4, channels=64, convs=32), 1_213_296),
        (real_plksr(), 7_389_680),
        (SPAN(scale=4, channels=48, is_normalising=True), 426_288),
        (dat2(), 11_212_131),
        (BuiltIn(scale=4, channels=WIDTHS["small"]), 194_608),
        (BuiltIn(scale=4, channels=WIDTHS["base"]), 426_288),
    ],
)
def test_published_sizes(network: Network, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (RRDBNet(scale=4, channels=64, blocks=1, growth=32), {
            "conv_first.weight", "body.0.rdb1.conv1.weight", "body.0.rdb3.conv5.bias",
            "conv_body.weight", "conv_up1.weight", "conv_up2.bias", "conv_hr.weight",
            "conv_last.bias"}),
        (SRVGG(scale=4, channels=64, convs=32), {"body.0.weight", "body.1.weight", "body.66.bias"}),
        (real_plksr(), {
            "feats.0.weight", "feats.1.channel_mixer.0.weight", "feats.1.channel_mixer.2.bias",
            "feats.28.lk.conv.weight", "feats.28.attn.f.0.weight", "feats.1.refine.bias",
            "feats.1.norm.weight", "feats.30.weight"}),
        (real_plksr(sampling_groups=4), {
            "to_img.init_pos", "to_img.offset.weight", "to_img.scope.weight",
            "to_img.end_conv.bias"}),
        (SPAN(scale=4, channels=48, is_normalising=True), {
            "conv_1.eval_conv.weight", "block_6.c3_r.eval_conv.bias", "conv_cat.weight",
            "conv_2.eval_conv.weight", "upsampler.0.weight"}),
        (dat2(), {
            "before_RG.1.weight", "layers.5.blocks.5.attn.temperature",
            "layers.0.blocks.0.attn.attns.1.pos.pos3.2.bias",
            "layers.0.blocks.1.ffn.sg.conv.weight", "layers.0.conv.weight",
            "layers.0.blocks.0.attn.channel_interaction.4.bias",
            "layers.0.blocks.0.attn.spatial_interaction.1.running_mean",
            "conv_before_upsample.0.weight", "upsample.2.weight", "conv_last.bias"}),
    ],
)  # fmt: skip
def test_names_are_the_published_ones(network: Network, names: set[str]) -> None:
    assert names <= set(network.state_dict())


def test_real_plksr_has_as_many_tensors_as_its_files() -> None:
    assert len(real_plksr().state_dict()) == 340


def test_three_convolutions_and_a_skip_are_fused_into_one() -> None:
    torch.manual_seed(0)
    network = tiny("span x2")
    state = dict(network.state_dict())
    first, middle, last = torch.randn(6, 3, 1, 1), torch.randn(5, 6, 3, 3), torch.randn(8, 5, 1, 1)
    biases, skip = [torch.randn(6), torch.randn(5), torch.randn(8)], torch.randn(8, 3, 1, 1)
    state |= {
        "conv_1.sk.weight": skip, "conv_1.sk.bias": biases[2] * 0,
        "conv_1.conv.0.weight": first, "conv_1.conv.0.bias": biases[0],
        "conv_1.conv.1.weight": middle, "conv_1.conv.1.bias": biases[1],
        "conv_1.conv.2.weight": last, "conv_1.conv.2.bias": biases[2],
    }  # fmt: skip
    picture = torch.rand(1, 3, 7, 6)
    mixed = F.conv2d(F.pad(picture, (1, 1, 1, 1)), first, biases[0])
    mixed = F.conv2d(F.conv2d(mixed, middle, biases[1]), last, biases[2]) + F.conv2d(picture, skip)
    made = SPAN.from_state(state).conv_1(picture)
    torch.testing.assert_close(made, mixed, rtol=1e-4, atol=1e-4)


def test_every_architecture_is_in_the_catalogues_list() -> None:
    assert {name.partition(" ")[0] for name in TINY} == set(ARCHITECTURES) - {"restoreformer"}
