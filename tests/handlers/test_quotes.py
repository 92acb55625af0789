"""Quotes: what a submission would cost, to the credit, and whether it would be accepted."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest

from billing.accounts import account_key, find_account
from billing.caps import Caps
from billing.keys import ApiKey
from jobs.services import MAX_FETCHES_EACH
from storage.kv import Add, Key, Put
from tests.handlers.clients import (
    CLARITY,
    NOWHERE,
    TOPAZ,
    Apiframe,
    Client,
    VicSee,
    assert_refused,
    clarity_body,
    kept_job,
    topaz_body,
)
from tests.handlers.pictures import encoded, promised
from tests.running import Clock, Origin, Running, running

SIZES = [(16, 12), (3000, 2000), (7000, 3430), (8000, 1400), (1, 5000)]
CALLS = ["apiframe", "vicsee"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Running]:
    """A service of both models, on processors."""
    folder = tmp_path_factory.mktemp("both")
    models = frozenset({TOPAZ, CLARITY})
    with running(
        folder,
        clock=clock,
        models=models,
        max_source_pixels=600_000_000,
        works_on=lambda _: "cpu",
    ) as service:
        yield service


@pytest.fixture(scope="module")
def pictures(origin: Origin) -> dict[tuple[int, int], str]:
    """Addresses of pictures by their sizes."""
    for width, height in SIZES:
        origin.files[f"/{width}x{height}.png"] = promised(width, height)
    return {(w, h): f"{origin.url}/{w}x{h}.png" for w, h in SIZES}


def rich(service: Running) -> Apiframe:
    return Apiframe(service, service.account(credits=100_000))


def quoted(client: Apiframe, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/images/upscale/quote", json=body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def task_quoted(client: VicSee, **body: Any) -> dict[str, Any]:
    answer = client.post("/tools/upscale-image/quote", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    shown: dict[str, Any] = answer.json()["data"]
    return shown


def sized(body: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """An Apiframe body with a size in the place of the picture."""
    name = next(name for name in body if name.endswith("Params"))
    params = {key: value for key, value in body[name].items() if key != "image"}
    return body | {name: params | {"width": width, "height": height}}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [1, 2, 4, 6])
@pytest.mark.parametrize("format_", ["jpg", "png"])
def test_topaz_costs_and_makes_what_was_quoted(
    both: Running, pictures: dict[tuple[int, int], str], size: tuple[int, int], factor: int,
    format_: str,
) -> None:  # fmt: skip
    client = rich(both)
    body = topaz_body(pictures[size], upscale_factor=factor, output_format=format_)
    assert_as_quoted(client, body, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_clarity_costs_and_makes_what_was_quoted(
    both: Running, pictures: dict[tuple[int, int], str], size: tuple[int, int], factor: int
) -> None:
    assert_as_quoted(rich(both), clarity_body(pictures[size], scale_factor=factor), size)


def assert_as_quoted(client: Apiframe, body: dict[str, Any], size: tuple[int, int]) -> None:
    """The quotes by picture and by size say the same, and the submission does as they say."""
    quotes = [
        client.post("/images/upscale/quote", json=each) for each in (body, sized(body, *size))
    ]
    submitted = client.post("/images/upscale", json=body)
    assert quotes[0].json() == quotes[1].json()
    if submitted.status_code != 202:
        assert (quotes[0].status_code, quotes[0].json()) == (400, submitted.json())
        return
    shown = quotes[0].json()
    job = kept_job(client.service, UUID(submitted.json()["jobId"]))
    assert shown["credits"] == job.price_credits == 100_000 - client.left().balance.available
    factor = job.params.factor
    assert (shown["width"], shown["height"]) == (size[0] * factor, size[1] * factor)
    assert shown["megapixels"] == shown["width"] * shown["height"] / 1e6
    assert (shown["model"], shown["format"]) == (job.params.model, job.params.output_format)
    assert (shown["allowed"], shown["reason"]) == (True, None)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", ["1", "2", "4", "8"])
def test_a_task_costs_and_makes_what_was_quoted(
    both: Running, pictures: dict[tuple[int, int], str], size: tuple[int, int], factor: str
) -> None:
    client = VicSee(both, both.account(credits=100_000))
    wanted = {"upscale_factor": factor}
    by_size = {"width": size[0], "height": size[1], "format": "png", **wanted}
    quotes = [
        client.post("/tools/upscale-image/quote", json=body)
        for body in ({"image_url": pictures[size], **wanted}, by_size)
    ]
    submitted = client.upscale(image_url=pictures[size], **wanted)
    assert quotes[0].json() == quotes[1].json()
    if submitted.status_code != 200:
        assert (quotes[0].status_code, quotes[0].json()) == (422, submitted.json())
        return
    shown, task = quotes[0].json()["data"], submitted.json()["data"]
    job = kept_job(both, UUID(task["id"].removeprefix("task_")))
    assert shown["credits"] == task["creditsUsed"]
    assert shown["output"] == {
        "width": size[0] * int(factor),
        "height": size[1] * int(factor),
        "megapixels": size[0] * size[1] * int(factor) ** 2 / 1e6,
        "format": job.params.output_format,
    }
    assert shown["creditsAvailable"] == 100_000
    assert (shown["allowed"], shown["reason"]) == (True, None)


def test_a_quote_is_shown_to_the_field(both: Running, photo: str) -> None:
    body = topaz_body(photo, upscale_factor=4)
    assert quoted(Apiframe(both, both.account()), body) == {
        "model": TOPAZ,
        "credits": 8,
        "creditsAvailable": 1000,
        "width": 64,
        "height": 48,
        "megapixels": 0.003072,
        "format": "jpg",
        "expectedSeconds": 0.001,
        "allowed": True,
        "reason": None,
    }


def test_what_was_not_measured_is_not_made_up(service: Running, both: Running) -> None:
    large = {"width": 5000, "height": 5000}
    body = {"model": TOPAZ, "topazUpscaleParams": {"upscale_factor": 4, **large}}
    assert quoted(rich(both), body)["expectedSeconds"] == pytest.approx(400 / 4.53, abs=0.1)
    assert quoted(rich(service), body)["expectedSeconds"] is None  # nobody knows what works there
    clarity = {"model": CLARITY, "clarityUpscaleParams": {"width": 500, "height": 500}}
    assert quoted(rich(both), clarity)["expectedSeconds"] is None


@pytest.mark.parametrize("sideways", [1, 6])
def test_sides_are_those_displayed(both: Running, origin: Origin, sideways: int) -> None:
    origin.files["/turned.jpg"] = encoded(30, 20, kind="JPEG", orientation=sideways)
    shown = quoted(rich(both), topaz_body(f"{origin.url}/turned.jpg"))
    assert (shown["width"], shown["height"]) == ((60, 40) if sideways == 1 else (40, 60))


def test_a_size_alone_leaves_a_tasks_format_open(vicsee: VicSee) -> None:
    assert task_quoted(vicsee, width=10, height=10)["output"]["format"] is None
    jpeg = task_quoted(vicsee, width=10, height=10, format="jpg")
    assert jpeg["output"]["format"] == "jpg"


def test_a_quote_leaves_nothing_behind_but_the_look_at_the_source(
    service: Running, origin: Origin, apiframe: Apiframe, vicsee: VicSee
) -> None:
    origin.files["/once.png"] = origin.files["/photo.png"]
    before = apiframe.left(), vicsee.left()
    quoted(apiframe, topaz_body(f"{origin.url}/once.png"))
    task_quoted(vicsee, image_url=f"{origin.url}/once.png")
    assert (apiframe.left(), vicsee.left()) == before
    assert origin.requests.count("/once.png") == 2
    kv = service.services.kv
    assert not kv.query(f"usage#{apiframe.customer.id}")
    assert not kv.query(f"quota#{vicsee.customer.id}")


def test_a_quote_does_not_use_the_days_requests_and_needs_none(service: Running) -> None:
    vicsee = VicSee(service, service.account(daily_requests=1))
    assert vicsee.upscale(image_url="").status_code == 400
    answer = vicsee.post("/tools/upscale-image/quote", json={"width": 9, "height": 9})
    assert answer.status_code == 200
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def test_too_few_credits_are_told_and_do_not_refuse_the_quote(service: Running, photo: str) -> None:
    account = service.account(credits=7)
    shown = quoted(Apiframe(service, account), topaz_body(photo))
    assert (shown["allowed"], shown["reason"]) == (False, "Insufficient credits")
    assert (shown["credits"], shown["creditsAvailable"]) == (8, 7)
    assert task_quoted(VicSee(service, account), image_url=photo)["reason"] == {
        "code": "INSUFFICIENT_CREDITS",
        "message": "Insufficient credits. Required: 20, Available: 7",
    }


def test_who_owes_is_not_allowed_anything(service: Running, apiframe: Apiframe, photo: str) -> None:
    service.services.kv.commit(Add(account_key(apiframe.customer.id), {"available": -1001}))
    shown = quoted(apiframe, topaz_body(photo))
    refused = apiframe.topaz(photo)
    assert (refused.status_code, shown["reason"]) == (402, refused.json()["error"])
    assert (shown["allowed"], shown["creditsAvailable"]) == (False, 0)


@pytest.mark.parametrize(
    "caps",
    [
        Caps(job_credits=7),
        Caps(day_credits=7),
        Caps(month_credits=15),
        Caps(day_jobs=1),
        Caps(month_jobs=1),
        Caps(models=(CLARITY,)),
    ],
)
def test_a_cap_refuses_the_quote_in_the_words_of_the_submission(
    service: Running, apiframe: Apiframe, photo: str, caps: Caps
) -> None:
    cap(service, apiframe, Caps(day_credits=99, day_jobs=99, month_credits=99))
    apiframe.submitted(photo)
    cap(service, apiframe, caps)
    shown = quoted(apiframe, topaz_body(photo))
    refused = apiframe.topaz(photo)
    assert refused.status_code == 402
    assert (shown["allowed"], shown["reason"]) == (False, refused.json()["error"])


def test_a_full_house_is_told(service: Running, photo: str) -> None:
    apiframe = Apiframe(service, service.account(max_in_flight=1))
    apiframe.submitted(photo)
    shown = quoted(apiframe, topaz_body(photo))
    refused = apiframe.topaz(photo)
    assert refused.status_code == 429
    assert (shown["allowed"], shown["reason"]) == (False, refused.json()["error"])


def test_what_is_not_installed_is_priced_and_not_allowed(apiframe: Apiframe, photo: str) -> None:
    shown = quoted(apiframe, clarity_body(photo))
    refused = apiframe.clarity(photo)
    assert (refused.status_code, shown["credits"]) == (503, 3)
    assert (shown["allowed"], shown["reason"]) == (False, refused.json()["error"])
    faces = topaz_body(photo, face_enhance=True)
    refused = apiframe.post("/images/upscale", json=faces)
    assert (refused.status_code, quoted(apiframe, faces)["reason"]) == (
        503,
        refused.json()["error"],
    )


@pytest.mark.parametrize(
    ("max_credits", "status"), [(7, 402), (8, 202), (9, 202), (None, 202), (2**53 - 1, 202)]
)
def test_a_submission_costs_at_most_what_it_says(
    apiframe: Apiframe, photo: str, max_credits: int | None, status: int
) -> None:
    body = topaz_body(photo) | {"maxCredits": max_credits}
    before = apiframe.left()
    shown = quoted(apiframe, body)
    answer = apiframe.post("/images/upscale", json=body)
    assert answer.status_code == status
    assert shown["allowed"] is (status == 202)
    if status == 402:
        reason = "This job costs 8 credits; maxCredits allows 7"
        assert answer.json() == {"error": reason}
        assert shown["reason"] == reason
        assert apiframe.left() == before


def test_a_task_costs_at_most_what_it_says(vicsee: VicSee, photo: str) -> None:
    before = vicsee.left()
    message = "This task costs 20 credits; max_credits allows 19"
    body = {"image_url": photo, "max_credits": 19}
    assert_refused(vicsee.upscale(**body), 402, "OVER_MAX_CREDITS", message)
    generated = vicsee.post("/generate", json={"model": TOPAZ, "input": body})
    assert_refused(generated, 402, "OVER_MAX_CREDITS", message)
    assert task_quoted(vicsee, **body)["reason"] == {
        "code": "OVER_MAX_CREDITS",
        "message": message,
    }
    assert vicsee.left() == before
    vicsee.submitted(photo, max_credits=20)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "8", True, 2**53, [8]])
def test_a_wrong_most_is_refused(apiframe: Apiframe, vicsee: VicSee, wrong: Any) -> None:
    for path in ("/images/upscale", "/images/upscale/quote"):
        answer = apiframe.post(path, json=topaz_body(NOWHERE) | {"maxCredits": wrong})
        assert answer.status_code == 400
        assert list(answer.json()["details"]) == ["maxCredits"]
    for path in ("/tools/upscale-image", "/tools/upscale-image/quote"):
        answer = vicsee.post(path, json={"image_url": NOWHERE, "max_credits": wrong})
        assert_refused(answer, 400, "INVALID_MAX_CREDITS")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"width": 5},
        {"height": 5},
        {"width": 5, "height": 0},
        {"width": -5, "height": 5},
        {"width": 5.5, "height": 5},
        {"width": "5", "height": 5},
        {"width": True, "height": 5},
        {"width": 10**7, "height": 5},
        {"width": 10**6, "height": 10**6},
        {"image": NOWHERE, "width": 5, "height": 5},
        {"image": NOWHERE, "width": 5},
        {"width": 5, "height": 5, "nonsense": 1},
    ],
)
def test_a_wrong_size_is_refused(apiframe: Apiframe, params: dict[str, Any]) -> None:
    body = {"model": TOPAZ, "topazUpscaleParams": params}
    answer = apiframe.post("/images/upscale/quote", json=body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "MISSING_IMAGE_URL"),
        ({"image_url": ""}, 400, "MISSING_IMAGE_URL"),
        ({"width": 5}, 400, "INVALID_DIMENSIONS"),
        ({"height": 5}, 400, "INVALID_DIMENSIONS"),
        ({"width": 5, "height": 0}, 400, "INVALID_DIMENSIONS"),
        ({"width": "5", "height": 5}, 400, "INVALID_DIMENSIONS"),
        ({"width": 5, "height": 5, "format": "gif"}, 400, "INVALID_FORMAT"),
        ({"image_url": NOWHERE, "format": "png"}, 400, "INVALID_FORMAT"),
        ({"image_url": NOWHERE, "width": 5, "height": 5}, 400, "INVALID_DIMENSIONS"),
        ({"width": 5, "height": 5, "upscale_factor": "3"}, 400, "INVALID_UPSCALE_FACTOR"),
        ({"width": 5, "height": 5, "nonsense": 1}, 400, "INVALID_FIELD"),
        ({"width": 20_001, "height": 5, "upscale_factor": "1"}, 422, "OUTPUT_TOO_LARGE"),
        ({"width": 10**6, "height": 10**6}, 422, "PROBE_FAILED"),
        ({"image_url": NOWHERE}, 422, "PROBE_FAILED"),
    ],
)
def test_a_wrong_task_is_refused(
    vicsee: VicSee, body: dict[str, Any], status: int, code: str
) -> None:
    answer = vicsee.post("/tools/upscale-image/quote", json=body)
    assert_refused(answer, status, code)


def test_a_quote_needs_a_key(service: Running) -> None:
    for path in ("/v2/images/upscale/quote", "/api/v1/tools/upscale-image/quote"):
        assert service.http.post(path, content=b"{not json").status_code == 401


def test_quotes_take_turns_at_fetching_with_submissions(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    with ExitStack() as taken:
        for _ in range(MAX_FETCHES_EACH):
            taken.enter_context(service.services.submissions.fetches.taken(apiframe.customer.id))
        answer = apiframe.post("/images/upscale/quote", json=topaz_body(photo))
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
    assert quoted(apiframe, topaz_body(photo))["allowed"]


def cap(service: Running, client: Client, caps: Caps) -> None:
    """Give the customer's key these caps."""
    kv = service.services.kv
    row = kv.get(Key(f"keys#{client.customer.id}", client.customer.opened.key.key.id))
    assert row is not None
    item = kv.get(Key(f"key#{row.value['sha256']}", "key"))
    assert item is not None
    key = ApiKey.model_validate(item.value).model_copy(update={"caps": caps})
    kv.commit(Put(item.key, key.model_dump(), replaces=item.version))
    assert find_account(kv, client.customer.id)
