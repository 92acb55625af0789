"""Noise levels: those of the published behaviour, to three digits."""

import itertools

import pytest

from inference.creative.schedule import noise_levels, training_step


@pytest.mark.parametrize(
    ("creativity", "first", "calls"),
    [
        (0.10, 0.08, 2),
        (0.20, 0.20, 4),
        (0.30, 0.45, 6),
        (0.35, 0.645, 7),
        (0.50, 1.75, 10),
        (0.70, 4.19, 13),
        (0.90, 11.6, 17),
    ],
)
def test_eighteen_steps_start_where_the_original_starts(
    creativity: float, first: float, calls: int
) -> None:
    levels = noise_levels(18, creativity)
    digits = 2 if first < 0.5 else 3
    assert float(f"{levels[0]:.{digits}g}") == pytest.approx(first, rel=0.03)
    assert len(levels) - 1 == calls


@pytest.mark.parametrize("creativity", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 18, 100])
def test_levels_fall_to_nothing(steps: int, creativity: float) -> None:
    levels = noise_levels(steps, creativity)
    assert all(before > after for before, after in itertools.pairwise(levels))
    assert levels[-1] == 0
    assert 1 <= len(levels) - 1 <= steps


def test_full_creativity_starts_from_the_noisiest_step() -> None:
    levels = noise_levels(18, 1.0)
    assert len(levels) - 1 == 18
    assert levels[0] == pytest.approx(14.6146, abs=1e-4)
    assert training_step(levels[0]) == pytest.approx(999)


def test_the_least_noise_is_the_first_training_step() -> None:
    assert training_step(0.0292) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("steps", "creativity"), [(0, 0.5), (18, -0.1), (18, 1.1)])
def test_what_is_out_of_range_is_refused(steps: int, creativity: float) -> None:
    with pytest.raises(ValueError, match="no levels"):
        noise_levels(steps, creativity)
