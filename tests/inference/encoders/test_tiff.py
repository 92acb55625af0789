"""TIFF: exact in every depth, in small files and in those beyond 4 GB."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from inference.encoders import open_encoder, tiff
from inference.exif import descriptive
from inference.picture import Metadata
from tests.inference.drawings import opened
from tests.inference.encoders.encoded import SRGB, Bits, Channels, drawn, encoded, shape_of


def page(data: bytes) -> tifffile.TiffPage:
    """The only page as another library reads it."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == 1
        only = file.pages[0]
        assert isinstance(only, tifffile.TiffPage)
        return only


def read(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """The samples as another library reads them."""
    return np.asarray(tifffile.imread(io.BytesIO(data)))


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is written as one that may exceed 4 GB."""
    monkeypatch.setattr(tiff, "CLASSIC_BYTES", 0)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_value_comes_back(channels: Channels, bits: Bits) -> None:
    samples = drawn(31, 17, channels=channels, bits=bits)
    assert np.array_equal(read(encoded(samples, "tiff")).reshape(samples.shape), samples)


@pytest.mark.parametrize("channels", [1, 3])
def test_many_strips_are_one_picture(channels: Channels) -> None:
    samples = drawn(1500, 1700, channels=channels, bits=8)
    data = encoded(samples, "tiff", rows=123)
    assert np.array_equal(np.asarray(opened(data)).reshape(samples.shape), samples)
    assert np.array_equal(read(data).reshape(samples.shape), samples)


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("bits", [8, 16])
def test_large_files_have_long_offsets(bits: Bits) -> None:
    samples = drawn(700, 900, channels=4, bits=bits)
    data = encoded(samples, "tiff")
    assert data[:4] == b"II+\0"
    assert np.array_equal(read(data), samples)


@pytest.mark.usefixtures("big")
def test_large_files_are_described_too() -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8769)[0x829A] = 0.25
    metadata = Metadata(icc=SRGB, exif=exif.tobytes()[6:], density_ppi=(300.0, 72.5))
    image = opened(encoded(drawn(9, 9, channels=3, bits=8), "tiff", metadata=metadata))
    assert image.info["icc_profile"] == SRGB
    assert image.info["dpi"] == (300, 72.5)
    assert image.getexif()[0x010F] == "A camera"
    assert image.getexif().get_ifd(0x8769)[0x829A] == 0.25


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_said_to_be_unassociated(channels: Channels) -> None:
    only = page(encoded(drawn(9, 9, channels=channels, bits=8), "tiff"))
    assert only.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_either_byte_order_is_read(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"Cam\0")
    entries += struct.pack(f"{order}HHII", 0x8769, 4, 1, 38)
    below = struct.pack(f"{order}HHHIII", 1, 0x829A, 5, 1, 56, 0) + struct.pack(f"{order}II", 1, 60)
    exif = mark + struct.pack(f"{order}IH", 8, 2) + entries + bytes(4) + below
    data = encoded(drawn(9, 9, channels=3, bits=8), "tiff", metadata=Metadata(exif=exif))
    assert opened(data).getexif()[0x010F] == "Cam"
    assert opened(data).getexif().get_ifd(0x8769)[0x829A] == pytest.approx(1 / 60)


def test_exif_does_not_say_how_samples_are_stored() -> None:
    exif = Image.Exif()
    exif[0x0103], exif[0x0100], exif[0x0112], exif[0x0131] = 6, 5, 6, "A program"
    assert descriptive(exif.tobytes()[6:]).keys() == {0x0131}


@pytest.mark.parametrize(
    "exif", [b"", b"junk", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff",
             b"II*\0\x08\0\0\0\1\0\x0f\1\2\0\xff\0\0\0\xff\0\0\0"],
)  # fmt: skip
def test_exif_that_cannot_be_read_is_left_out(exif: bytes) -> None:
    assert descriptive(exif) == {}


@pytest.mark.parametrize("ppi", [0.0, 1e12, 1e-9])
def test_a_density_that_has_no_room_is_left_out(ppi: float) -> None:
    metadata = Metadata(density_ppi=(ppi, 72.0))
    data = encoded(drawn(4, 4, channels=1, bits=8), "tiff", metadata=metadata)
    assert 0x011A not in page(data).tags


def test_the_sink_is_left_at_the_file_s_end() -> None:
    samples = drawn(9, 9, channels=3, bits=8)
    file = io.BytesIO()
    with open_encoder("tiff", file, shape=shape_of(samples), metadata=Metadata()) as encoder:
        encoder.write(samples)
    assert file.tell() == len(file.getvalue())
