"""What every encoder promises, whatever its format: rows in, a file out, errors said."""

import io

import numpy as np
import pytest
from PIL import Image

from inference.encoders import Encoder, Shape, bits_for, open_encoder
from inference.errors import OutputTooLarge
from inference.params import OutputFormat
from inference.picture import Metadata, Samples
from tests.inference.drawings import opened
from tests.inference.encoders.encoded import (
    FORMATS,
    SRGB,
    Bits,
    Channels,
    drawn,
    encoded,
    shape_of,
)

LEAST_PSNR_DB = {"jpg": 38.0, "avif": 36.0, "webp": 27.0}
"""WebP halves the chroma."""


class FullDisk(io.BytesIO):
    """A sink with room for so many bytes."""

    def __init__(self, room_bytes: int) -> None:
        super().__init__()
        self._room_bytes = room_bytes

    def write(self, data: object) -> int:
        size = len(memoryview(data))  # type: ignore[arg-type]
        if self.tell() + size > self._room_bytes:
            raise OSError("no space left")
        return super().write(data)  # type: ignore[arg-type]


def psnr_db(image: Image.Image, samples: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    shown = np.asarray(image.convert(mode), float).reshape(samples.shape)
    return float(10 * np.log10(255**2 / (np.square(shown - samples).mean() + 1e-9)))


def write_half(encoder: Encoder, samples: Samples) -> None:
    """What comes of a worker that is stopped in the middle."""
    encoder.write(samples[: len(samples) // 2])
    raise OSError("cancelled")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("format_", ["jpg", "webp", "avif"])
def test_lossy_formats_come_near(format_: OutputFormat, channels: Channels, bits: Bits) -> None:
    samples = drawn(67, 53, channels=channels, bits=bits)
    eight = ((samples.astype(int) + 128) // 257 if bits == 16 else samples).astype(np.uint8)
    image = opened(encoded(samples, format_))
    assert image.size == (67, 53)
    if format_ == "jpg" and channels in (2, 4):
        alpha = eight[..., -1:] / 255
        eight = (eight[..., :-1] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    assert psnr_db(image, eight) > LEAST_PSNR_DB[format_]


@pytest.mark.parametrize("format_", FORMATS)
def test_the_file_does_not_depend_on_how_rows_arrive(format_: OutputFormat) -> None:
    samples = drawn(40, 30, channels=3, bits=8)
    at_once = encoded(samples, format_)
    assert all(encoded(samples, format_, rows=rows) == at_once for rows in (1, 7, 29))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("format_", FORMATS)
def test_a_picture_may_be_one_pixel(format_: OutputFormat, channels: Channels) -> None:
    samples = np.full((1, 1, channels), 200, np.uint8)
    image = opened(encoded(samples, format_))
    assert image.size == (1, 1)


@pytest.mark.parametrize("format_", FORMATS)
def test_grey_rows_may_come_flat(format_: OutputFormat) -> None:
    samples = drawn(9, 8, channels=1, bits=8)
    file = io.BytesIO()
    with open_encoder(format_, file, shape=shape_of(samples), metadata=Metadata()) as encoder:
        encoder.write(samples[..., 0])
    assert file.getvalue() == encoded(samples, format_)


@pytest.mark.parametrize("format_", FORMATS)
def test_rows_may_be_reused_once_written(format_: OutputFormat) -> None:
    samples = drawn(600, 700, channels=3, bits=8)
    file, rows = io.BytesIO(), np.empty((70, 600, 3), np.uint8)
    with open_encoder(format_, file, shape=shape_of(samples), metadata=Metadata()) as encoder:
        for top in range(0, 700, 70):
            rows[:] = samples[top : top + 70]
            encoder.write(rows)
            rows[:] = 0
    assert file.getvalue() == encoded(samples, format_)


@pytest.mark.parametrize("format_", FORMATS)
def test_missing_rows_are_an_error(format_: OutputFormat) -> None:
    samples = drawn(8, 8, channels=3, bits=8)
    encoder = open_encoder(format_, io.BytesIO(), shape=shape_of(samples), metadata=Metadata())
    encoder.write(samples[:5])
    with pytest.raises(ValueError, match="the last 3 rows are missing"):
        encoder.close()
    with pytest.raises(ValueError, match="closed or abandoned"):
        encoder.write(samples[5:])


@pytest.mark.parametrize("format_", FORMATS)
def test_more_rows_than_said_are_an_error(format_: OutputFormat) -> None:
    samples = drawn(8, 8, channels=3, bits=8)
    encoder = open_encoder(format_, io.BytesIO(), shape=shape_of(samples), metadata=Metadata())
    encoder.write(samples)
    with pytest.raises(ValueError, match="1 rows where 0 are left"):
        encoder.write(samples[:1])


@pytest.mark.parametrize(
    "rows", [np.zeros((1, 8, 4), np.uint8), np.zeros((1, 9, 3), np.uint8),
             np.zeros((1, 8, 3), np.uint16), np.zeros((1, 24), np.uint8)],
)  # fmt: skip
def test_rows_of_another_shape_or_type_are_an_error(rows: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:  # fmt: skip # noqa: E501
    encoder = open_encoder("png", io.BytesIO(), shape=Shape(8, 8, 3, 8), metadata=Metadata())
    with pytest.raises(ValueError, match="for a picture of"):
        encoder.write(rows)


def test_a_picture_has_at_least_a_pixel() -> None:
    with pytest.raises(ValueError, match="0 x 8 pixels"):
        open_encoder("png", io.BytesIO(), shape=Shape(0, 8, 3, 8), metadata=Metadata())


@pytest.mark.parametrize("format_", FORMATS)
def test_what_the_sink_raises_comes_out_and_ends_the_file(format_: OutputFormat) -> None:
    samples = drawn(1000, 900, channels=3, bits=8)
    room_bytes = len(encoded(samples, format_)) - 1
    encoder = open_encoder(
        format_, FullDisk(room_bytes), shape=shape_of(samples), metadata=Metadata()
    )
    with pytest.raises(OSError, match="no space left"), encoder:
        encoder.write(samples)
    with pytest.raises(ValueError, match="closed or abandoned"):
        encoder.write(samples[:1])


@pytest.mark.parametrize("format_", FORMATS)
def test_an_error_abandons_the_file(format_: OutputFormat) -> None:
    samples = drawn(16, 16, channels=3, bits=8)
    file = io.BytesIO()
    encoder = open_encoder(format_, file, shape=shape_of(samples), metadata=Metadata())
    with pytest.raises(OSError, match="cancelled"), encoder:
        write_half(encoder, samples)
    assert len(file.getvalue()) < len(encoded(samples, format_))
    with pytest.raises(ValueError, match="closed or abandoned"):
        encoder.write(samples)


@pytest.mark.parametrize("format_", FORMATS)
def test_closing_twice_is_closing_once(format_: OutputFormat) -> None:
    samples = drawn(8, 8, channels=3, bits=8)
    file = io.BytesIO()
    encoder = open_encoder(format_, file, shape=shape_of(samples), metadata=Metadata())
    encoder.write(samples)
    encoder.close()
    encoder.close()
    assert file.getvalue() == encoded(samples, format_)


@pytest.mark.parametrize(
    ("format_", "side_px"), [("jpg", 65_501), ("webp", 16_384), ("avif", 16_385), ("png", 2**31)]
)
def test_what_is_too_long_for_the_format_is_refused(format_: OutputFormat, side_px: int) -> None:
    file = io.BytesIO()
    with pytest.raises(OutputTooLarge):
        open_encoder(format_, file, shape=Shape(side_px, 1, 3, 8), metadata=Metadata())
    assert file.getvalue() == b""


def test_only_png_and_tiff_keep_sixteen_bits() -> None:
    assert {format_ for format_ in FORMATS if bits_for(format_, 16) == 16} == {"png", "tiff"}
    assert {bits_for(format_, 8) for format_ in FORMATS} == {8}


@pytest.mark.parametrize("format_", FORMATS)
def test_metadata_goes_in(format_: OutputFormat) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8769)[0x829A] = 0.25
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 24.0)
    metadata = Metadata(
        icc=SRGB, exif=exif.tobytes()[6:], xmp=b"<x:xmpmeta/>", density_ppi=(300.0, 150.0)
    )
    samples = drawn(16, 16, channels=3, bits=8)
    image = opened(encoded(samples, format_, metadata=metadata))
    assert image.info["icc_profile"] == SRGB
    assert image.getexif()[0x010F] == "A camera"
    assert image.getexif().get_ifd(0x8769)[0x829A] == 0.25
    assert image.getexif().get_ifd(0x8825)[2] == (48.0, 51.0, 24.0)
    assert image.info["xmp"] == b"<x:xmpmeta/>"
    if format_ in ("jpg", "png", "tiff"):
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("format_", FORMATS)
def test_no_metadata_is_made_up(format_: OutputFormat) -> None:
    image = opened(encoded(drawn(16, 16, channels=3, bits=8), format_))
    assert not {"icc_profile", "exif", "xmp"} & image.info.keys()
    assert image.info.get("dpi") in (None, (1, 1))  # TIFF's own default
