"""WebP and AVIF: alpha as it was, and grey as RGB by its profile."""

import numpy as np
import pytest

from inference.params import OutputFormat
from inference.picture import Metadata
from tests.inference.drawings import grey_icc, noise, opened
from tests.inference.encoders.encoded import drawn, encoded


def test_webp_keeps_every_value_of_alpha() -> None:
    samples = drawn(16, 16, channels=4, bits=8).copy()
    samples[..., 3] = noise(16, 16)
    assert np.array_equal(np.asarray(opened(encoded(samples, "webp")))[..., 3], samples[..., 3])


@pytest.mark.parametrize("format_", ["webp", "avif"])
def test_a_grey_profile_is_applied(format_: OutputFormat) -> None:
    samples = np.full((8, 8, 2), 60, np.uint8)
    image = opened(encoded(samples, format_, metadata=Metadata(icc=grey_icc(1.0))))
    assert "icc_profile" not in image.info
    red, green, blue, alpha = np.asarray(image.convert("RGBA"), int)[4, 4]
    assert red == pytest.approx(green, abs=2) == pytest.approx(blue, abs=2)
    assert red > 100  # a gamma of 1 made dark values light, and the file holds them as sRGB
    assert alpha == pytest.approx(60, abs=2)
