"""Plain enlarging: every kind of picture to its size and format, marked, and no torch."""

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference.errors import CorruptImage, ImageError
from inference.params import UpscaleParams
from inference.plain import Enlarged, enlarge, sample


def params(**changes: Any) -> UpscaleParams:
    usual = {"model": "any", "slot": "any", "factor": 2, "output_format": "png"}
    return UpscaleParams.model_validate(usual | changes)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def enlarged(source: bytes, **changes: Any) -> tuple[Enlarged, Image.Image]:
    sink = io.BytesIO()
    told = enlarge(source, params(**changes), sink=sink)
    return told, Image.open(sink)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("format_", ["jpg", "png", "webp", "tiff", "avif"])
def test_every_kind_of_picture_becomes_every_kind_of_file(mode: str, format_: str) -> None:
    source = file_of(Image.new(mode, (40, 30)), "TIFF")
    told, image = enlarged(source, factor=4, output_format=format_)
    names = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF", "avif": "AVIF"}
    assert (told.width_px, told.height_px) == image.size == (160, 120)
    assert image.format == names[format_]


def test_a_large_enough_picture_is_marked_and_a_tiny_one_is_not() -> None:
    plain = Image.new("RGB", (64, 64), (128, 128, 128))
    _, marked = enlarged(file_of(plain))
    assert len(marked.getcolors(2**16) or ()) > 1
    _, tiny = enlarged(file_of(plain.crop((0, 0, 8, 8))))
    assert tiny.getcolors() == [(256, (128, 128, 128))]


def test_a_picture_is_enlarged_as_it_is_displayed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _, image = enlarged(file_of(Image.new("RGB", (10, 20)), "JPEG", exif=exif))
    assert image.size == (40, 20)


def test_sixteen_bits_become_eight_and_are_not_cut_off() -> None:
    deep = Image.fromarray(np.full((8, 8), 0x8000, np.uint16))
    _, image = enlarged(file_of(deep))
    assert image.getpixel((4, 4)) == 0x80


@pytest.mark.parametrize("source", [b"", b"<p>", sample()[:100], sample()[:-40]])
def test_what_cannot_be_read_is_told(source: bytes) -> None:
    with pytest.raises(ImageError):
        enlarge(source, params(), sink=io.BytesIO())


def test_a_damaged_picture_is_corrupt() -> None:
    broken = bytearray(sample())
    broken[60:80] = bytes(20)
    with pytest.raises(CorruptImage):
        enlarge(bytes(broken), params(), sink=io.BytesIO())


def test_it_needs_no_torch() -> None:
    program = (
        "import sys, io; sys.modules['torch'] = sys.modules['pyvips'] = None\n"
        "from inference.plain import enlarge, sample; from inference.params import UpscaleParams\n"
        "p = UpscaleParams(model='a', slot='a', factor=2, output_format='jpg')\n"
        "print(enlarge(sample(), p, sink=io.BytesIO()).width_px)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "128"
