"""The runner: rows in order and in bounded pieces, whatever the network and the memory are like."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.chain import Chain
from inference.errors import NotANumber, OutOfMemory
from inference.picture import Samples
from inference.runner import run
from inference.tiling import Overlap, Windows, plan
from tests.inference.drawings import noise, silent
from tests.inference.stand_ins import (
    CPU,
    Blur,
    Broken,
    Greedy,
    Levelling,
    Nearest,
    made,
    sizes,
)

CUDA_SAYS = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
CPU_SAYS = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate")


def repeated(samples: Samples, scale: int) -> Samples:
    return samples.repeat(scale, axis=0).repeat(scale, axis=1)


def pieces(chain: Chain, samples: Samples, side_px: int) -> Iterator[Samples]:
    return run(
        chain, [samples], device=CPU, bits=8, progress=silent, sizes=sizes(side_px)
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    side_px=st.integers(13, 50),
    batch_tiles=st.integers(1, 5),
    multiple_px=st.integers(1, 3),
)
def test_every_window_comes_to_its_place(
    width: int, height: int, side_px: int, batch_tiles: int, multiple_px: int
) -> None:
    chain = Chain([Nearest(2, radius_px=3, multiple_px=multiple_px)], scale=2)
    source = noise(height, width, 3)
    enlarged = made(chain, source, sizes=sizes(side_px, batch_tiles=batch_tiles))
    assert np.array_equal(enlarged, repeated(source, 2))


@pytest.mark.parametrize("batch_tiles", [1, 2, 4, 100])
def test_all_batches_have_one_shape(batch_tiles: int) -> None:
    network = Nearest(2, radius_px=3)
    source = noise(50, 70, 3)
    chain = Chain([network], scale=2)
    made(chain, source, sizes=sizes(20, batch_tiles=batch_tiles))
    windows = plan(70, 50, windows=Windows(20, 20), overlap=chain.overlap)
    (shape,) = set(network.shapes)
    assert shape[0] == min(batch_tiles, windows.tiles)
    assert len(network.shapes) == -(-windows.tiles // shape[0])


def test_rows_come_as_soon_as_they_are_finished() -> None:
    network = Nearest(2, radius_px=3)
    rows = pieces(Chain([network], scale=2), noise(100, 10, 3), 20)
    heights = []
    for number, band in enumerate(rows, 1):
        assert len(network.shapes) == number
        heights.append(len(band))
    assert sum(heights) == 200
    assert max(heights) <= 2 * 20


def test_layers_stand_side_by_side_and_grey_stays_grey() -> None:
    colour, alpha = noise(30, 20, 3), noise(30, 20, 1)
    enlarged = made(Chain([Nearest(2, radius_px=1)], scale=2), colour, alpha, sizes=sizes(12))
    assert np.array_equal(enlarged, repeated(np.concatenate((colour, alpha), axis=2), 2))


def test_grey_is_the_mean_of_what_the_network_makes_of_it() -> None:
    class Tinting(Nearest):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            shift = torch.tensor([-30.0, 0.0, 60.0])[:, None, None] / 255
            return super().forward(picture + shift)

    grey = np.full((4, 4, 1), 100, np.uint8)
    assert set(made(Chain([Tinting(1)], scale=1), grey).flat) == {110}


def test_sixteen_bits_go_through_without_loss() -> None:
    deep = np.random.default_rng(0).integers(0, 65_536, (40, 30, 3), dtype=np.uint16)
    enlarged = made(Chain([Nearest(2, radius_px=2)], scale=2), deep, bits=16, sizes=sizes(16))
    assert enlarged.dtype == np.uint16
    assert np.array_equal(enlarged, repeated(deep, 2))


def test_depths_are_converted_by_their_full_range() -> None:
    deep = np.array([[[0], [128], [129], [32_896], [65_535]]], np.uint16)
    chain = Chain([Nearest(1)], scale=1)
    assert made(chain, deep).tolist() == [[[0], [0], [1], [128], [255]]]
    assert made(chain, made(chain, deep), bits=16)[0, -1] == 65_535


@pytest.mark.parametrize("batch_tiles", [1, 3])
def test_a_network_that_is_not_local_is_faded_without_a_step(batch_tiles: int) -> None:
    ramp = np.linspace(0, 255, 120).round().astype(np.uint8)
    source = np.broadcast_to(ramp[:, None, None], (120, 120, 3)).copy()
    chain = Chain([Levelling(2, radius_px=12)], scale=2)
    enlarged = made(chain, source, sizes=sizes(50, batch_tiles=batch_tiles)).astype(int)
    steps = np.abs(np.diff(enlarged, axis=0)).max()
    assert steps <= 4  # the gradient's own is up to 3
    assert np.abs(np.diff(enlarged, axis=1)).max() <= 1


@settings(deadline=None, max_examples=30)
@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    side_px=st.integers(27, 50),
    radius_px=st.integers(1, 6),
)
def test_faded_weights_add_up_to_one(width: int, height: int, side_px: int, radius_px: int) -> None:
    class Local(Nearest):
        is_local = False

    source = noise(height, width, 3)
    enlarged = made(Chain([Local(2, radius_px=radius_px)], scale=2), source, sizes=sizes(side_px))
    assert np.array_equal(enlarged, repeated(source, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_broken_numbers_are_never_delivered(value: float) -> None:
    source = np.zeros((60, 10, 3), np.uint8)
    source[-1, 0] = 255
    rows = pieces(Chain([Broken(2, value=value)], scale=2), source, 20)
    delivered: list[Samples] = []
    with pytest.raises(NotANumber):
        delivered.extend(rows)
    assert sum(len(band) for band in delivered) == 2 * 40


@pytest.mark.parametrize("error", [CUDA_SAYS, CPU_SAYS, MemoryError()])
@pytest.mark.parametrize("after", [0, 2, 5])
@pytest.mark.parametrize("is_local", [True, False])
def test_too_little_memory_means_smaller_pieces_of_what_is_still_to_come(
    error: Exception, after: int, *, is_local: bool
) -> None:
    network = Greedy(2, pixels=500, error=error, after=after)
    network.is_local = is_local
    source = noise(200, 45, 3)
    enlarged = made(Chain([network], scale=2), source, sizes=sizes(40, batch_tiles=2))
    assert np.array_equal(enlarged, repeated(source, 2))
    counts = [shape[0] for shape in network.shapes]
    assert counts == sorted(counts, reverse=True)  # the batch first
    assert network.shapes[-1][2] * network.shapes[-1][3] <= 500


def test_what_was_delivered_is_not_made_again() -> None:
    network = Greedy(2, pixels=1_000, error=MemoryError(), after=4)
    source = noise(300, 40, 3)
    enlarged = made(Chain([network], scale=2), source, sizes=sizes(40))
    assert np.array_equal(enlarged, repeated(source, 2))
    made_of_all = plan(40, 300, windows=Windows(40, 20), overlap=Overlap(2)).tiles
    again = len(network.shapes) - 5
    assert 0 < again < made_of_all


def test_progress_goes_on_where_memory_ran_out() -> None:
    reports: list[tuple[int, int]] = []
    network = Greedy(2, pixels=1_000, error=MemoryError(), after=4)
    made(Chain([network], scale=2), noise(300, 40, 3), sizes=sizes(40),
         progress=lambda done, of: reports.append((done, of)))  # fmt: skip
    shares = [done / of for done, of in reports]
    assert shares[3:] == sorted(shares[3:])
    assert shares[-1] == 1


def test_memory_that_suffices_for_nothing_is_an_error_of_its_own() -> None:
    network = Greedy(2, pixels=0, error=MemoryError())
    with pytest.raises(OutOfMemory):
        made(Chain([network], scale=2), noise(60, 60, 3), sizes=sizes(40, batch_tiles=2))
    assert len(network.shapes) < 10


def test_other_errors_of_torch_are_not_taken_for_want_of_memory() -> None:
    network = Greedy(2, pixels=0, error=RuntimeError("expected 3 channels"))
    with pytest.raises(RuntimeError, match="channels"):
        made(Chain([network], scale=2), noise(9, 9, 3))
    assert len(network.shapes) == 1


def test_progress_counts_tiles_over_all_layers() -> None:
    reports: list[tuple[int, int]] = []
    chain = Chain([Blur(2)], scale=2)
    made(chain, noise(50, 75, 3), noise(50, 75, 1), sizes=sizes(50),
         progress=lambda done, of: reports.append((done, of)))  # fmt: skip
    assert reports == [(done, 4) for done in range(1, 5)]


def test_what_progress_raises_ends_the_work() -> None:
    def stop(done: int, of: int) -> None:
        raise TimeoutError(f"{done} of {of}")

    with pytest.raises(TimeoutError, match="1 of 1"):
        made(Chain([Nearest(2)], scale=2), noise(5, 5, 3), progress=stop)
