"""The engine as its callers use it: bytes in, bytes out."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from inference.engine import Engine, Upscaled
from inference.errors import (
    ModelUnknown,
    NotAnImage,
    OutputTooLarge,
    TooManyPixels,
    TruncatedImage,
)
from inference.params import Factor, OutputFormat, UpscaleParams
from tests.inference.drawings import file, noise, opened, scene, silent, turned

ENGINE = Engine()


def params(
    factor: Factor = 2, *, output_format: OutputFormat = "png", slot: str = "standard-v2"
) -> UpscaleParams:
    return UpscaleParams(
        model="topaz-image-upscale", slot=slot, factor=factor, output_format=output_format
    )


def upscale(source: bytes, wanted: UpscaleParams, engine: Engine = ENGINE) -> Upscaled:
    return engine.upscale(source, wanted, progress=silent)


@pytest.mark.parametrize("factor", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("output_format", ["jpg", "png", "webp"])
def test_gives_the_size_and_format_asked_for(factor: Factor, output_format: OutputFormat) -> None:
    source = file(scene(13, 7), "JPEG", exif=turned(6))
    result = upscale(source, params(factor, output_format=output_format))
    assert (result.width_px, result.height_px) == (7 * factor, 13 * factor)
    image = opened(result.data)
    assert image.size == (result.width_px, result.height_px)
    assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[result.format]
    assert not image.getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_result_is_upright(orientation: int) -> None:
    stored = scene(24, 16)
    displayed = np.asarray(opened(file(stored, "PNG")), int)
    if orientation > 1:
        turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[orientation]
        displayed = np.asarray(stored.transpose(Image.Transpose(turn)), int)
    result = upscale(file(stored, "PNG", exif=turned(orientation)), params(2))
    reduced = opened(result.data).reduce(2)
    assert np.abs(np.asarray(reduced, int) - displayed).mean() < 6


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"),
     ("I;16", "L")],
)  # fmt: skip
def test_every_mode_comes_out_as_what_it_is(mode: str, expected: str) -> None:
    image = Image.fromarray(noise(5, 9).astype(np.uint16)) if mode == "I;16" else (
        scene(9, 5).convert(mode))  # fmt: skip
    result = opened(upscale(file(image, "PNG"), params(2)).data)
    assert (result.mode, result.size) == (expected, (18, 10))


def test_cmyk_comes_out_as_rgb() -> None:
    result = upscale(file(scene(9, 5).convert("CMYK"), "JPEG"), params(2, output_format="jpg"))
    assert opened(result.data).mode == "RGB"


def test_the_profile_goes_along() -> None:
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = upscale(file(scene(9, 5), "JPEG", icc_profile=icc), params(2))
    assert opened(result.data).info["icc_profile"] == icc


@pytest.mark.parametrize("scale", [2, 4])
def test_it_is_the_network_and_nearer_to_the_truth_than_lanczos(scale: Factor) -> None:
    truth = scene(192, 128)
    small = truth.resize((192 // scale, 128 // scale), Image.Resampling.BICUBIC)
    ours = np.asarray(opened(upscale(file(small, "PNG"), params(scale)).data), float)
    plain = np.asarray(small.resize(truth.size, Image.Resampling.LANCZOS), float)
    target = np.asarray(truth, float)
    assert np.abs(ours - plain).mean() > 1
    assert np.square(ours - target).mean() < 0.95 * np.square(plain - target).mean()


def test_a_factor_of_one_restores() -> None:
    truth = scene(192, 128)
    source = file(truth, "JPEG", quality=60, subsampling="4:4:4")
    ours = np.asarray(opened(upscale(source, params(1)).data), float)
    target, given = np.asarray(truth, float), np.asarray(opened(source), float)
    assert np.square(ours - target).mean() < 0.95 * np.square(given - target).mean()


def test_says_which_weights_made_it_and_that_they_are_not_the_slots_own() -> None:
    source = file(scene(4, 4), "PNG")
    assert upscale(source, params(2)).is_fallback
    assert upscale(source, params(2)).network == "builtin-x2"
    assert upscale(source, params(6)).network == "builtin-x4+builtin-x2"


def test_many_threads_share_one_engine() -> None:
    engine = Engine()
    sources = [file(Image.fromarray(noise(20 + i, 30, 3)), "PNG") for i in range(4)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda source: upscale(source, params(4), engine), sources))
    assert together == [upscale(source, params(4)) for source in sources]


def test_what_progress_raises_ends_the_work() -> None:
    def stop(done: int, every: int) -> None:
        raise TimeoutError(f"{done} of {every}")

    with pytest.raises(TimeoutError, match="1 of 1"):
        ENGINE.upscale(file(scene(4, 4), "PNG"), params(2), progress=stop)


def test_unusable_pictures_are_refused() -> None:
    source = file(scene(40, 20), "PNG")
    with pytest.raises(NotAnImage):
        upscale(b"no picture", params())
    with pytest.raises(TruncatedImage):
        upscale(source[:-20], params())
    with pytest.raises(TooManyPixels):
        upscale(source, params(), Engine(max_source_pixels=799))
    with pytest.raises(OutputTooLarge):
        upscale(file(Image.new("L", (16_384, 1)), "PNG"), params(1, output_format="webp"))


def test_unknown_models_and_slots_without_weights_are_refused() -> None:
    source = io.BytesIO(file(scene(4, 4), "PNG")).getvalue()
    with pytest.raises(ModelUnknown):
        upscale(source, params(slot="no-such-slot"))
    clarity = UpscaleParams(model="clarity-upscale", slot="creative", factor=2, output_format="png")
    with pytest.raises(ModelUnknown, match="diffusion weights"):
        upscale(source, clarity)
