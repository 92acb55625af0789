"""Submitting in the VicSee dialect: both routes, their limits, and what a task costs."""

import re
from typing import Any
from uuid import UUID

import pytest

from billing.pricing import Prices
from tests.handlers.clients import NOWHERE, TOPAZ, VicSee, assert_refused, kept_job
from tests.handlers.pictures import encoded, promised
from tests.handlers.working import complete
from tests.running import Clock, Origin, Running, running

TASK_ID = re.compile(r"task_[0-9a-f]{32}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ROUTES = ["/tools/upscale-image", "/generate"]


def body_for(route: str, said: dict[str, Any]) -> dict[str, Any]:
    """The same request, as each route wants it."""
    return said if route == "/tools/upscale-image" else {"model": TOPAZ, "input": said}


def test_the_documented_example_is_answered_to_the_field(vicsee: VicSee, origin: Origin) -> None:
    origin.files["/hd.png"] = promised(1280, 720)
    answer = vicsee.upscale(image_url=f"{origin.url}/hd.png", upscale_factor="4")
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert TASK_ID.fullmatch(data["id"])
    assert MOMENT.fullmatch(data["createdAt"])
    assert answer.json() == {
        "success": True,
        "data": {
            "id": data["id"],
            "model": "topaz-image-upscale",
            "status": "pending",
            "input": {
                "image_url": f"{origin.url}/hd.png",
                "upscale_factor": "4",
                "detected_dimensions": "1280\u00d7720",
                "output_tier": "4k",
            },
            "creditsUsed": 40,
            "creditsRemaining": 960,
            "createdAt": data["createdAt"],
        },
    }


def test_generate_answers_the_same_without_the_input(vicsee: VicSee, photo: str) -> None:
    answer = vicsee.post(
        "/generate", json={"model": TOPAZ, "input": {"image_url": photo, "upscale_factor": "4"}}
    )
    data = answer.json()["data"]
    assert answer.json() == {
        "success": True,
        "data": {
            "id": data["id"],
            "model": TOPAZ,
            "status": "pending",
            "creditsUsed": 40,
            "creditsRemaining": 960,
            "createdAt": data["createdAt"],
        },
    }
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("said", "echoed", "tier", "credits"),
    [
        ({}, "2", "2k", 20),
        ({"upscale_factor": "1"}, "1", "2k", 20),
        ({"upscale_factor": "2"}, "2", "2k", 20),
        ({"upscale_factor": "4"}, "4", "4k", 40),
        ({"upscale_factor": "8"}, "8", "8k", 80),
        ({"upscale_factor": 1}, "1", "2k", 20),
        ({"upscale_factor": 2}, "2", "2k", 20),
        ({"upscale_factor": 4}, "4", "4k", 40),
        ({"upscale_factor": 8}, "8", "8k", 80),
    ],
)
def test_each_factor_has_its_tier_and_its_price(
    vicsee: VicSee, photo: str, said: dict[str, Any], echoed: str, tier: str, credits: int
) -> None:
    data = vicsee.upscale(image_url=photo, **said).json()["data"]
    assert data["input"]["upscale_factor"] == echoed
    assert data["input"]["output_tier"] == tier
    assert (data["creditsUsed"], data["creditsRemaining"]) == (credits, 1000 - credits)
    left = vicsee.left()
    assert (left.balance.available, left.balance.held) == (1000 - credits, credits)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("size", [(1, 1), (2500, 2500)])
def test_the_price_does_not_depend_on_the_size(
    vicsee: VicSee, origin: Origin, route: str, size: tuple[int, int]
) -> None:
    origin.files["/any.png"] = promised(*size)
    said = {"image_url": f"{origin.url}/any.png", "upscale_factor": "8"}
    assert vicsee.post(route, json=body_for(route, said)).json()["data"]["creditsUsed"] == 80


@pytest.mark.parametrize("orientation", range(1, 9))
def test_dimensions_are_those_displayed(vicsee: VicSee, origin: Origin, orientation: int) -> None:
    origin.files["/turned.jpg"] = encoded(16, 12, kind="JPEG", orientation=orientation)
    data = vicsee.upscale(image_url=f"{origin.url}/turned.jpg").json()["data"]
    shown = "16\u00d712" if orientation < 5 else "12\u00d716"
    assert data["input"]["detected_dimensions"] == shown


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("size", "factor", "is_accepted"),
    [
        ((20_000, 10), 1, True),
        ((20_001, 10), 1, False),
        ((10, 20_000), 1, True),
        ((10, 20_001), 1, False),
        ((10_000, 10), 2, True),
        ((10_001, 10), 2, False),
        ((5_000, 10), 4, True),
        ((10, 5_001), 4, False),
        ((2_500, 10), 8, True),
        ((2_501, 10), 8, False),
        ((20_000, 20_000), 1, True),
    ],
)
def test_twenty_thousand_pixels_pass_and_one_more_does_not(
    vicsee: VicSee,
    origin: Origin,
    route: str,
    size: tuple[int, int],
    factor: int,
    is_accepted: bool,
) -> None:
    origin.files["/side.png"] = promised(*size)
    said = {"image_url": f"{origin.url}/side.png", "upscale_factor": factor}
    answer = vicsee.post(route, json=body_for(route, said))
    if is_accepted:
        assert answer.status_code == 200
    else:
        assert_refused(answer, 422, "OUTPUT_TOO_LARGE")
        assert vicsee.left().balance.available == 1000


def test_a_private_cap_on_megapixels_is_told_in_the_same_way(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock, origin: Origin
) -> None:
    prices = Prices.model_validate({"topaz_tiers": [{"megapixels": 1, "credits": 5}]})
    origin.files["/large.png"] = promised(1001, 1000)
    folder = tmp_path_factory.mktemp("capped")
    with running(folder, clock=clock, prices=prices, models=frozenset({TOPAZ})) as capped:
        vicsee = VicSee(capped, capped.account())
        answer = vicsee.upscale(image_url=f"{origin.url}/large.png", upscale_factor="1")
        assert_refused(answer, 422, "OUTPUT_TOO_LARGE")


@pytest.mark.parametrize(
    ("kind", "width_px", "suffix"),
    [
        ("PNG", 16, "png"),
        ("JPEG", 16, "jpg"),
        ("WEBP", 16, "webp"),
        ("WEBP", 4095, "webp"),
        ("WEBP", 4096, "png"),
        ("JPEG", 5000, "jpg"),
        ("TIFF", 16, "tiff"),
    ],
)
def test_the_result_has_the_sources_format_where_that_can_hold_it(
    vicsee: VicSee, origin: Origin, kind: str, width_px: int, suffix: str
) -> None:
    origin.files["/any"] = encoded(width_px, 2, kind=kind)
    task_id = vicsee.submitted(f"{origin.url}/any", upscale_factor="4")
    complete(vicsee.service, UUID(task_id.removeprefix("task_")))
    url = vicsee.get(f"/tasks/{task_id}").json()["data"]["result"]["url"]
    assert url.endswith(f".{suffix}")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "said", [{}, {"image_url": None}, {"image_url": ""}, {"image_url": 5}, {"image_url": ["x"]}]
)
def test_without_an_image_url_nothing_is_done(
    vicsee: VicSee, route: str, said: dict[str, Any]
) -> None:
    answer = vicsee.post(route, json=body_for(route, said))
    assert_refused(answer, 400, "MISSING_IMAGE_URL", "image_url not provided")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "factor", ["3", 3, "6", 0, -1, 16, "16", 2.5, 2.0, True, None, "two", "", " 2", [2], {}]
)
def test_other_factors_are_refused(vicsee: VicSee, route: str, factor: Any) -> None:
    said = {"image_url": NOWHERE, "upscale_factor": factor}
    answer = vicsee.post(route, json=body_for(route, said))
    assert_refused(answer, 400, "INVALID_UPSCALE_FACTOR")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"upscale_facto": "8"}, "upscale_facto"),
        ({"upscale_factor": "8", "model": TOPAZ}, "model"),
        ({"b": 1, "a": 2}, "b"),
        ({"": None}, ""),
        ({"x" * 5000: 1}, "x" * 200),
    ],
)
def test_a_member_that_nobody_knows_is_refused_and_costs_nothing(
    vicsee: VicSee, photo: str, route: str, said: dict[str, Any], shown: str
) -> None:
    answer = vicsee.post(route, json=body_for(route, {"image_url": photo, **said}))
    assert_refused(answer, 400, "INVALID_FIELD", f"Unknown field: {shown}")
    left = vicsee.left()
    assert (left.balance.available, left.jobs) == (1000, [])


def test_a_member_beside_the_input_is_refused_too(vicsee: VicSee) -> None:
    body = {"model": TOPAZ, "input": {"image_url": NOWHERE}, "upscale_factor": "8"}
    answer = vicsee.post("/generate", json=body)
    assert_refused(answer, 400, "INVALID_FIELD", "Unknown field: upscale_factor")


def test_a_member_that_cannot_be_text_is_refused(vicsee: VicSee) -> None:
    body = f'{{"image_url": "{NOWHERE}", "\\ud800": 1}}'
    answer = vicsee.post("/tools/upscale-image", content=body.encode())
    assert (answer.status_code, answer.json()["success"]) == (400, False)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"input": {"image_url": NOWHERE}}, "MISSING_MODEL", "model is required"),
        ({"model": "", "input": {"image_url": NOWHERE}}, "INVALID_MODEL", "Invalid model"),
        ({"model": None, "input": {"image_url": NOWHERE}}, "INVALID_MODEL", "Invalid model"),
        ({"model": 5, "input": {"image_url": NOWHERE}}, "INVALID_MODEL", "Invalid model"),
        ({"model": "veo", "input": {"image_url": NOWHERE}}, "INVALID_MODEL", "Invalid model"),
        (
            {"model": "clarity-upscale", "input": {"image_url": NOWHERE}},
            "INVALID_MODEL",
            "Invalid model",
        ),
        ({"model": TOPAZ}, "MISSING_IMAGE_URL", "image_url not provided"),
        ({"model": TOPAZ, "input": "x"}, "MISSING_IMAGE_URL", "image_url not provided"),
        ({"model": "veo", "input": {"upscale_factor": 3}}, "INVALID_MODEL", "Invalid model"),
        ({"input": {"upscale_factor": 3}}, "MISSING_MODEL", "model is required"),
    ],
)
def test_generate_asks_for_the_model_first(
    vicsee: VicSee, body: dict[str, Any], code: str, message: str
) -> None:
    assert_refused(vicsee.post("/generate", json=body), 400, code, message)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "image_url",
    [
        "photo.png",
        "ftp://example.com/photo.png",
        "http://",
        "http://10.0.0.1/photo.png",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.2/photo.png",
        "http://[::1]/photo.png",
        "data:image/png;base64,AAAA",
        "data:image/png,plain",
        " ",
    ],
)
def test_an_address_that_cannot_be_probed_is_said_so(
    vicsee: VicSee, route: str, image_url: str
) -> None:
    answer = vicsee.post(route, json=body_for(route, {"image_url": image_url}))
    assert_refused(answer, 422, "PROBE_FAILED")


@pytest.mark.parametrize("route", ROUTES)
def test_too_few_credits_are_told_in_the_contracts_words(
    service: Running, photo: str, route: str
) -> None:
    poor = VicSee(service, service.account(credits=45))
    said = {"image_url": photo, "upscale_factor": "8"}
    answer = poor.post(route, json=body_for(route, said))
    message = "Insufficient credits. Required: 80, Available: 45"
    assert_refused(answer, 402, "INSUFFICIENT_CREDITS", message)
    left = poor.left()
    assert (left.balance.available, left.balance.held, left.jobs) == (45, 0, [])


def test_a_service_without_the_weights_says_so_and_charges_nothing(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock, photo: str
) -> None:
    folder = tmp_path_factory.mktemp("bare")
    with running(folder, clock=clock, models=frozenset()) as bare:
        vicsee = VicSee(bare, bare.account())
        assert_refused(vicsee.upscale(image_url=photo), 503, "SERVICE_UNAVAILABLE")
        assert vicsee.left() == (vicsee.left().balance, [], [])
        assert vicsee.left().balance.available == 1000


def test_too_many_unfinished_tasks_wait_their_turn(service: Running, photo: str) -> None:
    busy = VicSee(service, service.account(max_in_flight=1))
    busy.submitted(photo)
    answer = busy.upscale(image_url=photo)
    assert_refused(answer, 429, "RATE_LIMITED")
    assert int(answer.headers["Retry-After"]) > 0


def test_checks_run_in_the_contracts_order(service: Running, origin: Origin) -> None:
    """Every request has all the faults that come after the one it is refused for."""
    origin.files["/wide.png"] = promised(3000, 10)
    wide = {"image_url": f"{origin.url}/wide.png", "upscale_factor": 8}
    unprobed = {"image_url": f"{origin.url}/nothing.png", "upscale_factor": 8}
    steps: list[tuple[dict[str, Any], str]] = [
        ({"content": b"{"}, "INVALID_JSON"),
        ({"json": {"upscale_factor": 3, "unknown": 1}}, "MISSING_IMAGE_URL"),
        ({"json": unprobed | {"upscale_factor": 3, "unknown": 1}}, "INVALID_UPSCALE_FACTOR"),
        ({"json": unprobed | {"unknown": 1}}, "INVALID_FIELD"),
        ({"json": unprobed}, "PROBE_FAILED"),
        ({"json": wide}, "OUTPUT_TOO_LARGE"),
        ({"json": wide | {"upscale_factor": 4}}, "INSUFFICIENT_CREDITS"),
    ]
    poor = VicSee(service, service.account(credits=0, daily_requests=len(steps)))
    path = "/api/v1/tools/upscale-image"
    assert_refused(service.http.post(path, content=b"{"), 401, "MISSING_AUTH_HEADER")
    for sent, code in steps:
        assert poor.post("/tools/upscale-image", **sent).json()["error"]["code"] == code
    assert_refused(poor.post("/tools/upscale-image", content=b"{"), 429, "RATE_LIMITED")
    nobody = {"Authorization": f"Bearer sk-{'a' * 30}"}
    answer = service.http.post(path, content=b"{", headers=nobody)
    assert_refused(answer, 401, "INVALID_KEY_FORMAT")


def test_a_task_remembers_what_it_was_asked(vicsee: VicSee, photo: str) -> None:
    task_id = vicsee.submitted(photo, upscale_factor=8)
    job = kept_job(vicsee.service, UUID(task_id.removeprefix("task_")))
    assert (job.params.factor, job.params.slot, job.params.output_format) == (
        8,
        "standard-v2",
        "png",
    )
    assert job.said == {"image_url": photo, "upscale_factor": "8"}
