"""PNG: valid to the letter, exact, and joined from strips without a trace."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference.encoders import png
from inference.encoders.png_filters import filtered
from inference.picture import Metadata
from tests.inference.drawings import grey_icc, noise, opened
from tests.inference.encoders.encoded import Bits, Channels, drawn, encoded
from tests.inference.encoders.strict_png import read_png


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_value_comes_back(channels: Channels, bits: Bits) -> None:
    samples = drawn(31, 17, channels=channels, bits=bits)
    assert np.array_equal(read_png(encoded(samples, "png")).samples, samples)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_many_strips_are_one_picture(channels: Channels) -> None:
    samples = drawn(1500, 1700, channels=channels, bits=8)
    data = encoded(samples, "png", rows=123)
    assert data.count(b"IDAT") > 3
    image = opened(data)
    assert np.array_equal(np.asarray(image).reshape(samples.shape), samples)


def test_noise_comes_back_too() -> None:
    samples = noise(700, 900, 3)
    data = encoded(samples, "png", rows=1)
    assert np.array_equal(np.asarray(opened(data)), samples)
    assert len(data) < samples.nbytes * 1.01


def test_pillow_verifies_every_chunk() -> None:
    data = encoded(drawn(64, 64, channels=4, bits=16), "png")
    with Image.open(io.BytesIO(data)) as image:
        image.verify()


def test_without_a_profile_the_samples_are_srgb() -> None:
    samples = drawn(4, 4, channels=1, bits=8)
    plain = [kind for kind, _ in read_png(encoded(samples, "png")).chunks]
    assert plain == [b"IHDR", b"sRGB", b"IDAT", b"IDAT", b"IDAT", b"IEND"]
    profiled = encoded(samples, "png", metadata=Metadata(icc=grey_icc(1.0)))
    assert b"sRGB" not in dict(read_png(profiled).chunks)


def test_what_describes_precedes_the_pixels() -> None:
    metadata = Metadata(
        icc=grey_icc(1.0), exif=b"MM\0*\0\0\0\x08\0\0", xmp=b"<x/>", density_ppi=(254.0, 127.0)
    )
    chunks = read_png(encoded(drawn(4, 4, channels=1, bits=8), "png", metadata=metadata)).chunks
    kinds = [kind for kind, _ in chunks]
    assert kinds[:5] == [b"IHDR", b"iCCP", b"pHYs", b"eXIf", b"iTXt"]
    contents = dict(chunks)
    assert contents[b"pHYs"] == (10_000).to_bytes(4, "big") + (5_000).to_bytes(4, "big") + b"\1"
    assert contents[b"eXIf"] == metadata.exif
    assert zlib.decompress(contents[b"iCCP"].partition(b"\0\0")[2]) == metadata.icc


@pytest.mark.parametrize("ppi", [0.0, 1e12])
def test_a_density_that_has_no_room_is_left_out(ppi: float) -> None:
    data = encoded(
        drawn(4, 4, channels=1, bits=8), "png", metadata=Metadata(density_ppi=(ppi, 72.0))
    )
    assert b"pHYs" not in dict(read_png(data).chunks)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_join(first: bytes, second: bytes) -> None:
    joined = png._adler_joined(zlib.adler32(first), zlib.adler32(second), second_bytes=len(second))
    assert joined == zlib.adler32(first + second)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (np.add.outer(np.zeros(4), np.arange(40) * 3), 2),  # the same from row to row
        (np.add.outer(np.arange(4) * 50, np.arange(40) // 8), 1),  # the same from pixel to pixel
    ],
)
def test_a_row_takes_the_filter_that_leaves_least(
    rows: np.ndarray[tuple[int, int], np.dtype[np.float64]], kind: int
) -> None:
    picture = rows.astype(np.uint8)
    result = filtered(picture[1:], above=picture[0], pixel_bytes=1)
    assert set(result[:, 0]) == {kind}
