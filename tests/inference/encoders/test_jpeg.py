"""JPEG: one baseline scan out of many bands, as if it had been compressed in one go."""

import io
import re
import struct

import numpy as np
import pytest
from PIL import Image

from inference.encoders import Shape, open_encoder
from inference.errors import OutputTooLarge
from inference.picture import Metadata
from tests.inference.drawings import opened
from tests.inference.encoders.encoded import Channels, drawn, encoded, shape_of


def by_pillow(image: Image.Image) -> Image.Image:
    """The same picture through Pillow's own encoder, with our quality."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling="4:4:4")
    return opened(file.getvalue())


def restarts(data: bytes) -> list[int]:
    """The numbers of the restart markers, in order."""
    return [marker[1] - 0xD0 for marker in re.findall(rb"\xff[\xd0-\xd7]", scan(data))]


def scan(data: bytes) -> bytes:
    return data[data.index(b"\xff\xda") + 2 :]


def interval(data: bytes) -> int:
    """MCUs from restart to restart."""
    at = data.index(b"\xff\xdd")
    return int(struct.unpack_from(">H", data, at + 4)[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_many_bands_are_what_one_would_be(channels: Channels) -> None:
    samples = drawn(1003, 2777, channels=channels, bits=8)
    data = encoded(samples, "jpg", rows=101)
    numbers = restarts(data)
    assert numbers == [number % 8 for number in range(len(numbers))]
    assert len(numbers) > 1
    whole = by_pillow(Image.fromarray(samples[..., 0] if channels == 1 else samples))
    assert np.array_equal(np.asarray(opened(data)), np.asarray(whole))


def test_restart_markers_count_past_seven() -> None:
    samples = np.zeros((200, 65_500, 1), np.uint8)
    samples[40:] = 255
    data = encoded(samples, "jpg")
    assert restarts(data)[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    shown = np.asarray(opened(data))
    assert shown.shape == (200, 65_500)
    assert np.array_equal(shown, samples[..., 0])


def test_the_longest_side_fits_into_the_interval() -> None:
    data = encoded(np.full((9, 65_500, 3), 120, np.uint8), "jpg")
    assert interval(data) == 8_188
    assert opened(data).size == (65_500, 9)
    assert opened(encoded(np.full((65_500, 1, 3), 120, np.uint8), "jpg")).size == (1, 65_500)


def test_there_may_be_more_units_than_an_interval_counts() -> None:
    samples = np.zeros((16_400, 264, 1), np.uint8)
    samples[16_390:] = 255
    data = encoded(samples, "jpg")
    assert 33 * 2050 > 65_535 >= interval(data)
    shown = np.asarray(opened(data))
    assert shown.shape == (16_400, 264)
    assert shown[-1].min() == 255
    assert shown[:16_000].max() == 0


def test_a_scan_of_one_band_has_no_restarts() -> None:
    assert restarts(encoded(drawn(40, 21, channels=3, bits=8), "jpg")) == []


def test_transparency_shows_on_white() -> None:
    samples = np.zeros((16, 16, 4), np.uint8)
    samples[..., 0], samples[:, 8:, 3] = 255, 255
    shown = np.asarray(opened(encoded(samples, "jpg")), int)
    assert np.abs(shown[:, :8] - 255).max() <= 2
    assert np.abs(shown[:, 8:] - (255, 0, 0)).max() <= 3


def test_grey_stays_grey() -> None:
    assert opened(encoded(drawn(8, 8, channels=2, bits=16), "jpg")).mode == "L"


def test_a_long_profile_goes_into_several_segments() -> None:
    icc = np.random.default_rng(0).bytes(150_000)
    data = encoded(drawn(8, 8, channels=3, bits=8), "jpg", metadata=Metadata(icc=icc))
    assert data.count(b"ICC_PROFILE\0") == 3
    assert opened(data).info["icc_profile"] == icc


def test_a_profile_beyond_all_segments_is_refused() -> None:
    with pytest.raises(OutputTooLarge, match="profile"):
        open_encoder(
            "jpg", io.BytesIO(), shape=Shape(8, 8, 3, 8), metadata=Metadata(icc=bytes(17_000_000))
        )


def test_exif_and_xmp_beyond_a_segment_are_left_out() -> None:
    metadata = Metadata(exif=bytes(65_528), xmp=bytes(65_505))
    data = encoded(drawn(8, 8, channels=3, bits=8), "jpg", metadata=metadata)
    assert b"\xff\xe1" not in data
    fitting = Metadata(exif=bytes(65_527), xmp=bytes(65_504))
    data = encoded(drawn(8, 8, channels=3, bits=8), "jpg", metadata=fitting)
    assert data.count(b"\xff\xe1\xff\xff") == 2


@pytest.mark.parametrize("ppi", [0.2, 70_000.0])
def test_a_density_that_has_no_room_is_left_out(ppi: float) -> None:
    metadata = Metadata(density_ppi=(ppi, 72.0))
    image = opened(encoded(drawn(8, 8, channels=3, bits=8), "jpg", metadata=metadata))
    assert "dpi" not in image.info


def test_the_frame_is_baseline_with_full_chroma() -> None:
    samples = drawn(24, 16, channels=3, bits=8)
    data = encoded(samples, "jpg")
    at = data.index(b"\xff\xc0")
    shape = shape_of(samples)
    assert struct.unpack_from(">HBHHB", data, at + 2) == (17, 8, shape.height_px, shape.width_px, 3)
    assert data[at + 10 : at + 19 : 3] == bytes((1, 2, 3))
    assert data[at + 11 : at + 19 : 3] == bytes((0x11,) * 3)
