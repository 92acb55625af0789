"""Clarity as a customer orders it: every choice is made when the job is accepted."""

import io
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image

from handlers.terms import MAX_CREATIVE_PIXELS
from inference.params import CreativeParams
from jobs.ids import new_seed
from tests.handlers.clients import CLARITY, Apiframe, kept_job
from tests.handlers.pictures import promised
from tests.inference.creative.tiny_engine import Model
from tests.running import Origin, running


@pytest.fixture
def apiframe(tmp_path: Path) -> Iterator[Apiframe]:
    """A customer of a service that has Clarity's weights."""
    with running(tmp_path, models=frozenset({CLARITY})) as service:
        yield Apiframe(service, service.account())


def accepted(apiframe: Apiframe, image: str, **params: object) -> CreativeParams:
    answer = apiframe.clarity(image, **params)
    assert answer.status_code == 202, answer.text
    creative = kept_job(apiframe.service, UUID(answer.json()["jobId"])).params.creative
    assert creative is not None
    return creative


def test_every_knob_reaches_the_job(apiframe: Apiframe, photo: str) -> None:
    knobs = {
        "prompt": "a cat",
        "negative_prompt": "a dog",
        "creativity": 0.5,
        "resemblance": 1.5,
        "dynamic": 7.0,
        "num_inference_steps": 20,
        "sharpen": 2.0,
        "seed": -3,
    }
    assert accepted(apiframe, photo, **knobs) == CreativeParams(
        prompt="a cat",
        negative_prompt="a dog",
        creativity=0.5,
        resemblance=1.5,
        dynamic=7.0,
        steps=20,
        sharpen=2.0,
        seed=-3,
    )


def test_who_names_no_seed_gets_one_that_is_recorded(apiframe: Apiframe, photo: str) -> None:
    first, second = (accepted(apiframe, photo).seed for _ in range(2))
    assert first != second
    assert 0 <= min(first, second) <= max(first, second) < 2**32


def test_seeds_differ() -> None:
    assert len({new_seed() for _ in range(20)}) == 20


def test_more_pixels_than_the_price_covers_are_refused(apiframe: Apiframe, origin: Origin) -> None:
    origin.files["/large.png"] = promised(1024, 1025)
    answer = apiframe.clarity(f"{origin.url}/large.png", scale_factor=8)
    assert answer.status_code == 400
    assert f"{MAX_CREATIVE_PIXELS:,}" in answer.json()["error"]
    assert apiframe.left().jobs == []
    origin.files["/fits.png"] = promised(1024, 1024)
    assert apiframe.clarity(f"{origin.url}/fits.png", scale_factor=8).status_code == 202


def test_an_order_becomes_a_picture_that_tells_its_seed(
    apiframe: Apiframe, photo: str, tmp_path: Path
) -> None:
    job_id = UUID(apiframe.clarity(photo, scale_factor=4, prompt="the cat").json()["jobId"])
    engine = Model.written(tmp_path / "tiny").engine()
    apiframe.service.services.worker(engine).work(job_id)
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert (shown["status"], shown["creditCost"]) == ("COMPLETED", 3)
    creative = kept_job(apiframe.service, job_id).params.creative
    assert creative is not None
    assert shown["result"]["seed"] == creative.seed
    assert set(shown["result"]["quality"]) == {"psnrDb", "ssim", "deltaE", "seamScore"}
    made = apiframe.service.http.get(shown["result"]["images"][0]).content
    assert Image.open(io.BytesIO(made)).size == (64, 48)
    again = apiframe.clarity(photo, scale_factor=4, prompt="the cat", seed=creative.seed)
    again_id = UUID(again.json()["jobId"])
    apiframe.service.services.worker(engine).work(again_id)
    address = apiframe.get(f"/jobs/{again_id}").json()["result"]["images"][0]
    assert apiframe.service.http.get(address).content == made


def test_words_without_tokens_cost_nothing(apiframe: Apiframe, photo: str, tmp_path: Path) -> None:
    job_id = UUID(apiframe.clarity(photo, prompt="\N{CAT FACE}" * 2000).json()["jobId"])
    apiframe.service.services.worker(Model.written(tmp_path / "tiny").engine()).work(job_id)
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert (shown["status"], shown["creditCost"]) == ("FAILED", 0)
    assert "prompt" in shown["error"]
    assert apiframe.left().balance.available == 1000
