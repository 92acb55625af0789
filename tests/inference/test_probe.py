"""What a file says of itself, before any pixel is decoded."""

import numpy as np
import pytest
from PIL import Image

from inference.decoding import decode
from inference.errors import (
    AnimatedImage,
    CorruptImage,
    ImageError,
    NotAnImage,
    OutputTooLarge,
    TooManyPixels,
    TruncatedImage,
)
from inference.images import ImageInfo, check_fits, output_size, probe
from tests.inference.drawings import MAX_PIXELS, chunk, file, png, scene, turned

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tiff"}
SOURCES = {format_: file(scene(40, 24), format_) for format_ in FORMATS}


@pytest.mark.parametrize(("pillow", "ours"), FORMATS.items())
def test_tells_format_and_size(pillow: str, ours: str) -> None:
    info = probe(SOURCES[pillow], max_pixels=MAX_PIXELS)
    assert (info.format, info.width_px, info.height_px) == (ours, 40, 24)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_as_displayed_and_agrees_with_decode(format_: str, orientation: int) -> None:
    data = file(scene(40, 24), format_, exif=turned(orientation))
    info = probe(data, max_pixels=MAX_PIXELS)
    assert (info.width_px, info.height_px) == ((24, 40) if orientation >= 5 else (40, 24))
    picture = decode(data, max_pixels=MAX_PIXELS, policy="strip_gps")
    assert picture.colour.shape[:2] == (info.height_px, info.width_px)


def test_orientation_is_found_behind_a_pngs_pixels() -> None:
    late = chunk(b"eXIf", turned(6).tobytes().removeprefix(b"Exif\0\0"))
    data = png(3, 1, depth=8, colour_type=0, rows=b"\0abc", late=late)
    assert probe(data, max_pixels=MAX_PIXELS) == ImageInfo("png", width_px=1, height_px=3)
    assert decode(data, max_pixels=MAX_PIXELS, policy="strip_gps").colour.tolist() == [
        [97],
        [98],
        [99],
    ]


def test_unreadable_exif_leaves_the_picture_as_stored() -> None:
    data = file(scene(40, 24), "JPEG", exif=b"Exif\0\0nonsense")
    assert probe(data, max_pixels=MAX_PIXELS).width_px == 40


def test_pixels_are_not_decoded() -> None:
    broken = png(40, 24, depth=8, colour_type=2, rows=b"far too few")
    assert probe(broken, max_pixels=MAX_PIXELS).width_px == 40
    with pytest.raises(CorruptImage):
        decode(broken, max_pixels=MAX_PIXELS, policy="strip_gps")


def test_a_phones_second_picture_is_passed_over() -> None:
    data = file(scene(40, 24), "MPO", save_all=True, append_images=[scene(40, 24).rotate(180)])
    assert probe(data, max_pixels=MAX_PIXELS).format == "jpg"
    first = file(scene(40, 24), "JPEG")
    shown, expected = (
        decode(each, max_pixels=MAX_PIXELS, policy="strip_gps").colour for each in (data, first)
    )
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.1])
def test_cut_files_are_truncated(format_: str, share: float) -> None:
    data = SOURCES[format_]
    with pytest.raises(TruncatedImage):
        probe(data[: int(len(data) * share)], max_pixels=MAX_PIXELS)


def test_a_jpegs_thumbnail_does_not_pass_for_its_end() -> None:
    thumbnail = file(scene(8, 8), "JPEG")
    exif = b"Exif\0\0" + thumbnail
    data = file(scene(40, 24), "JPEG", exif=exif)
    assert probe(data, max_pixels=MAX_PIXELS).width_px == 40
    with pytest.raises(TruncatedImage):
        probe(data[:-2], max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"GIF89a" + bytes(100), b"<svg/>", b"%PDF-1.7", b"RIFF\4\0\0\0WAVE"]
)
def test_other_files_are_not_images(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        probe(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xda\0\0\xff\xd9",  # a scan without a frame
        b"\xff\xd8\xff\xe0\0\4ab junk instead of a marker",
        b"\xff\xd8" + b"\xff" * 100_000,  # padding without end
        b"\x89PNG\r\n\x1a\n" + chunk(b"teXt", b"") * 100_000,
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"short") + chunk(b"IEND", b""),
        b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0",
    ],
)
def test_nonsense_in_a_whole_file_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptImage):
        probe(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_animations_are_refused(format_: str) -> None:
    frames = scene(40, 24), scene(40, 24).rotate(180)
    data = file(frames[0], format_, save_all=True, append_images=frames[1:])
    with pytest.raises(AnimatedImage):
        probe(data, max_pixels=MAX_PIXELS)


def test_the_limit_of_pixels_is_exact() -> None:
    probe(SOURCES["PNG"], max_pixels=960)
    with pytest.raises(TooManyPixels, match="40 x 24"):
        probe(SOURCES["PNG"], max_pixels=959)


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = png(60_000, 60_000, depth=1, colour_type=0, rows=bytes(60_000))
    with pytest.raises(TooManyPixels):
        decode(bomb, max_pixels=MAX_PIXELS, policy="strip_gps")


def test_output_size_is_factor_times_the_displayed_size() -> None:
    assert output_size(ImageInfo("png", 3, 5), 6) == (18, 30)


def test_formats_have_their_longest_sides() -> None:
    check_fits(16_383, 1, format_="webp")
    check_fits(65_500, 65_500, format_="jpg")
    check_fits(100_000, 100_000, format_="png")
    with pytest.raises(OutputTooLarge, match="16384 x 1 pixels"):
        check_fits(16_384, 1, format_="webp")
    with pytest.raises(OutputTooLarge):
        check_fits(1, 65_501, format_="jpg")


def test_messages_are_the_docstrings_unless_there_is_more_to_say() -> None:
    assert str(TruncatedImage()) == TruncatedImage.__doc__
    assert str(ImageError("more")) == "more"
    codes = {error.code for error in ImageError.__subclasses__()}
    assert len(codes) == len(ImageError.__subclasses__())


def test_a_grey_jpeg_is_an_image_too() -> None:
    assert probe(file(Image.new("L", (1, 1)), "JPEG"), max_pixels=1).height_px == 1
