"""Windows over latents."""

import pytest
import torch

from inference.creative.windows import MULTIPLE, WINDOW, Window, windows
from inference.tiling import Windows

CPU = torch.device("cpu")


def over(height: int, width: int, largest: Windows = WINDOW) -> list[Window]:
    return windows(height, width, largest=largest, device=CPU)


@pytest.mark.parametrize("height", [8, 40, 144, 152, 256, 1024])
@pytest.mark.parametrize("width", [8, 112, 120, 512])
def test_weights_add_up_to_one(height: int, width: int) -> None:
    total = torch.zeros(height, width)
    for window in over(height, width):
        window.of(total).add_(window.weights)
    torch.testing.assert_close(total, torch.ones(height, width))


def test_what_fits_one_window_is_seen_at_once() -> None:
    (window,) = over(144, 112)
    assert (window.rows, window.columns) == (slice(0, 144), slice(0, 112))


@pytest.mark.parametrize(("height", "width"), [(152, 120), (256, 256), (1024, 776)])
def test_windows_of_large_latents_have_one_shape(height: int, width: int) -> None:
    assert {tuple(window.weights.shape) for window in over(height, width)} == {(144, 112)}


def test_windows_lie_within_and_on_the_grid() -> None:
    for window in over(160, 424):
        for axis, length in ((window.rows, 160), (window.columns, 424)):
            assert 0 <= axis.start < axis.stop <= length
            assert axis.start % MULTIPLE == axis.stop % MULTIPLE == 0


def test_neighbours_fade_into_each_other() -> None:
    left, right = over(56, 96, Windows(56, 56))
    assert left.columns.stop - right.columns.start == 16
    fade = left.weights[20, right.columns.start :]
    assert torch.all(fade.diff() < 0)
    torch.testing.assert_close(fade, right.weights[20, :16].flip(0))


def test_the_place_on_the_picture_is_eight_times_as_large() -> None:
    window = over(56, 96, Windows(56, 56))[1]
    assert window.on_pixels(8) == (slice(0, 448), slice(320, 768))
