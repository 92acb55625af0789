"""The VAE in tiles: what it makes of pictures that fit no tile, and of numbers that fit no type."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from inference.creative.autoencoder import LATENT_PX, Autoencoder
from inference.creative.filters import canvas_of, planes_of
from inference.creative.shared_norm import SharedNorm, listening
from inference.errors import NotANumber, OutOfMemory
from inference.picture import Canvas
from tests.inference.creative.tiny import VAE, tiny_vae

TILE_PX = 264

ENCODED_APART = 0.15
"""Of the latents' deviation, on average; tiles with statistics of their own are apart by more."""

BORDER_PX = 128
"""Where the plain VAE is not constant either: it continues pictures by zeros."""

STEP = 0.25
"""Levels of 8 bits between two neighbours; without fades it would be twice as much or more."""


def picture(height: int, width: int, *, seed: int = 1) -> Canvas:
    """Something soft, of sides that are multiples of 8."""
    noise = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return canvas_of(F.interpolate(noise, size=(height, width), mode="bicubic"))


@torch.inference_mode()
def encoded(vae: AutoencoderKL, canvas: Canvas) -> Tensor:
    """By the plain VAE, all at once."""
    scale: float = vae.config.scaling_factor
    latents: Tensor = vae.encode(2 * planes_of(canvas) - 1).latent_dist.mode()
    return latents * scale


@torch.inference_mode()
def decoded(vae: AutoencoderKL, latents: Tensor) -> Canvas:
    return canvas_of(vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5)


def apart(one: Canvas, other: Canvas) -> float:
    """The largest difference, in levels of 8 bits."""
    return float(np.abs(one.astype(np.int64) - other).max()) / 257


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 128), (264, 200)])
def test_what_fits_a_tile_is_as_the_plain_vae_has_it(height: int, width: int) -> None:
    canvas = picture(height, width)
    autoencoder = Autoencoder(tiny_vae(), tile_px=TILE_PX)
    latents = autoencoder.encode(canvas)
    assert torch.equal(latents, encoded(tiny_vae(), canvas))
    assert np.array_equal(autoencoder.decode(latents), decoded(tiny_vae(), latents))


@pytest.mark.parametrize(("height", "width"), [(272, 400), (400, 272), (536, 64)])
def test_larger_ones_keep_their_size(height: int, width: int) -> None:
    autoencoder = Autoencoder(tiny_vae(), tile_px=TILE_PX)
    latents = autoencoder.encode(picture(height, width))
    assert latents.shape == (1, 4, height // 8, width // 8)
    assert autoencoder.decode(latents).shape == (height, width, 3)


def test_nothing_of_the_tiles_shows_where_the_decoder_says_one_thing() -> None:
    vae = tiny_vae()
    nn.init.zeros_(vae.decoder.conv_out.weight)
    latents = torch.randn(1, 4, 50, 67, generator=torch.Generator().manual_seed(1))
    made = Autoencoder(vae, tile_px=TILE_PX).decode(latents)
    assert apart(made, made[:1, :1]) < 0.01


class Overlapping(Autoencoder):
    """Keeps what it makes of each tile."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__(vae, tile_px=TILE_PX)
        self.tiles: list[Tensor] = []

    def _pixels(self, latents: Tensor) -> Tensor:
        pixels = super()._pixels(latents)
        self.tiles.append(pixels)
        return pixels


def disagreement(*, is_shared: bool) -> float:
    """Of two neighbouring tiles over the middle of what both see; the halves differ much."""
    canvas = picture(264, 400)
    canvas[:, 200:] = canvas[:, 200:] // 4 + 45_000
    torch.manual_seed(2)
    vae = AutoencoderKL(**VAE, mid_block_add_attention=False).eval().requires_grad_(False)
    nn.init.constant_(vae.decoder.conv_out.weight, 0.004)  # within the range of pixels
    autoencoder = Overlapping(vae)
    if not is_shared:
        autoencoder._norms.clear()
    autoencoder.decode(encoded(vae, canvas))
    left, right = autoencoder.tiles[-2:]
    shared_px = 2 * left.shape[3] - 400
    margin_px = 56
    seen_left = left[..., -shared_px + margin_px : -margin_px]
    seen_right = right[..., margin_px : shared_px - margin_px]
    return float((seen_left - seen_right).abs().mean() / left.std())


def test_tiles_that_share_their_statistics_agree_where_they_meet() -> None:
    assert disagreement(is_shared=True) < 0.25 * disagreement(is_shared=False)


def test_the_statistics_are_each_pictures_own() -> None:
    autoencoder = Autoencoder(tiny_vae(), tile_px=TILE_PX)
    small = picture(64, 64)
    before = autoencoder.encode(small)
    autoencoder.encode(picture(400, 272, seed=5))
    assert torch.equal(autoencoder.encode(small), before)


def test_tensors_keep_their_names() -> None:
    names = list(tiny_vae().state_dict())
    vae = tiny_vae()
    Autoencoder(vae)
    assert list(vae.state_dict()) == names


def overflowing() -> AutoencoderKL:
    """A VAE whose decoder gets beyond 65,504, fp16's largest number, and back."""
    vae = tiny_vae()
    nn.init.constant_(vae.decoder.conv_in.bias, 3e4)
    first = vae.decoder.mid_block.resnets[0].conv2
    nn.init.constant_(first.bias, 5e4)
    return vae


def test_what_overflows_in_half_precision_is_done_again_in_single() -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    half = overflowing().half()
    assert not half.decode(latents.half()).sample.isfinite().all()
    autoencoder = Autoencoder(half)
    assert apart(autoencoder.decode(latents), decoded(half.float(), latents)) < 0.01
    half.half()
    autoencoder.decode(latents)
    assert half.dtype == torch.float16


def test_what_is_not_a_number_in_single_precision_either_ends_it() -> None:
    vae = tiny_vae()
    nn.init.constant_(vae.encoder.conv_out.bias, float("nan"))
    with pytest.raises(NotANumber):
        Autoencoder(vae).encode(picture(64, 64))


class Small(Autoencoder):
    """On a device with little memory."""

    most_px = TILE_PX
    seen: tuple[int, ...] = ()

    def _pixels(self, latents: Tensor) -> Tensor:
        if max(latents.shape[2:]) * LATENT_PX > self.most_px:
            raise torch.OutOfMemoryError
        self.seen = (*self.seen, latents.shape[3])
        return super()._pixels(latents)


def test_for_want_of_memory_tiles_get_smaller() -> None:
    latents = torch.randn(1, 4, 40, 48, generator=torch.Generator().manual_seed(1))
    autoencoder = Small(tiny_vae(), tile_px=2 * TILE_PX)
    assert autoencoder.decode(latents).shape == (320, 384, 3)
    assert max(autoencoder.seen) <= TILE_PX // LATENT_PX


def test_memory_that_never_suffices_ends_it() -> None:
    autoencoder = Small(tiny_vae())
    autoencoder.most_px = 8
    with pytest.raises(OutOfMemory):
        autoencoder.decode(torch.zeros(1, 4, 16, 16))


@pytest.mark.parametrize(("height", "width"), [(400, 536), (536, 400)])
def test_tiles_give_nearly_the_latents_that_the_whole_gives(height: int, width: int) -> None:
    canvas = picture(height, width)
    dark = canvas[height // 2 :] if height > width else canvas[:, width // 2 :]
    dark //= 4
    whole = encoded(tiny_vae(), canvas)
    tiled = Autoencoder(tiny_vae(), tile_px=TILE_PX).encode(canvas)
    assert (tiled - whole).abs().mean() < ENCODED_APART * whole.std()


def test_weights_of_encoded_tiles_add_up_to_one() -> None:
    vae = tiny_vae()
    nn.init.zeros_(vae.encoder.conv_out.weight)
    latents = Autoencoder(vae, tile_px=TILE_PX).encode(picture(400, 536))
    torch.testing.assert_close(latents, latents[..., :1, :1].expand_as(latents))


@pytest.mark.parametrize(("height", "width"), [(400, 536), (800, 664)])
def test_grey_stays_grey_and_shows_no_grid(height: int, width: int) -> None:
    vae = tiny_vae()
    vae.decoder.conv_out.weight.mul_(0.1)  # within the range of pixels
    latents = encoded(vae, np.full((height, width, 3), 128 * 257, np.uint16))
    whole = decoded(vae, latents).astype(np.float64)
    tiled = Autoencoder(vae, tile_px=TILE_PX).decode(latents)
    error = (tiled - whole)[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] / 257
    assert np.abs(error).max() < 2
    assert max(np.abs(np.diff(error, axis=axis)).max() for axis in (0, 1)) < STEP


@pytest.mark.parametrize(("height", "width"), [(8, 2400), (2400, 8)])
def test_strips_are_reduced_no_further_than_their_short_side_bears(height: int, width: int) -> None:
    autoencoder = Autoencoder(tiny_vae(), tile_px=TILE_PX)
    latents = autoencoder.encode(picture(height, width))
    assert autoencoder.decode(latents).shape == (height, width, 3)


def test_given_statistics_are_applied_as_exactly_in_half_precision_as_ones_own() -> None:
    features = 50 + 3 * torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    exact = nn.GroupNorm(4, 16)(features)
    norm = SharedNorm(nn.GroupNorm(4, 16)).half()
    with listening([norm]):
        norm(features.half())
    assert (norm(features.half()) - exact).abs().max() < 0.02


def test_a_vae_can_be_given_to_two() -> None:
    vae = tiny_vae()
    latents = torch.randn(1, 4, 50, 67, generator=torch.Generator().manual_seed(1))
    first = Autoencoder(vae, tile_px=TILE_PX)
    alone = first.decode(latents)
    Autoencoder(vae)
    assert np.array_equal(first.decode(latents), alone)


def test_tiles_without_room_for_their_overlaps_are_refused() -> None:
    with pytest.raises(ValueError, match="256 px"):
        Autoencoder(tiny_vae(), tile_px=256)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), MemoryError()])
def test_encoding_gets_smaller_tiles_for_want_of_memory(error: Exception) -> None:
    sides: list[int] = []

    def refuse(_encoder: nn.Module, inputs: tuple[Tensor]) -> None:
        sides.append(max(inputs[0].shape[2:]))
        if sides[-1] > TILE_PX:
            raise error

    canvas, vae = picture(320, 384), tiny_vae()
    vae.encoder.register_forward_pre_hook(refuse)
    made = Autoencoder(vae, tile_px=2 * TILE_PX).encode(canvas)
    assert sides[0] == 384
    assert max(sides[1:]) <= TILE_PX
    assert torch.equal(made, Autoencoder(tiny_vae(), tile_px=TILE_PX).encode(canvas))


def test_other_errors_of_torch_are_not_taken_for_want_of_memory() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        Autoencoder(tiny_vae()).decode(torch.zeros(1, 5, 8, 8))


def test_tiles_that_overflow_in_half_precision_are_all_done_again() -> None:
    vae = tiny_vae()
    nn.init.constant_(vae.encoder.conv_in.bias, 3e4)
    nn.init.constant_(vae.encoder.down_blocks[0].resnets[0].conv2.bias, 5e4)
    canvas = picture(320, 272)
    half = Autoencoder(vae.half(), tile_px=TILE_PX).encode(canvas)
    assert vae.dtype == torch.float16
    single = Autoencoder(vae.float(), tile_px=TILE_PX).encode(canvas)
    assert torch.equal(half, single)


def test_every_tile_is_told_of() -> None:
    ticks: list[int] = []
    autoencoder = Autoencoder(tiny_vae(), tile_px=TILE_PX)
    latents = autoencoder.encode(picture(272, 400), tick=lambda: ticks.append(1))
    autoencoder.decode(latents, tick=lambda: ticks.append(2))
    assert ticks == [1] * 4 + [2] * 4


def test_what_a_tick_raises_ends_the_work_and_leaves_nothing_behind() -> None:
    def stop() -> None:
        raise TimeoutError

    autoencoder = Autoencoder(tiny_vae(), tile_px=TILE_PX)
    with pytest.raises(TimeoutError):
        autoencoder.encode(picture(400, 272), tick=stop)
    small = picture(64, 64)
    assert torch.equal(autoencoder.encode(small), encoded(tiny_vae(), small))
