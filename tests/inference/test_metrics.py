"""The metrics against published values, and against slow versions of themselves."""

import math

import numpy as np
import pytest

from inference.metrics import MAX_PSNR_DB, ciede2000, lab, luma, psnr_db, ssim

PAIRS = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, 2.8361, -74.0200), (50, 0, -82.7485), 3.4412),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0009), 7.1792),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0011), 7.2195),
    ((50, -0.0010, 2.4900), (50, 0.0009, -2.4900), 4.8045),
    ((50, -0.0010, 2.4900), (50, 0.0011, -2.4900), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((61.2901, 3.7196, -5.3901), (61.4292, 2.2480, -4.9620), 1.8731),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((36.4612, 47.8580, 18.3852), (36.2715, 50.5065, 21.2231), 1.4146),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""Of the supplementary test data of Sharma, Wu and Dalal 2005 (table 1): 4 decimals."""


@pytest.mark.parametrize(("one", "other", "difference"), PAIRS)
def test_ciede2000_gives_the_published_differences(
    one: tuple[float, ...], other: tuple[float, ...], difference: float
) -> None:
    first, second = np.array(one, float), np.array(other, float)
    assert float(ciede2000(first, second)) == pytest.approx(difference, abs=5e-5)
    assert float(ciede2000(second, first)) == pytest.approx(difference, abs=5e-5)


def test_greys_have_no_colour_and_white_is_100() -> None:
    greys = np.repeat(np.array([[0.0], [5.0], [128.0], [255.0]]), 3, axis=1)
    found = lab(greys)
    assert np.abs(found[:, 1:]).max() < 1e-9
    assert found[[0, 3], 0] == pytest.approx([0, 100], abs=1e-9)


def test_the_primaries_have_their_known_lab_values() -> None:
    found = lab(np.diag([255.0, 255.0, 255.0]))
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    assert found == pytest.approx(np.array(expected), abs=0.01)


def test_luma_is_in_studio_range() -> None:
    white = luma(np.full((1, 1, 3), 255.0))
    black = luma(np.zeros((1, 1, 3)))
    assert [white.item(), black.item()] == pytest.approx([235, 16])


def test_grey_is_its_own_luma() -> None:
    grey = np.arange(6.0).reshape(2, 3)
    assert luma(grey) is grey


def test_a_mean_error_of_one_level_is_48_db() -> None:
    assert psnr_db(1.0) == pytest.approx(48.1308, abs=1e-4)


def test_equal_pictures_have_the_largest_psnr() -> None:
    assert psnr_db(0.0) == MAX_PSNR_DB == psnr_db(1e-30)


def slow_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Straight from the paper, one window at a time."""
    size = [min(11, side) for side in one.shape]
    weights = np.array(
        [
            [
                math.exp(-((y - (size[0] - 1) / 2) ** 2 + (x - (size[1] - 1) / 2) ** 2) / 4.5)
                for x in range(size[1])
            ]
            for y in range(size[0])
        ]
    )
    weights /= weights.sum()
    found = []
    for top in range(one.shape[0] - size[0] + 1):
        for left in range(one.shape[1] - size[1] + 1):
            x = one[top : top + size[0], left : left + size[1]]
            y = other[top : top + size[0], left : left + size[1]]
            mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
            var_x = (weights * (x - mean_x) ** 2).sum()
            var_y = (weights * (y - mean_y) ** 2).sum()
            cov = (weights * (x - mean_x) * (y - mean_y)).sum()
            found.append(
                (2 * mean_x * mean_y + 6.5025)
                * (2 * cov + 58.5225)
                / ((mean_x**2 + mean_y**2 + 6.5025) * (var_x + var_y + 58.5225))
            )
    return float(np.mean(found))


@pytest.mark.parametrize("shape", [(11, 11), (17, 23), (5, 30), (12, 3), (1, 1)])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_ssim_equals_the_slow_one(shape: tuple[int, int], precision: type) -> None:
    dice = np.random.default_rng(3)
    one = dice.uniform(0, 255, shape)
    other = np.clip(one + dice.normal(0, 20, shape), 0, 255)
    fast = ssim(one.astype(precision), other.astype(precision))
    assert fast.dtype == precision
    assert float(fast.mean()) == pytest.approx(slow_ssim(one, other), abs=2e-5)


def test_ssim_of_equal_pictures_is_one() -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (20, 20)).astype(np.float32)
    assert float(ssim(picture, picture).mean()) == pytest.approx(1, abs=1e-6)


def test_the_window_is_placed_only_where_it_fits() -> None:
    assert ssim(np.zeros((15, 31)), np.zeros((15, 31))).shape == (5, 21)
