"""`POST /v2/images/upscale`: what is accepted, with which defaults, at which price."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from billing.pricing import Prices
from inference.params import FaceParams
from inference.published import YUNET, restoreformer
from tests.handlers.clients import (
    CLARITY,
    NOWHERE,
    TOPAZ,
    Apiframe,
    clarity_body,
    kept_job,
    topaz_body,
)
from tests.handlers.pictures import promised
from tests.running import Clock, Origin, Running, running
from tests.weights import present

WEBHOOK = "https://203.0.114.9/hook"
TIERS = [(24, 8), (48, 16), (60, 24), (96, 32), (132, 40), (168, 48), (336, 88), (512, 136)]
WIDTH_PX = 8000

TOPAZ_DEFAULTS = {
    "upscale_factor": 2,
    "model_type": "standard-v2",
    "face_enhance": False,
    "face_enhance_creativity": 0.0,
    "face_enhance_strength": 0.8,
    "output_format": "jpg",
}
REFUSED_TOPAZ: list[tuple[str, Any]] = [
    ("image", None),
    ("image", 5),
    ("image", ""),
    ("image", "photo.png"),
    ("image", "ftp://example.com/photo.png"),
    ("image", "file:///etc/passwd"),
    ("upscale_factor", 3),
    ("upscale_factor", 8),
    ("upscale_factor", 0),
    ("upscale_factor", 2.5),
    ("upscale_factor", "3"),
    ("upscale_factor", "02"),
    ("upscale_factor", " 2"),
    ("upscale_factor", "two"),
    ("upscale_factor", True),
    ("upscale_factor", None),
    ("upscale_factor", [2]),
    ("model_type", "standard-v3"),
    ("model_type", 1),
    ("model_type", None),
    ("face_enhance", "true"),
    ("face_enhance", 1),
    ("face_enhance_creativity", -0.01),
    ("face_enhance_creativity", 1.01),
    ("face_enhance_creativity", "0.5"),
    ("face_enhance_creativity", True),
    ("face_enhance_strength", -0.01),
    ("face_enhance_strength", 1.01),
    ("face_enhance_strength", "1"),
    ("output_format", "webp"),
    ("output_format", "jpeg"),
    ("output_format", "JPG"),
    ("seed", 1.5),
    ("seed", "1"),
    ("seed", True),
    ("seed", 2**53),
    ("scale_factor", 2),
    ("nonsense", None),
]
REFUSED_CLARITY: list[tuple[str, Any]] = [
    ("image", "photo.png"),
    ("prompt", 1),
    ("prompt", "x" * 2001),
    ("negative_prompt", "x" * 2001),
    ("scale_factor", 6),
    ("scale_factor", 3),
    ("scale_factor", "16"),
    ("scale_factor", True),
    ("creativity", -0.01),
    ("creativity", 1.01),
    ("creativity", "0.3"),
    ("resemblance", -0.01),
    ("resemblance", 3.01),
    ("dynamic", 0.99),
    ("dynamic", 50.01),
    ("dynamic", "6"),
    ("num_inference_steps", 0),
    ("num_inference_steps", 101),
    ("num_inference_steps", 18.5),
    ("num_inference_steps", "18"),
    ("sharpen", -0.01),
    ("sharpen", 10.01),
    ("output_format", "jpeg"),
    ("output_format", "gif"),
    ("seed", 0.5),
    ("upscale_factor", 2),
]
ACCEPTED_TOPAZ: list[tuple[str, Any, Any]] = [
    *[("upscale_factor", factor, factor) for factor in (1, 2, 4, 6)],
    *[("upscale_factor", str(factor), factor) for factor in (1, 2, 4, 6)],
    ("upscale_factor", 4.0, 4),
    *[
        ("model_type", model_type, model_type)
        for model_type in (
            "standard-v2",
            "low-res-v2",
            "cgi",
            "high-fidelity-v2",
            "text-refine",
            "redefine",
        )
    ],
    ("face_enhance_creativity", 0, 0),
    ("face_enhance_creativity", 1, 1),
    ("face_enhance_strength", 0, 0),
    ("face_enhance_strength", 1, 1),
    ("output_format", "jpg", "jpg"),
    ("output_format", "png", "png"),
    ("seed", -7, -7),
    ("seed", 2**53 - 1, 2**53 - 1),
]
ACCEPTED_CLARITY: list[tuple[str, Any]] = [
    ("prompt", "x" * 2000),
    ("negative_prompt", ""),
    *[("scale_factor", factor) for factor in (1, 2, 4, 8, "1", "2", "4", "8")],
    ("creativity", 0),
    ("creativity", 1),
    ("resemblance", 0),
    ("resemblance", 3),
    ("dynamic", 1),
    ("dynamic", 50),
    ("num_inference_steps", 1),
    ("num_inference_steps", 100),
    ("sharpen", 0),
    ("sharpen", 10),
    *[("output_format", format_) for format_ in ("png", "jpg", "webp")],
    ("seed", 7),
]


def test_a_submission_is_accepted_with_its_id_and_takes_its_price(
    apiframe: Apiframe, photo: str
) -> None:
    answer = apiframe.topaz(photo)
    assert answer.status_code == 202
    assert answer.json() == {"jobId": answer.json()["jobId"], "status": "QUEUED"}
    left = apiframe.left()
    assert [str(job.id) for job in left.jobs] == [answer.json()["jobId"]]
    assert (left.balance.available, left.balance.held, left.balance.in_flight) == (992, 8, 1)


def test_what_is_left_out_has_the_contracts_defaults(apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    shown = apiframe.get(f"/jobs/{job_id}").json()["input"]
    assert shown == TOPAZ_DEFAULTS | {"image": photo}


@pytest.mark.parametrize(("name", "said", "understood"), ACCEPTED_TOPAZ)
def test_every_listed_value_of_topaz_is_accepted(
    apiframe: Apiframe, photo: str, name: str, said: Any, understood: Any
) -> None:
    job_id = apiframe.submitted(photo, **{name: said})
    expected = TOPAZ_DEFAULTS | {"image": photo, name: understood}
    assert apiframe.get(f"/jobs/{job_id}").json()["input"] == expected


def test_faces_are_enhanced_as_asked_once_the_weights_are_installed(
    tmp_path: Path, photo: str
) -> None:
    asked: dict[str, Any] = {
        "face_enhance": True,
        "face_enhance_strength": 0.5,
        "face_enhance_creativity": 0.25,
    }
    restorer = restoreformer("ab" * 32)
    with running(tmp_path, face_restorer=restorer) as service:
        apiframe = Apiframe(service, service.account())
        for weights in (YUNET, restorer):  # they are pulled while the service runs
            assert apiframe.topaz(photo, **asked).status_code == 503
            present(weights, folder=tmp_path / "weights")
        job_id = apiframe.submitted(photo, **asked)
        assert apiframe.get(f"/jobs/{job_id}").json()["input"].items() >= asked.items()
        (job,) = apiframe.left().jobs
    assert job.params.faces == FaceParams(strength=0.5, creativity=0.25)


def test_without_being_asked_no_face_is_touched(apiframe: Apiframe, photo: str) -> None:
    apiframe.submitted(photo, face_enhance_strength=1)
    (job,) = apiframe.left().jobs
    assert job.params.faces is None


def test_faces_without_their_weights_cost_nothing_and_leave_nothing(
    apiframe: Apiframe, photo: str
) -> None:
    before = apiframe.left()
    answer = apiframe.topaz(photo, face_enhance=True)
    assert answer.status_code == 503
    assert answer.json() == {
        "error": "Face enhancement is not available: its weights are not installed"
    }
    assert apiframe.left() == before


@pytest.mark.parametrize(("name", "value"), REFUSED_TOPAZ)
def test_other_values_of_topaz_are_refused_by_their_path(
    apiframe: Apiframe, name: str, value: Any
) -> None:
    body = topaz_body(NOWHERE) | {"topazUpscaleParams": {"image": NOWHERE} | {name: value}}
    answer = apiframe.post("/images/upscale", json=body)
    assert_invalid(answer.status_code, answer.json(), f"topazUpscaleParams.{name}")


@pytest.mark.parametrize(("name", "value"), ACCEPTED_CLARITY)
def test_every_listed_value_of_clarity_is_understood_though_its_weights_are_missing(
    apiframe: Apiframe, photo: str, name: str, value: Any
) -> None:
    answer = apiframe.clarity(photo, **{name: value})
    assert answer.status_code == 503
    assert answer.json() == {"error": "This model is not available: its weights are not installed"}


@pytest.mark.parametrize(("name", "value"), REFUSED_CLARITY)
def test_other_values_of_clarity_are_refused_by_their_path(
    apiframe: Apiframe, name: str, value: Any
) -> None:
    body = clarity_body(NOWHERE) | {"clarityUpscaleParams": {"image": NOWHERE} | {name: value}}
    answer = apiframe.post("/images/upscale", json=body)
    assert_invalid(answer.status_code, answer.json(), f"clarityUpscaleParams.{name}")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"model": None}, "model"),
        ({"model": "imagen"}, "model"),
        ({"model": 7}, "model"),
        ({"topazUpscaleParams": None}, "topazUpscaleParams"),
        ({"topazUpscaleParams": []}, "topazUpscaleParams"),
        ({"topazUpscaleParams": {}}, "topazUpscaleParams.image"),
        ({"clarityUpscaleParams": {"image": NOWHERE}}, "clarityUpscaleParams"),
        ({"nonsense": 1}, "nonsense"),
        ({TOPAZ: 1}, TOPAZ),
        ({"webhookUrl": 1}, "webhookUrl"),
        ({"webhookUrl": ""}, "webhookUrl"),
        ({"webhookUrl": "example.com/hook"}, "webhookUrl"),
        ({"webhookUrl": "ftp://example.com/hook"}, "webhookUrl"),
        ({"webhookUrl": "http://10.0.0.1/hook"}, "webhookUrl"),
        ({"webhookUrl": "http://user:secret@example.com/hook"}, "webhookUrl"),
        ({"webhookUrl": f"https://example.com/{'x' * 8192}"}, "webhookUrl"),
        ({"webhookUrl": WEBHOOK, "webhookEvents": []}, "webhookEvents"),
        ({"webhookUrl": WEBHOOK, "webhookEvents": "completed"}, "webhookEvents"),
        ({"webhookUrl": WEBHOOK, "webhookEvents": ["completed", "started"]}, "webhookEvents.1"),
    ],
)
def test_the_outer_members_are_as_strict(
    apiframe: Apiframe, change: dict[str, Any], path: str
) -> None:
    answer = apiframe.post("/images/upscale", json=topaz_body(NOWHERE) | change)
    assert_invalid(answer.status_code, answer.json(), path)


@pytest.mark.parametrize(
    ("missing", "path"), [("model", "model"), ("topazUpscaleParams", "topazUpscaleParams")]
)
def test_the_required_members_are_missed_by_name(
    apiframe: Apiframe, missing: str, path: str
) -> None:
    body = topaz_body(NOWHERE)
    del body[missing]
    answer = apiframe.post("/images/upscale", json=body)
    assert_invalid(answer.status_code, answer.json(), path)


@pytest.mark.parametrize(
    ("change", "path", "told"),
    [
        ({"model": None}, "model", "model is one of topaz-image-upscale, clarity-upscale"),
        ({"colour": 1}, "colour", "There is no such field here"),
        ({"topazUpscaleParams": []}, "topazUpscaleParams", "Input should be an object"),
        ({"webhookEvents": []}, "webhookEvents", "List should have at least 1 item"),
        (
            {"topazUpscaleParams": {"image": "ftp://example.com/a.png"}},
            "topazUpscaleParams.image",
            "Input should be an http or https address, or a data: URI of a picture",
        ),
    ],
)
def test_problems_are_told_in_the_customers_words(
    apiframe: Apiframe, change: dict[str, Any], path: str, told: str
) -> None:
    answer = apiframe.post("/images/upscale", json=topaz_body(NOWHERE) | change)
    assert answer.json()["details"] == {path: [told]}


@pytest.mark.parametrize(
    ("asked", "named", "told"),
    [
        ("/usage", "from", "Input should be a day, as 2026-11-21"),
        ("/keys", "cursor", "Input should be the nextCursor of the page before"),
        ("/jobs", "limit", "Input should be a valid integer"),
    ],
)
def test_no_pattern_is_told_to_a_customer(
    apiframe: Apiframe, asked: str, named: str, told: str
) -> None:
    answer = apiframe.get(asked, **{named: "x"})
    assert (answer.status_code, answer.json()["details"]) == (400, {named: [told]})


@pytest.mark.parametrize("sent_as", ["application/x-www-form-urlencoded", "application/json"])
def test_a_body_that_is_no_object_is_told_how_to_be_sent(apiframe: Apiframe, sent_as: str) -> None:
    content = "[]" if sent_as.endswith("json") else json.dumps(topaz_body(NOWHERE))
    answer = apiframe.service.http.post(
        "/v2/images/upscale",
        content=content,
        headers=apiframe.headers | {"Content-Type": sent_as},
    )
    assert (answer.status_code, answer.json()["details"]) == (
        400,
        {"body": ["The body must be a JSON object, sent as Content-Type: application/json"]},
    )


def test_several_problems_are_told_at_once(apiframe: Apiframe) -> None:
    answer = apiframe.topaz(NOWHERE, upscale_factor=3, output_format="gif")
    assert set(answer.json()["details"]) == {
        "topazUpscaleParams.upscale_factor",
        "topazUpscaleParams.output_format",
    }


def test_the_number_of_problems_told_has_a_limit(apiframe: Apiframe) -> None:
    params: dict[str, Any] = {f"x{number}": 1 for number in range(1000)}
    answer = apiframe.topaz(NOWHERE, **params)
    assert answer.status_code == 400
    assert len(answer.json()["details"]) == 20


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (None, ("completed", "failed")),
        (["progress"], ("progress",)),
        (["failed", "completed", "progress"], ("failed", "completed", "progress")),
    ],
)
def test_a_webhook_is_kept_with_the_events_it_wants(
    apiframe: Apiframe, photo: str, said: list[str] | None, kept: tuple[str, ...]
) -> None:
    hook = {"webhookUrl": WEBHOOK} | ({} if said is None else {"webhookEvents": said})
    answer = apiframe.post("/images/upscale", json=topaz_body(photo) | hook)
    assert answer.status_code == 202
    webhook = apiframe.left().jobs[0].webhook
    assert webhook is not None
    assert (webhook.url, webhook.events) == (WEBHOOK, kept)


@pytest.mark.parametrize(("megapixels", "credits"), TIERS)
def test_topaz_costs_its_tiers_credits_up_to_the_last_pixel(
    apiframe: Apiframe, origin: Origin, megapixels: int, credits: int
) -> None:
    height_px = megapixels * 1_000_000 // WIDTH_PX
    job_id = apiframe.submitted(_picture(origin, height_px), upscale_factor=1)
    assert kept_job(apiframe.service, job_id).price_credits == credits
    assert apiframe.left().balance.available == 1000 - credits


@pytest.mark.parametrize(
    ("megapixels", "credits"),
    [(below[0], above[1]) for below, above in pairwise(TIERS)],
)
def test_a_pixel_row_more_costs_the_next_tiers_credits(
    apiframe: Apiframe, origin: Origin, megapixels: int, credits: int
) -> None:
    height_px = megapixels * 1_000_000 // WIDTH_PX + 1
    job_id = apiframe.submitted(_picture(origin, height_px), upscale_factor=1)
    assert apiframe.get(f"/jobs/{job_id}").json()["creditCost"] == credits


@pytest.mark.parametrize("submit", [Apiframe.topaz, Apiframe.clarity])
def test_above_the_last_tier_nothing_is_offered(
    apiframe: Apiframe, origin: Origin, submit: Any
) -> None:
    answer = submit(apiframe, _picture(origin, 512 * 1_000_000 // WIDTH_PX // 4 + 1))
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert apiframe.left().balance.available == 1000


def test_the_price_follows_the_output_not_the_source(apiframe: Apiframe, origin: Origin) -> None:
    image = _picture(origin, 1000)
    jobs = [apiframe.submitted(image, upscale_factor=factor) for factor in (1, 2, 4, 6)]
    prices = [kept_job(apiframe.service, job_id).price_credits for job_id in jobs]
    assert prices == [8, 16, 40, 88]


def test_an_output_that_its_format_cannot_hold_is_refused(
    apiframe: Apiframe, origin: Origin
) -> None:
    origin.files["/wide.png"] = promised(65_501, 10)
    wide = f"{origin.url}/wide.png"
    refused = apiframe.topaz(wide, upscale_factor=1, output_format="jpg")
    assert refused.status_code == 400
    assert "65500" in refused.json()["error"]
    assert apiframe.topaz(wide, upscale_factor=1, output_format="png").status_code == 202


def test_too_few_credits_are_told_in_numbers_and_nothing_is_taken(
    service: Running, photo: str
) -> None:
    poor = Apiframe(service, service.account(credits=7))
    answer = poor.topaz(photo)
    assert answer.status_code == 402
    assert answer.json() == {
        "error": "Insufficient credits",
        "creditsRequired": 8,
        "creditsAvailable": 7,
    }
    left = poor.left()
    assert (left.balance.available, left.balance.held, left.jobs) == (7, 0, [])


def test_clarity_is_priced_before_its_weights_are_missed(service: Running, photo: str) -> None:
    poor = Apiframe(service, service.account(credits=2))
    answer = poor.clarity(photo)
    assert answer.status_code == 402
    assert answer.json()["creditsRequired"] == 3


def test_a_model_without_weights_costs_nothing_and_leaves_nothing(
    apiframe: Apiframe, photo: str
) -> None:
    before = apiframe.left()
    answer = apiframe.clarity(photo)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert apiframe.left() == before


def test_too_many_unfinished_jobs_wait_their_turn(service: Running, photo: str) -> None:
    busy = Apiframe(service, service.account(max_in_flight=2))
    for _ in range(2):
        busy.submitted(photo)
    before = busy.left()
    answer = busy.topaz(photo)
    assert answer.status_code == 429
    assert list(answer.json()) == ["error"]
    assert int(answer.headers["Retry-After"]) > 0
    assert busy.left() == before


def test_limits_hold_when_many_submit_at_once(service: Running, photo: str) -> None:
    customers = (
        Apiframe(service, service.account(credits=5 * 8 + 7)),
        Apiframe(service, service.account(max_in_flight=5)),
    )
    for customer, refused in zip(customers, (402, 429), strict=True):
        with ThreadPoolExecutor(15) as threads:
            answers = list(threads.map(customer.topaz, [photo] * 15))
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(202), statuses.count(refused)) == (5, 10)
        assert len(customer.left().jobs) == customer.left().balance.in_flight == 5


def test_the_operators_own_prices_hold(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock, photo: str
) -> None:
    prices = Prices.model_validate(
        {"topaz_tiers": [{"megapixels": 1, "credits": 5}], "clarity_credits": 9}
    )
    folder = tmp_path_factory.mktemp("priced")
    with running(folder, clock=clock, prices=prices, models=frozenset({TOPAZ, CLARITY})) as priced:
        apiframe = Apiframe(priced, priced.account())
        apiframe.submitted(photo)
        answer = apiframe.clarity(photo, prompt="a cat", seed=3)
        assert answer.status_code == 202
        assert apiframe.left().balance.available == 1000 - 5 - 9
        shown = apiframe.get(f"/jobs/{UUID(answer.json()['jobId'])}").json()
    assert shown["model"] == CLARITY
    assert shown["input"] == {
        "image": photo,
        "prompt": "a cat",
        "negative_prompt": "worst quality, low quality, normal quality",
        "scale_factor": 2,
        "creativity": 0.35,
        "resemblance": 0.6,
        "dynamic": 6.0,
        "num_inference_steps": 18,
        "sharpen": 0.0,
        "output_format": "png",
        "seed": 3,
    }


def assert_invalid(status: int, body: dict[str, Any], path: str) -> None:
    """A validation error of the contract's shape, at that path."""
    assert status == 400
    assert body["error"] == "Validation error"
    assert list(body) == ["error", "details"]
    assert list(body["details"]) == [path]
    assert all(isinstance(message, str) for message in body["details"][path])


def _picture(origin: Origin, height_px: int) -> str:
    origin.files[f"/{height_px}.png"] = promised(WIDTH_PX, height_px)
    return f"{origin.url}/{height_px}.png"
