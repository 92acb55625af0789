"""The engine as its callers use it: bytes in, a file out."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from inference.catalogue import WEIGHTS_FOLDER
from inference.devices import Cpu
from inference.engine import Engine, Networks, Upscaled
from inference.errors import (
    ModelUnknown,
    NotAnImage,
    NotANumber,
    OutputTooLarge,
    TooManyPixels,
    TruncatedImage,
    WeightsMissing,
)
from inference.networks.network import Network
from inference.params import FaceParams, Factor, OutputFormat, UpscaleParams
from inference.provenance import Weights
from inference.published import PHOTO, SECOND_PASS, X4PLUS, restoreformer
from tests.inference.drawings import file, noise, opened, scene, silent, turned
from tests.inference.faces import dots
from tests.inference.stand_ins import Broken, Nearest

ENGINE = Engine(device="cpu")
NAMES: dict[OutputFormat, str] = {
    "jpg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "tiff": "TIFF",
    "avif": "AVIF",
}


def params(
    factor: Factor = 2, *, output_format: OutputFormat = "png", slot: str = "standard-v2"
) -> UpscaleParams:
    return UpscaleParams(
        model="topaz-image-upscale", slot=slot, factor=factor, output_format=output_format
    )


class Done(NamedTuple):
    """What an engine said, and the file that it wrote."""

    said: Upscaled
    data: bytes


def upscale(source: bytes, wanted: UpscaleParams, engine: Engine = ENGINE) -> Done:
    sink = io.BytesIO()
    return Done(engine.upscale(source, wanted, sink=sink, progress=silent), sink.getvalue())


@pytest.mark.parametrize("factor", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("output_format", NAMES)
def test_gives_the_size_and_format_asked_for(factor: Factor, output_format: OutputFormat) -> None:
    source = file(scene(13, 7), "JPEG", exif=turned(6))
    said, data = upscale(source, params(factor, output_format=output_format))
    assert (said.width_px, said.height_px) == (7 * factor, 13 * factor)
    image = opened(data)
    assert image.size == (said.width_px, said.height_px)
    assert said.format == output_format
    assert image.format == NAMES[output_format]
    assert not {0x0112, 0x8825} & set(image.getexif())  # it is upright, and nobody knows where


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
     ("I;16", "I;16")],
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


@pytest.mark.parametrize(("output_format", "bits"), [("png", 16), ("tiff", 16), ("jpg", 8)])
def test_deep_pictures_stay_deep_where_the_format_can_hold_them(
    output_format: OutputFormat, bits: int
) -> None:
    deep = (np.add.outer(np.arange(40), np.arange(50)) * 700 + 3).astype(np.uint16)
    _, data = upscale(file(Image.fromarray(deep), "PNG"), params(2, output_format=output_format))
    made = np.asarray(opened(data)).astype(int)
    assert made.max() > 255 if bits == 16 else made.max() <= 255
    smooth = deep.repeat(2, axis=0).repeat(2, axis=1).astype(int) * (2**bits - 1) // 65_535
    assert np.abs(made - smooth).max() < (2**bits) * 0.02


def test_a_larger_picture_is_printed_at_the_same_size() -> None:
    _, data = upscale(file(scene(9, 5), "PNG", dpi=(72, 144)), params(4))
    assert opened(data).info["dpi"] == pytest.approx((288, 576), rel=0.001)


def test_metadata_goes_by_its_policy() -> None:
    source = file(scene(9, 5), "JPEG", exif=turned(1))
    for policy, has_camera in (("keep", True), ("strip", False)):
        wanted = params(2).model_copy(update={"metadata": policy})
        exif = opened(upscale(source, wanted).data).getexif()
        assert (0x010F in exif) is has_camera


def test_constant_alpha_costs_no_pass_and_stays_as_it_is() -> None:
    reports: list[tuple[int, int]] = []
    image = scene(9, 7)
    image.putalpha(77)
    sink = io.BytesIO()
    ENGINE.upscale(file(image, "PNG"), params(2), sink=sink,
                   progress=lambda done, every: reports.append((done, every)))  # fmt: skip
    assert reports == [(1, 1)]
    assert set(np.asarray(opened(sink.getvalue()))[..., 3].flat) == {77}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_black_does_not_darken_the_edge(mode: str) -> None:
    pixels = np.zeros((40, 40, 2), np.uint8)
    pixels[:, :20] = 200, 255
    source = file(Image.fromarray(pixels, "LA").convert(mode), "PNG")
    made = np.asarray(opened(upscale(source, params(2)).data)).astype(int)
    assert made.shape == (80, 80, len(mode))
    colour, alpha = made[..., :-1], made[..., -1]
    assert np.abs(colour[alpha > 10] - 200).max() <= 6
    assert alpha[:, :30].min() > 250 > 5 > alpha[:, 50:].max()


def test_a_guarded_result_reduces_to_its_source() -> None:
    source = scene(64, 48)
    wanted = params(2)
    errors = []
    for is_guarded in (False, True):
        guarded = wanted.model_copy(update={"is_guarded": is_guarded})
        reduced = opened(upscale(file(source, "PNG"), guarded).data).reduce(2)
        errors.append(np.abs(np.asarray(reduced, float) - np.asarray(source, float)).mean())
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_result_comes_with_its_report(factor: Factor, mode: str) -> None:
    source = file(scene(40, 30).convert(mode), "PNG")
    quality = upscale(source, params(factor)).said.quality
    assert quality is not None
    assert 25 < quality.psnr_db < 100
    assert 0.9 < quality.ssim < 1
    assert quality.delta_e < 2
    assert quality.seam_score is None  # a single tile


def test_the_report_is_of_the_pixels_that_are_written() -> None:
    source = scene(40, 30)
    said, data = upscale(file(source, "PNG"), params(2))
    reduced = np.asarray(opened(data), float).reshape(30, 2, 40, 2, 3).mean(axis=(1, 3))
    error = np.square(reduced - np.asarray(source)).mean()
    assert said.quality is not None
    assert said.quality.psnr_db == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)


def test_no_report_is_made_where_none_is_wanted() -> None:
    wanted = params(2).model_copy(update={"reports_quality": False})
    assert upscale(file(scene(20, 15), "PNG"), wanted).said.quality is None


class Striping(Nearest):
    """Repeats pixels; what is as small as the square of a face gets stripes besides."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        enlarged = super().forward(picture)
        if picture.shape[2] > FACE_SOURCE_PX:
            enlarged[..., ::2] += 0.2
        return enlarged


FACE_SOURCE_PX = 400
RESTORER = restoreformer("00" * 32)


def striping(weights: Weights, *, folder: Path) -> Network:  # noqa: ARG001
    return Striping(weights.scale)


@pytest.mark.parametrize("alpha", [None, 90])
def test_faces_are_restored_where_they_are_and_nowhere_else(
    tmp_path: Path, alpha: int | None
) -> None:
    detector = dots.installed(tmp_path)
    engine = Engine(
        device="cpu",
        weights_folder=tmp_path,
        load=striping,
        face_detector=detector,
        face_restorer=RESTORER,
    )
    black = dots.black(FACE_SOURCE_PX, FACE_SOURCE_PX)
    image = Image.fromarray(dots.with_dot(black, left=160, top=96, stride=16))
    if alpha is not None:
        image.putalpha(alpha)
    faces = FaceParams(strength=1, creativity=1)
    plain, restored = (
        np.asarray(opened(upscale(file(image, "PNG"), wanted, engine).data)).astype(int)
        for wanted in (params(2), params(2).model_copy(update={"faces": faces}))
    )
    rows, columns = np.nonzero(np.abs(restored - plain).max(axis=2))
    assert len(rows) > 1_000
    assert 2 * 96 - 128 < rows.min() < rows.max() < 2 * 112 + 128
    assert 2 * 160 - 128 < columns.min() < columns.max() < 2 * 176 + 128
    if alpha is not None:
        assert (restored[..., 3] == alpha).all()


def test_faces_without_a_detector_are_told(tmp_path: Path) -> None:
    engine = Engine(device="cpu", weights_folder=tmp_path, face_restorer=RESTORER)
    faces = FaceParams(strength=1, creativity=0)
    wanted = params(2).model_copy(update={"faces": faces})
    with pytest.raises(WeightsMissing, match="yunet"):
        upscale(file(scene(9, 5), "PNG"), wanted, engine)


def test_a_network_that_gives_no_numbers_delivers_nothing() -> None:
    def broken(weights: Weights, *, folder: Path) -> Network:  # noqa: ARG001
        return Broken(weights.scale, value=float("nan"))

    with pytest.raises(NotANumber):
        upscale(
            file(Image.new("RGB", (8, 8), "white"), "PNG"),
            params(2),
            Engine(device="cpu", load=broken),
        )


def test_only_so_many_networks_stay_in_memory() -> None:
    networks = Networks(WEIGHTS_FOLDER, Cpu(), limit=2)
    aliases = [replace(PHOTO.x2, id=name) for name in "abc"]
    first, second = (networks.get(each) for each in aliases[:2])
    assert networks.get(aliases[0]) is first
    networks.get(aliases[2])
    assert networks.get(aliases[0]) is first
    assert networks.get(aliases[1]) is not second


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing):
        Networks(tmp_path, Cpu()).get(X4PLUS)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(("slot", "kind"), [("standard-v2", "JPEG"), ("high-fidelity-v2", "PNG")])
def test_it_is_the_network_and_nearer_to_the_truth_than_lanczos(
    scale: Factor, slot: str, kind: str
) -> None:
    truth = scene(192, 128)
    small = truth.resize((192 // scale, 128 // scale), Image.Resampling.BICUBIC)
    source = file(small, kind)  # each by the network that was made for such pictures
    ours = np.asarray(opened(upscale(source, params(scale, slot=slot)).data), float)
    plain = np.asarray(opened(source).resize(truth.size, Image.Resampling.LANCZOS), float)
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
    assert upscale(source, params(2)).said.is_fallback
    assert upscale(source, params(2)).said.network == PHOTO.x2.id
    assert upscale(source, params(6)).said.network == f"{PHOTO.x4.id}+{SECOND_PASS.id}"


def test_many_threads_share_one_engine() -> None:
    engine = Engine(device="cpu")
    sources = [file(Image.fromarray(noise(20 + i, 30, 3)), "PNG") for i in range(4)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda source: upscale(source, params(4), engine), sources))
    assert together == [upscale(source, params(4)) for source in sources]


def test_what_progress_raises_ends_the_work() -> None:
    def stop(done: int, every: int) -> None:
        raise TimeoutError(f"{done} of {every}")

    with pytest.raises(TimeoutError, match="1 of 1"):
        ENGINE.upscale(file(scene(4, 4), "PNG"), params(2), sink=io.BytesIO(), progress=stop)


def test_unusable_pictures_are_refused() -> None:
    source = file(scene(40, 20), "PNG")
    with pytest.raises(NotAnImage):
        upscale(b"no picture", params())
    with pytest.raises(TruncatedImage):
        upscale(source[:-20], params())
    with pytest.raises(TooManyPixels):
        upscale(source, params(), Engine(device="cpu", max_source_pixels=799))
    with pytest.raises(OutputTooLarge):
        upscale(file(Image.new("L", (16_384, 1)), "PNG"), params(1, output_format="webp"))


def test_unknown_models_and_slots_without_weights_are_refused() -> None:
    source = io.BytesIO(file(scene(4, 4), "PNG")).getvalue()
    with pytest.raises(ModelUnknown):
        upscale(source, params(slot="no-such-slot"))
    clarity = UpscaleParams(model="clarity-upscale", slot="clarity", factor=2, output_format="png")
    with pytest.raises(ModelUnknown, match="no faithful clarity-upscale"):
        upscale(source, clarity)
