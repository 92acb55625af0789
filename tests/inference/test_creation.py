"""Creative enlargements as callers of the engine have them, by a tiny model of the real classes."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from inference.creation import load_pipeline
from inference.creative.modules import Modules
from inference.engine import Engine, Upscaled
from inference.errors import NotANumber, PromptUnreadable, WeightsBad, WeightsMissing
from inference.params import Factor, OutputFormat, UpscaleParams
from inference.published_diffusion import CLIP_MERGES, CLIP_VOCABULARY
from inference.runner import Progress
from tests.inference.creative.tiny import KNOBS
from tests.inference.creative.tiny_engine import Model
from tests.inference.drawings import file, opened, scene, silent
from tests.weights import present

LEVEL = 60
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.written(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(model: Model) -> Engine:
    return model.engine()


class Done(NamedTuple):
    """What an engine said, and the file that it wrote."""

    said: Upscaled
    data: bytes


def upscale(
    engine: Engine,
    source: bytes,
    factor: Factor = 2,
    *,
    output_format: OutputFormat = "png",
    progress: Progress = silent,
    **knobs: Any,
) -> Done:
    params = UpscaleParams(
        model="clarity-upscale",
        slot="clarity",
        factor=factor,
        output_format=output_format,
        creative=KNOBS.model_copy(update=knobs),
    )
    sink = io.BytesIO()
    return Done(engine.upscale(source, params, sink=sink, progress=progress), sink.getvalue())


def pixels(done: Done) -> NDArray[np.int16]:
    return np.asarray(opened(done.data)).astype(np.int16)


@pytest.mark.parametrize("size", [(16, 16), (50, 33), (33, 70)])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_every_factor_gives_its_exact_size(
    engine: Engine, size: tuple[int, int], factor: Factor
) -> None:
    done = upscale(engine, file(scene(*size), "PNG"), factor, steps=2)
    assert opened(done.data).size == (size[0] * factor, size[1] * factor)
    assert (done.said.width_px, done.said.height_px) == opened(done.data).size


def test_it_says_what_has_made_it_and_how_faithful_that_is(engine: Engine) -> None:
    said = upscale(engine, file(scene(40, 30), "PNG")).said
    assert said.network == "builtin-x2-base-photo+tiny"
    assert said.is_fallback
    assert said.quality is not None
    assert said.quality.psnr_db > 0


@pytest.mark.parametrize(
    ("factor", "network"),
    [(1, "tiny"), (4, "builtin-x2-base-photo+builtin-x2-small-clean+tiny")],
)
def test_it_names_all_that_had_a_part(engine: Engine, factor: Factor, network: str) -> None:
    assert upscale(engine, file(scene(16, 16), "PNG"), factor, steps=1).said.network == network


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_the_kind_of_picture_stays(engine: Engine, mode: str) -> None:
    picture = scene(40, 30).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(Image.linear_gradient("L").resize((40, 30)))
    made = opened(upscale(engine, file(picture, "PNG")).data)
    assert made.mode == mode
    if mode.endswith("A"):
        wanted = picture.getchannel("A").resize((80, 60), Image.Resampling.BICUBIC)
        alpha = np.asarray(made.getchannel("A")).astype(np.int16)
        assert np.abs(alpha - np.asarray(wanted)).max() < 16


@pytest.mark.parametrize("opacity", [255, 128, 0])
def test_what_is_evenly_opaque_stays_so(engine: Engine, opacity: int) -> None:
    picture = scene(40, 300)  # more than a band of rows
    picture.putalpha(opacity)
    made = opened(upscale(engine, file(picture, "PNG"), 1, steps=1).data)
    assert made.getchannel("A").getextrema() == (opacity, opacity)
    twice = opened(upscale(engine, file(picture.crop((0, 0, 20, 20)), "PNG"), 2, steps=1).data)
    assert twice.getchannel("A").getextrema() == (opacity, opacity)


def test_the_same_seed_gives_the_same_picture(engine: Engine, model: Model) -> None:
    source = file(scene(70, 40), "PNG")
    first = upscale(engine, source)
    assert upscale(engine, source).data == first.data
    assert upscale(model.engine(), source).data == first.data
    assert upscale(engine, source, seed=8).data != first.data


def test_the_batch_shows_by_no_more_than_a_rounding(engine: Engine, model: Model) -> None:
    source = file(scene(300, 120), "PNG")
    alone = pixels(upscale(engine, source, steps=2))
    together = pixels(upscale(model.engine(batch_tiles=3), source, steps=2))
    assert np.abs(alone - together).max() <= 1


@pytest.mark.parametrize(
    "knob",
    [
        {"prompt": "the the the"},
        {"negative_prompt": ""},
        {"creativity": 0.9},
        {"resemblance": 1.5},
        {"dynamic": 12.0},
        {"steps": 12},
        {"sharpen": 4.0},
    ],
)
def test_every_knob_matters(engine: Engine, knob: dict[str, Any]) -> None:
    source = file(scene(32, 32), "PNG")
    assert upscale(engine, source, **knob).data != upscale(engine, source).data


def calm(modules: Modules) -> None:
    """A decoder that says little beside one grey: what it adds stays within half a level."""
    nn.init.normal_(modules.vae.decoder.conv_out.weight, std=1e-6)
    nn.init.constant_(modules.vae.decoder.conv_out.bias, 0.1)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_grey_picture_stays_grey_without_a_grid(model: Model, factor: Factor) -> None:
    grey = Image.new("RGB", (500 // factor, 600 // factor), (LEVEL, LEVEL, LEVEL))
    made = pixels(upscale(model.engine(change=calm), file(grey, "PNG"), factor, steps=1))
    assert np.abs(made - LEVEL).max() <= 2


def test_colours_come_back_from_the_source(engine: Engine) -> None:
    colours = Image.new("RGB", (128, 128), (200, 80, 40))
    made = pixels(upscale(engine, file(colours, "PNG"), 2))
    assert np.abs(made.mean(axis=(0, 1)) - (200, 80, 40)).max() < 8


def test_16_bits_stay_16_bits(engine: Engine) -> None:
    levels = np.linspace(0, 65_535, 40 * 30, dtype=np.uint16).reshape(30, 40)
    source = io.BytesIO()
    Image.fromarray(levels).save(source, "PNG")
    made = np.asarray(opened(upscale(engine, source.getvalue(), 1).data))
    assert made.dtype == np.uint16
    assert len(np.unique(made % 257)) > 100


def test_progress_counts_steps_of_all_passes_and_never_goes_back(engine: Engine) -> None:
    told: list[tuple[int, int]] = []
    upscale(
        engine,
        file(scene(150, 60), "PNG"),
        4,
        progress=lambda done, of: told.append((done, of)),
        creativity=0.5,
    )
    done, totals = zip(*told, strict=True)
    # Three steps through one window, then, at 0.8 times the creativity, two through two.
    assert set(totals) == {3 * 1 + 2 * 2}
    assert list(done) == sorted(done)
    assert (done[0], done[-1]) == (0, totals[0])


class Stopped(Exception):
    """Somebody has cancelled the work."""


def test_it_ends_when_progress_says_so_and_the_next_picture_can_follow(engine: Engine) -> None:
    def stop(done: int, _of: int) -> None:
        if done == 1:
            raise Stopped

    source = file(scene(20, 20), "PNG")
    with pytest.raises(Stopped):
        upscale(engine, source, progress=stop)
    assert opened(upscale(engine, source).data).size == (40, 40)


def test_who_waits_for_a_turn_can_be_stopped(engine: Engine) -> None:
    begun, stopped = Event(), Event()

    def hold(_done: int, _of: int) -> None:
        begun.set()
        assert stopped.wait(PATIENCE_S)

    def stop(_done: int, _of: int) -> None:
        stopped.set()
        raise Stopped

    source = file(scene(20, 20), "PNG")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(upscale, engine, source, progress=hold)
        assert begun.wait(PATIENCE_S)
        with pytest.raises(Stopped):
            upscale(engine, source, progress=stop)
        assert opened(first.result().data).size == (40, 40)


def test_words_without_tokens_end_it(engine: Engine) -> None:
    with pytest.raises(PromptUnreadable):
        upscale(engine, file(scene(20, 20), "PNG"), prompt="half a pair: \ud83d")


def test_what_is_not_a_number_ends_it(model: Model) -> None:
    def spoil(modules: Modules) -> None:
        nn.init.constant_(modules.unet.conv_out.bias, float("nan"))

    with pytest.raises(NotANumber):
        upscale(model.engine(change=spoil), file(scene(20, 20), "PNG"))


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    engine = Engine(device="cpu", weights_folder=tmp_path)
    with pytest.raises(WeightsMissing, match=CLIP_VOCABULARY.file):
        upscale(engine, file(scene(20, 20), "PNG"))


def test_weights_that_are_not_the_catalogues_are_never_used(tmp_path: Path) -> None:
    present(CLIP_VOCABULARY, CLIP_MERGES, folder=tmp_path)
    with pytest.raises(WeightsBad, match="SHA-256"):
        load_pipeline(torch.device("cpu"), folder=tmp_path)
