"""The score of seams: it sees a planted step, and takes neither texture nor edges for one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from inference.picture import Samples
from inference.seams import Jumps, Seams, seam_score
from tests.inference.drawings import file, opened

SCALE = 4
SEAMS = Seams(rows_px=(256,), columns_px=(200, 392))


def score(source: Samples, result: Samples, seams: Seams = SEAMS) -> float | None:
    """Of a result that is SCALE times the source."""
    coarse = Seams(*(tuple(line // SCALE for line in lines) for lines in seams))
    found = [Jumps(one.shape[:2], each, spacing_px=at) for one, each, at in (
        (result, seams, SCALE), (source, coarse, 1),
    )]  # fmt: skip
    found[0].add(result)
    found[1].add(source)
    return seam_score(found[0], found[1])


def reduced(result: Samples) -> Samples:
    """The block means, rounded."""
    height, width = (side // SCALE for side in result.shape[:2])
    blocks = result.reshape(height, SCALE, width, SCALE, *result.shape[2:])
    return as_type(blocks.mean(axis=(1, 3)), result.dtype)


def as_type(
    picture: NDArray[np.float64], type_: np.dtype[np.uint8] | np.dtype[np.uint16]
) -> Samples:
    """Rounded."""
    rounded = picture.round()
    return rounded.astype(np.uint8) if type_ == np.uint8 else rounded.astype(np.uint16)


def gradient(*, most: int = 255) -> Samples:
    """A slow slant of (512, 512)."""
    y, x = np.mgrid[0:512, 0:512]
    slant = (0.02 * y + 0.05 * x + 30) * (most / 255)
    return as_type(slant, np.dtype(np.uint8) if most == 255 else np.dtype(np.uint16))


def texture(seed: int) -> Samples:
    """Noise at every scale, (512, 512, 3), as smooth as what networks make."""
    dice = np.random.default_rng(seed)
    total = np.zeros((512, 512, 3))
    for octave in range(1, 7):
        coarse = dice.normal(0, 2.0**octave, (512 // 2**octave + 2, 512 // 2**octave + 2, 3))
        at = np.arange(512) / 2**octave
        low, share = at.astype(int), (at % 1)[:, None, None]
        rows = coarse[low] * (1 - share) + coarse[low + 1] * share
        share = share[:, 0]
        total += rows[:, low] * (1 - share) + rows[:, low + 1] * share
    return np.clip(128 + total, 0, 255).round().astype(np.uint8)


TEXTURE = texture(1)


def through_jpeg(picture: Samples) -> Image.Image:
    return opened(file(Image.fromarray(picture), "JPEG", quality=60))


def stepped(result: Samples, levels: int = 1) -> Samples:
    """The tiles on both sides of the seams differ by that much."""
    made = result.copy()
    made[SEAMS.rows_px[0] :] += made.dtype.type(levels)
    for column in SEAMS.columns_px:
        made[:, column:] += made.dtype.type(levels)
    return made


def test_a_step_of_one_level_on_a_gradient_is_seen() -> None:
    whole = gradient()
    assert score(reduced(whole), whole) == 1
    found = score(reduced(whole), stepped(whole))
    assert found is not None
    assert found > 3


def test_sixteen_bits_count_in_levels_of_eight() -> None:
    whole = gradient(most=65_535)
    assert score(reduced(whole), whole) == 1
    assert score(reduced(whole), stepped(whole, 3)) == pytest.approx(1, abs=0.05)
    found = score(reduced(whole), stepped(whole, 257))
    assert found is not None
    assert found > 3


@pytest.mark.parametrize("seed", range(8))
def test_texture_is_no_seam(seed: int) -> None:
    whole = texture(seed)
    found = score(reduced(whole), whole)
    assert found is not None
    assert 1 <= found < 1.05


def test_a_step_in_texture_is_seen() -> None:
    whole = texture(0)
    found = score(reduced(whole), stepped(np.minimum(whole, 220), 12))
    assert found is not None
    assert found > 1.2


def test_an_edge_of_the_sources_along_a_seam_is_no_seam() -> None:
    whole = gradient()
    whole[SEAMS.rows_px[0] :] += 100
    assert score(reduced(whole), whole) == 1


def test_noise_that_stops_at_a_seam_is_no_step() -> None:
    whole = gradient()
    whole[256:] += np.random.default_rng(0).integers(0, 4, (256, 512), dtype=np.uint8)
    found = score(reduced(whole), whole)
    assert found is not None
    assert found < 1.05


def test_without_seams_there_is_no_score() -> None:
    whole = gradient()
    assert score(reduced(whole), whole, Seams()) is None


def test_lines_on_the_pictures_edge_are_no_seams() -> None:
    whole = gradient()
    assert score(reduced(whole), whole, Seams(rows_px=(0, 512))) is None


def test_too_short_a_seam_has_no_score() -> None:
    whole = gradient()[:, : 7 * 16 * SCALE]
    assert score(reduced(whole), whole, Seams(rows_px=(256,))) is None


def test_a_seam_near_the_pictures_edge_is_compared_with_what_there_is() -> None:
    whole = gradient()
    seams = Seams(rows_px=(2 * SCALE,))
    clean = score(reduced(whole), whole, seams)
    assert clean is not None
    assert clean < 1.05
    made = whole.copy()
    made[2 * SCALE :] += 1
    found = score(reduced(whole), made, seams)
    assert found is not None
    assert found > 2


def test_a_seam_among_seams_has_no_score() -> None:
    whole = gradient()
    assert score(reduced(whole), whole, Seams(rows_px=tuple(range(32, 512, 32)))) is None


def test_blocks_of_jpeg_are_no_seams() -> None:
    dice = np.random.default_rng(0)
    blocks = np.kron(dice.integers(0, 8, (16, 16), dtype=np.uint8), np.ones((8, 8), np.uint8))
    whole = gradient() + np.kron(blocks, np.ones((SCALE, SCALE), np.uint8))
    assert score(reduced(whole), whole, Seams((256,), (128, 384))) == 1


def test_a_step_shows_through_blocks_of_jpeg() -> None:
    source = texture(2)[: 512 // SCALE * 2, : 512 // SCALE * 2]
    whole = np.asarray(through_jpeg(source).resize((512 * 2, 512 * 2), Image.Resampling.BICUBIC))
    seams = Seams((512,), (512,))
    small = np.asarray(through_jpeg(source))
    assert score(small, whole, seams) == 1
    made = whole.astype(int)
    made[512:] += 4
    made[:, 512:] += 4
    found = score(small, np.clip(made, 0, 255).astype(np.uint8), seams)
    assert found is not None
    assert found > 1.2


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 512), max_size=6))
def test_it_does_not_matter_how_rows_come_in(cuts: list[int]) -> None:
    whole = stepped(TEXTURE)
    at_once = Jumps(whole.shape[:2], SEAMS, spacing_px=SCALE)
    at_once.add(whole)
    by_bands = Jumps(whole.shape[:2], SEAMS, spacing_px=SCALE)
    edges = [0, *sorted(cuts), 512]
    for start, end in pairwise(edges):
        by_bands.add(whole[start:end])
    assert by_bands.log_ratios() == pytest.approx(at_once.log_ratios(), abs=1e-6)
