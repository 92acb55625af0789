"""The fidelity guard: it matches the source, step by step, and leaves the detail alone."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from inference.guard import BackProjection


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def drifted(source: Tensor, scale: int) -> Tensor:
    """What a network that is off in colour makes of it: scaled, shifted, with detail on top."""
    shift = torch.tensor([0.05, -0.03, 0.08]).view(1, 3, 1, 1)
    enlarged = functional.interpolate(source, scale_factor=float(scale), mode="bilinear")
    return 0.9 * enlarged + shift + 0.2 * detail(enlarged.shape, scale)


def detail(shape: torch.Size, scale: int) -> Tensor:
    """Noise whose blocks of scale x scale have a mean of zero."""
    grain = noise(*shape, seed=1) - 0.5
    means = functional.avg_pool2d(grain, scale)
    return grain - functional.interpolate(means, scale_factor=float(scale), mode="nearest")


def error(enlarged: Tensor, source: Tensor) -> float:
    """Root mean square of what the reduction lacks."""
    reduced = functional.avg_pool2d(enlarged, enlarged.shape[-1] // source.shape[-1])
    return float((reduced - source).square().mean().sqrt())


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_every_iteration_brings_the_reduction_nearer_to_the_source(scale: int) -> None:
    source = noise(1, 3, 24, 31)
    given = drifted(source, scale)
    errors = [error(BackProjection(iterations=count)(given, source), source) for count in range(7)]
    if scale == 1:  # there the first one ends it
        assert errors[1] < 1e-6
    else:
        assert all(later < 0.8 * earlier for earlier, later in pairwise(errors))


@pytest.mark.parametrize("scale", [2, 4])
def test_a_drift_in_colour_is_gone(scale: int) -> None:
    source = functional.avg_pool2d(noise(1, 3, 80, 96), 8, stride=2)
    corrected = BackProjection()(drifted(source, scale), source)
    drift = (functional.avg_pool2d(corrected, scale) - source).mean(dim=(2, 3)).abs()
    assert drift.max() < 1e-4
    assert error(corrected, source) < 0.25 / 255


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_detail_finer_than_the_sources_grid_survives(scale: int) -> None:
    source = noise(1, 3, 16, 16)
    smooth = functional.interpolate(source, scale_factor=float(scale), mode="bilinear")
    fine = detail(smooth.shape, scale)
    guard = BackProjection()
    difference = guard(smooth + fine, source) - guard(smooth, source)
    assert torch.allclose(difference, fine, atol=1e-5)


def test_what_matches_already_is_left_as_it_is() -> None:
    enlarged = noise(2, 3, 40, 48)
    corrected = BackProjection()(enlarged, functional.avg_pool2d(enlarged, 4))
    assert torch.allclose(corrected, enlarged, atol=1e-6)


@pytest.mark.parametrize("low_only", [False, True])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_tile_with_its_radius_of_context_equals_the_whole(scale: int, low_only: bool) -> None:
    source = noise(1, 3, 60, 64)
    enlarged = drifted(source, scale)
    guard = BackProjection(low_only=low_only)
    whole = guard(enlarged, source)
    radius_px = guard.radius_px
    core = slice(20, 30)
    context = slice(core.start - radius_px, core.stop + radius_px)
    fine = slice(context.start * scale, context.stop * scale)
    tile = guard(enlarged[..., fine, fine], source[..., context, context])
    inner = slice(radius_px * scale, -radius_px * scale)
    finished = slice(core.start * scale, core.stop * scale)
    assert torch.allclose(tile[..., inner, inner], whole[..., finished, finished], atol=1e-6)


@pytest.mark.parametrize("low_only", [False, True])
def test_one_pixel_less_of_context_would_not_do(low_only: bool) -> None:
    guard = BackProjection(iterations=1, low_only=low_only)
    source = torch.zeros(1, 1, 16, 16)
    enlarged = torch.zeros(1, 1, 32, 32)
    touched = source.clone()
    touched[..., 8] = 1
    difference = (guard(enlarged, touched) - guard(enlarged, source)).abs().amax(dim=(0, 1, 2))
    reached = difference.nonzero().flatten() // 2
    assert reached.min() == 8 - guard.radius_px
    assert reached.max() == 8 + guard.radius_px


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_low_frequencies_alone_take_a_drift_in_colour_out(scale: int) -> None:
    source = noise(1, 3, 30, 36)
    enlarged = functional.interpolate(source, scale_factor=float(scale), mode="nearest")
    shift = torch.tensor([0.05, -0.03, 0.08]).view(1, 3, 1, 1)
    corrected = BackProjection(low_only=True)(enlarged + shift, source)
    assert torch.allclose(corrected, enlarged, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_low_frequencies_alone_leave_noise_removed(scale: int) -> None:
    grain = 0.1 * (noise(1, 3, 40, 40, seed=2) - 0.5)
    clean = torch.full((1, 3, 40 * scale, 40 * scale), 0.5)
    brought_back = BackProjection(low_only=True)(clean, 0.5 + grain) - 0.5
    assert brought_back.square().mean() < 0.03 * grain.square().mean()
