"""The diffusion of latents: through windows it is what it would be through one."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inference.creative.denoiser import Denoiser, Noise
from inference.creative.diffusion import Diffusion, FewSteps, Subject, Tuning
from inference.creative.filters import planes_of
from inference.creative.progress import Meter
from inference.creative.sampler import DpmSolver, noise_like
from inference.creative.schedule import noise_levels
from inference.devices import Sizes
from inference.errors import NotANumber, OutOfMemory
from inference.params import CreativeParams
from inference.tiling import Windows
from tests.inference.creative.tiny import KNOBS, WIDTH, tiny_controlnet, tiny_unet

CPU = torch.device("cpu")
SMALL = Windows(56, 56)


def subject(height: int, width: int, knobs: CreativeParams = KNOBS) -> Subject:
    """Something for latents of that size to become."""
    dice = np.random.default_rng(1)
    return Subject(
        creative=knobs,
        prompt=torch.randn(2, 77, WIDTH, generator=torch.Generator().manual_seed(2)),
        hint=dice.integers(0, 65_536, (8 * height, 8 * width, 3), dtype=np.uint16),
        levels=noise_levels(knobs.steps, knobs.creativity),
    )


def noisy(height: int, width: int, *, level: float) -> Tensor:
    return (
        noise_like(torch.empty(1, 4, height, width), dice=torch.Generator().manual_seed(3)) * level
    )


def diffusion(
    *,
    windows: Windows = SMALL,
    batch_tiles: int = 1,
    unguided: int = 0,
) -> Diffusion:
    tuning = Tuning(sizes=Sizes(windows, batch_tiles), unguided_steps=unguided)
    return Diffusion(Denoiser(tiny_unet(), tiny_controlnet()), CPU, tuning=tuning)


def silent() -> Meter:
    meter = Meter(lambda *_: None, [100])
    meter.begin()
    return meter


def cleaned(by: Diffusion, height: int, width: int, knobs: CreativeParams = KNOBS) -> Tensor:
    wanted = subject(height, width, knobs)
    return by.clean(
        noisy(height, width, level=wanted.levels[0]),
        wanted,
        dice=torch.Generator().manual_seed(4),
        meter=silent(),
    )


@torch.inference_mode()
def untiled(height: int, width: int) -> Tensor:
    """The plain loop: the whole latents at each step."""
    wanted = subject(height, width)
    denoiser, sampler = Denoiser(tiny_unet(), tiny_controlnet()), DpmSolver()
    denoiser.listen(wanted.prompt)
    steering = denoiser.steering(dynamic=KNOBS.dynamic, resemblance=KNOBS.resemblance)
    latents = noisy(height, width, level=wanted.levels[0])
    hints = denoiser.hint(planes_of(wanted.hint))
    for sigma, following in pairwise(wanted.levels):
        clean = denoiser(latents, hints, Noise.of(sigma, device=CPU), steering, 2)
        latents = sampler.step(latents, clean, sigma=sigma, following=following)
    return latents


def test_a_window_over_all_is_the_plain_loop() -> None:
    torch.testing.assert_close(cleaned(diffusion(), 40, 56), untiled(40, 56))


def test_windows_change_little_where_the_networks_look_near() -> None:
    whole = cleaned(diffusion(windows=Windows(144, 112)), 56, 104)
    tiled = cleaned(diffusion(), 56, 104)
    assert (tiled - whole).abs().mean() < 0.1 * whole.std()


@pytest.mark.parametrize("batch_tiles", [3, 8])
def test_the_batch_does_not_show(batch_tiles: int) -> None:
    alone = cleaned(diffusion(), 56, 152)
    together = cleaned(diffusion(batch_tiles=batch_tiles), 56, 152)
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=0)


def test_unguided_steps_leave_the_prompt_less_pull() -> None:
    plain = cleaned(diffusion(), 40, 40)
    assert not torch.allclose(cleaned(diffusion(unguided=2), 40, 40), plain, atol=1e-3)
    without = KNOBS.model_copy(update={"dynamic": 1.0})
    every_step = cleaned(diffusion(unguided=100), 40, 40)
    torch.testing.assert_close(cleaned(diffusion(), 40, 40, without), every_step)


def test_few_steps_are_at_most_so_many_with_fresh_noise() -> None:
    few = Tuning(sizes=Sizes(Windows(56, 56), 1), few_steps=FewSteps(most_steps=3))
    by = Diffusion(Denoiser(tiny_unet(), tiny_controlnet()), CPU, tuning=few)
    capped = by.capped(KNOBS.model_copy(update={"dynamic": 9.0, "creativity": 0.9}))
    assert (capped.steps, capped.dynamic) == (3, 2.0)
    one = cleaned(by, 40, 40, capped)
    torch.testing.assert_close(cleaned(by, 40, 40, capped), one)
    solved = cleaned(diffusion(), 40, 40, capped)
    assert not torch.allclose(one, solved, atol=1e-3)


def test_progress_counts_windows_of_all_steps() -> None:
    told: list[int] = []
    by = diffusion(batch_tiles=2)
    wanted = subject(56, 152)
    assert by.windows(56, 152) == 4
    work = 4 * (len(wanted.levels) - 1)
    meter = Meter(lambda done, _of: told.append(done), [work])
    meter.begin()
    by.clean(noisy(56, 152, level=1), wanted, dice=torch.Generator().manual_seed(4), meter=meter)
    assert told == list(range(0, work + 1, 2))


class Stopped(Exception):
    """Somebody has cancelled the work."""


def test_it_ends_between_two_batches_when_progress_says_so() -> None:
    told: list[int] = []

    def stop(done: int, _of: int) -> None:
        told.append(done)
        if done == 3:
            raise Stopped

    meter = Meter(stop, [100])
    meter.begin()
    with pytest.raises(Stopped):
        diffusion().clean(
            noisy(56, 152, level=1),
            subject(56, 152, KNOBS.model_copy(update={"steps": 100, "creativity": 0.2})),
            dice=torch.Generator().manual_seed(4),
            meter=meter,
        )
    assert told[-1] == 3


def test_what_is_not_a_number_ends_it() -> None:
    unet = tiny_unet()
    nn.init.constant_(unet.conv_out.bias, float("nan"))
    by = Diffusion(
        Denoiser(unet, tiny_controlnet()), CPU, tuning=Tuning(sizes=Sizes(Windows(56, 56), 1))
    )
    with pytest.raises(NotANumber):
        cleaned(by, 40, 40)


class Small(Denoiser):
    """A denoiser on a device with little memory."""

    def __init__(self, *, most_latents: int) -> None:
        super().__init__(tiny_unet(), tiny_controlnet())
        self.seen: list[tuple[int, ...]] = []
        self._most = most_latents

    def forward(
        self, latents: Tensor, hints: Tensor, noise: Noise, steering: object, parts: int
    ) -> Tensor:
        """Complain as CUDA does."""
        n, _, height, width = latents.shape
        if n * height * width > self._most:
            raise torch.OutOfMemoryError
        self.seen.append((n, height, width))
        return super().forward(latents, hints, noise, steering, parts)  # type: ignore[arg-type]


def test_for_want_of_memory_it_begins_again_in_smaller_pieces() -> None:
    small = Small(most_latents=56 * 56)
    tuning = Tuning(sizes=Sizes(Windows(112, 56), batch_tiles=2))
    latents = cleaned(Diffusion(small, CPU, tuning=tuning), 64, 56)
    assert set(small.seen) == {(1, 56, 56)}
    assert latents.isfinite().all()


def test_memory_that_never_suffices_ends_it() -> None:
    with pytest.raises(OutOfMemory):
        cleaned(
            Diffusion(Small(most_latents=0), CPU, tuning=Tuning(sizes=Sizes(Windows(56, 56), 1))),
            40,
            40,
        )
