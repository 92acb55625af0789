"""The VAE in tiles: what it makes of pictures that fit no tile, and of numbers that fit no type."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from inference.creative.autoencoder import LATENT_PX, Autoencoder
from inference.creative.filters import canvas_of, planes_of
from inference.errors import NotANumber, OutOfMemory
from inference.picture import Canvas
from tests.inference.creative.tiny import VAE, tiny_vae

TILE_PX = 264


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
    torch.testing.assert_close(latents, encoded(tiny_vae(), canvas))
    assert apart(autoencoder.decode(latents), decoded(tiny_vae(), latents)) < 0.01


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
