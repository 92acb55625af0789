"""The quality report: against slow versions of itself, and of results whose faults are known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.metrics import MAX_PSNR_DB, lab, luma, ssim
from inference.picture import Picture, Samples
from inference.quality import (
    CELLS,
    MAX_SSIM_PX,
    STRIP_PX,
    Quality,
    QualityMeter,
    Seams,
    block_means,
)

NONE = Seams()


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def blown_up(source: Samples, scale: int) -> Samples:
    return np.repeat(np.repeat(source, scale, axis=0), scale, axis=1)


def measured(source: Samples, result: Samples, scale: int, *, seams: Seams = NONE) -> Quality:
    meter = QualityMeter(Picture(source), scale=scale, seams=seams)
    meter.add(result)
    return meter.report()


def slow_block_means(rows: Samples, scale: int) -> NDArray[np.float64]:
    """One block at a time."""
    height, width = (side // scale for side in rows.shape[:2])
    levels = 257 if rows.dtype == np.uint16 else 1
    blocks = [
        rows[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale].mean(axis=(0, 1)) / levels
        for y in range(height)
        for x in range(width)
    ]
    return np.array(blocks).reshape(height, width, *rows.shape[2:])


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("type_", [np.uint8, np.uint16])
def test_the_reduction_is_the_mean_of_blocks(
    scale: int, channels: tuple[int, ...], type_: type[np.uint8]
) -> None:
    most = np.iinfo(type_).max
    shape = (3 * scale, 5 * scale, *channels)
    rows = np.random.default_rng(0).integers(0, most, shape, dtype=type_, endpoint=True)
    found = block_means(rows, scale)
    assert found.dtype == np.float32
    assert found == pytest.approx(slow_block_means(rows, scale), rel=2e-7)


@pytest.mark.parametrize("type_", [np.uint8, np.uint16])
def test_the_brightest_blocks_do_not_overflow(type_: type[np.uint8]) -> None:
    rows = np.full((8, 16, 3), np.iinfo(type_).max, type_)
    assert block_means(rows, 8) == pytest.approx(255, rel=1e-7)


def test_a_result_that_reduces_to_its_source_is_perfect() -> None:
    source = noise(40, 50, 3)
    assert measured(source, blown_up(source, 4), 4) == Quality(
        psnr_db=MAX_PSNR_DB, ssim=1, delta_e=0
    )


def test_detail_within_the_blocks_costs_nothing() -> None:
    source = noise(20, 20, 3) // 2 + 64
    result = blown_up(source, 2)
    result[0::2] += result.dtype.type(9)
    result[1::2] -= result.dtype.type(9)
    assert measured(source, result, 2).psnr_db == MAX_PSNR_DB


@pytest.mark.parametrize("shape", [(30, 40, 3), (30, 40)])
def test_psnr_and_ssim_are_those_of_the_slow_way(shape: tuple[int, ...]) -> None:
    source, result = noise(*shape), noise(shape[0] * 2, shape[1] * 2, *shape[2:], seed=1)
    found = measured(source, result, 2)
    reduced, exact = slow_block_means(result, 2), source.astype(np.float64)
    error = np.square(reduced - exact).mean()
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / error), abs=1e-4)
    assert found.ssim == pytest.approx(ssim(luma(reduced), luma(exact)).mean(), abs=1e-5)


def test_sixteen_bits_are_measured_like_eight() -> None:
    source, result = noise(24, 24, 3), noise(48, 48, 3, seed=1)
    eight = measured(source, result, 2)
    wide = measured(source.astype(np.uint16) * 257, result.astype(np.uint16) * 257, 2)
    assert wide.psnr_db == pytest.approx(eight.psnr_db, abs=1e-4)
    assert wide.delta_e == pytest.approx(eight.delta_e, rel=1e-4)


def test_an_eight_bit_result_of_a_sixteen_bit_source_is_no_worse_than_its_rounding() -> None:
    source = np.random.default_rng(0).integers(0, 65_536, (24, 24, 3), dtype=np.uint16)
    result = (blown_up(source, 2) / 257).round().astype(np.uint8)
    assert measured(source, result, 2).psnr_db == pytest.approx(58.9, abs=0.3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 40), (40, 3, 3), (10, 10)])
def test_small_pictures_are_measured_too(shape: tuple[int, ...]) -> None:
    source = noise(*shape)
    same = measured(source, blown_up(source, 2), 2)
    assert [same.ssim, same.delta_e] == pytest.approx([1, 0])


def test_a_drift_in_colour_is_its_ciede2000() -> None:
    """Of greys, the formula's lightness term alone: one by hand."""
    source, result = np.full((64, 64), 100, np.uint8), np.full((128, 128), 110, np.uint8)
    lighter, darker = (float(lab(np.full(3, level / 1.0))[0]) for level in (110, 100))
    mid = ((lighter + darker) / 2 - 50) ** 2
    expected = (lighter - darker) / (1 + 0.015 * mid / (20 + mid) ** 0.5)
    assert measured(source, result, 2).delta_e == pytest.approx(expected, rel=1e-5)


def test_grain_is_no_drift_in_colour() -> None:
    source = np.full((640, 640, 3), 128, np.uint8)
    grain = np.random.default_rng(0).integers(-6, 7, source.shape).astype(np.int16)
    result = (source + grain).astype(np.uint8)
    assert measured(source, result, 1).delta_e < 0.5
    assert measured(source, source + np.uint8(3), 1).delta_e > 1


def test_colours_are_compared_by_cell() -> None:
    """A drift in an eighth of the picture counts an eighth, whether cells fit or not."""
    source = np.full((CELLS * 2 + 16, CELLS * 8, 3), 128, np.uint8)
    result = source.copy()
    whole = measured(source, source + np.uint8(10), 1).delta_e
    result[:, :CELLS] += np.uint8(10)
    assert measured(source, result, 1).delta_e == pytest.approx(whole / 8, rel=1e-4)


def test_ssim_looks_at_strips_of_what_is_very_large() -> None:
    height, width = 8 * STRIP_PX + 10, MAX_SSIM_PX // (2 * STRIP_PX)
    source = np.zeros((height, width), np.uint8)
    result = source.copy()
    result[4 * STRIP_PX :][:STRIP_PX] = noise(STRIP_PX, width)
    assert measured(source, result, 1).ssim == pytest.approx(1)  # of 8 strips, first and last
    result[-20:] = noise(20, width)
    assert measured(source, result, 1).ssim < 0.9


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, 4 * 90), max_size=8))
def test_it_does_not_matter_how_rows_come_in(cuts: list[int]) -> None:
    source = noise(90, 70, 3)
    result = noise(360, 280, 3, seed=1)
    seams = Seams(rows_px=(160,), columns_px=(140,))
    meter = QualityMeter(Picture(source), scale=4, seams=seams)
    edges = sorted([0, *cuts, 360])
    for start, end in pairwise(edges):
        meter.add(result[start:end])
    at_once = measured(source, result, 4, seams=seams)
    assert meter.report().model_dump() == pytest.approx(at_once.model_dump(), rel=1e-5)


def test_a_step_where_tiles_meet_is_reported() -> None:
    source = np.full((128, 128, 3), 90, np.uint8)
    result = blown_up(source, 2)
    result[128:] += result.dtype.type(1)
    seams = Seams(rows_px=(128,))
    found = measured(source, result, 2, seams=seams).seam_score
    assert found is not None
    assert found > 3
    assert measured(source, blown_up(source, 2), 2, seams=seams).seam_score == 1


def test_a_report_before_the_last_row_is_refused() -> None:
    meter = QualityMeter(Picture(noise(10, 10)), scale=2, seams=NONE)
    meter.add(np.zeros((19, 20), np.uint8))
    with pytest.raises(ValueError, match="9 of 10 rows"):
        meter.report()


def test_a_report_survives_json() -> None:
    report = measured(noise(20, 20), noise(40, 40, seed=1), 2)
    assert Quality.model_validate_json(report.model_dump_json()) == report
