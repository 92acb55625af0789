"""The VicSee dialect besides submitting: keys, the daily quota, tasks, uploads and lists."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from billing.administration import set_key_state
from billing.keys import KeyState
from jobs.ids import iso_utc
from tests.handlers.clients import NOWHERE, TOPAZ, VicSee, assert_refused
from tests.handlers.working import (
    QUALITY,
    RESULT,
    SHOWN_QUALITY,
    cancel,
    complete,
    fail,
    start,
)
from tests.running import Clock, Running, picture, running

DAY_MS = 24 * 60 * 60 * 1000
NINETY_DAYS_S = 90 * 24 * 60 * 60
ROUTES = [
    ("POST", "/api/v1/tools/upscale-image"),
    ("POST", "/api/v1/generate"),
    ("POST", "/api/v1/upload"),
    ("GET", "/api/v1/tasks/task_1"),
    ("GET", "/api/v1/tasks/task_1/download"),
    ("GET", "/api/v1/credits"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("header", "code", "message"),
    [
        (None, "MISSING_AUTH_HEADER", "Missing Authorization header"),
        ("", "MISSING_AUTH_HEADER", "Missing Authorization header"),
        ("Bearer", "INVALID_AUTH_FORMAT", "Invalid Authorization format"),
        ("Basic abc", "INVALID_AUTH_FORMAT", "Invalid Authorization format"),
        ("sk-abc", "INVALID_AUTH_FORMAT", "Invalid Authorization format"),
        ("Bearer abc", "INVALID_KEY_FORMAT", "Invalid API key format"),
        ("Bearer afk_abc", "INVALID_KEY_FORMAT", "Invalid API key format"),
        ("Bearer sk-", "INVALID_KEY_FORMAT", "Invalid API key format"),
        (f"Bearer sk-{'a' * 30}", "INVALID_KEY_FORMAT", "Invalid API key format"),
        ("Bearer sk-é", "INVALID_KEY_FORMAT", "Invalid API key format"),
    ],
)
def test_without_a_good_key_nothing_else_is_looked_at(
    service: Running, method: str, path: str, header: str | None, code: str, message: str
) -> None:
    headers = [] if header is None else [(b"authorization", header.encode())]
    answer = service.http.request(method, path, headers=headers, content=b"{not json")
    assert_refused(answer, 401, code, message)


@pytest.mark.parametrize("state", [KeyState.REVOKED, KeyState.INACTIVE])
def test_a_key_out_of_use_is_refused_at_once(
    service: Running, vicsee: VicSee, state: KeyState
) -> None:
    assert vicsee.get("/credits").status_code == 200
    key_id = vicsee.customer.opened.key.key.id
    set_key_state(service.services.kv, vicsee.customer.id, key_id=key_id, state=state)
    answer = vicsee.get("/credits")
    assert_refused(answer, 401, "INVALID_API_KEY", "Invalid or inactive API key")


def test_an_unknown_key_of_the_right_form_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        running(tmp_path_factory.mktemp("one")) as one,
        running(tmp_path_factory.mktemp("other")) as other,
    ):
        stranger = VicSee(other, one.account())
        answer = stranger.get("/credits")
    assert_refused(answer, 401, "INVALID_API_KEY", "Invalid or inactive API key")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_have_any_case(vicsee: VicSee, scheme: str) -> None:
    key = vicsee.customer.opened.key.vicsee_spelling
    headers = {"authorization": f"{scheme} {key}"}
    assert vicsee.service.http.get("/api/v1/credits", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/", 404, "NOT_FOUND"),
        ("GET", "/api/v1/nothing", 404, "NOT_FOUND"),
        ("GET", "/api/v1/credits/", 404, "NOT_FOUND"),
        ("GET", "/api/v1/generate", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/api/v1/credits", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/v1/models", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_unknown_routes_and_methods_have_the_envelope_and_the_quota(
    service: Running, clock: Clock, method: str, path: str, status: int, code: str
) -> None:
    answer = service.http.request(method, path)
    assert_refused(answer, status, code)
    assert _quota(answer) == ("500", "500", _midnight(clock))


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/api/v1/models")])
def test_who_is_not_known_is_shown_a_whole_quota(
    service: Running, clock: Clock, method: str, path: str
) -> None:
    answer = service.http.request(method, path)
    assert _quota(answer) == ("500", "500", _midnight(clock))


def test_submissions_count_and_polls_do_not(service: Running, clock: Clock, photo: str) -> None:
    vicsee = VicSee(service, service.account(daily_requests=9))
    seen = [_quota(vicsee.upscale(image_url=photo))]
    task_id = vicsee.submitted(photo)
    for path in (f"/tasks/{task_id}", f"/tasks/{task_id}/download", "/credits", "/tasks/x"):
        seen.append(_quota(vicsee.get(path)))
    seen.append(_quota(vicsee.upscale(image_url="")))
    remaining = ("8", "7", "7", "7", "7", "6")
    assert seen == [("9", left, _midnight(clock)) for left in remaining]


def test_the_days_requests_are_counted_exactly_in_parallel(service: Running) -> None:
    vicsee = VicSee(service, service.account(daily_requests=10))

    def submit(_: int) -> int:
        return vicsee.upscale(image_url="").status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(submit, range(30)))
    assert (statuses.count(400), statuses.count(429)) == (10, 20)


def test_the_day_ends_at_midnight_utc(service: Running, clock: Clock, photo: str) -> None:
    vicsee = VicSee(service, service.account(daily_requests=1))
    clock.now_ms = (clock.now_ms // DAY_MS + 1) * DAY_MS  # the first moment of a day
    reset = _midnight(clock)
    assert reset.endswith("T00:00:00.000Z")
    vicsee.submitted(photo)
    clock.now_ms += DAY_MS - 1  # the last
    answer = vicsee.upscale(image_url=photo)
    message = f"Rate limit exceeded. Limit: 1/day. Resets at: {reset}"
    assert_refused(answer, 429, "RATE_LIMITED", message)
    assert _quota(answer) == ("1", "0", reset)
    assert answer.headers["Retry-After"] == "1"
    assert vicsee.get("/credits").status_code == 200
    clock.now_ms += 1
    assert _quota(vicsee.upscale(image_url=photo)) == ("1", "0", _midnight(clock))
    assert vicsee.left().balance.available == 1000 - 2 * 20


def test_a_task_in_each_state_is_shown_to_the_field(
    service: Running, vicsee: VicSee, photo: str
) -> None:
    failure = {
        "code": "CORRUPT_IMAGE",
        "key": "corrupt_image",
        "message": "The image is damaged and cannot be read",
    }
    cancelled = {
        "code": "CANCELLED", "key": "cancelled", "message": "The job was cancelled",
    }  # fmt: skip
    states: list[tuple[Any, str, Any]] = [
        (None, "pending", None),
        (start, "processing", None),
        (complete, "completed", None),
        (fail, "failed", failure),
        (cancel, "failed", cancelled),
    ]
    for drive, status, error in states:
        task_id = vicsee.submitted(photo)
        job_id = UUID(task_id.removeprefix("task_"))
        if drive is not None:
            drive(service, job_id)
        url = f"{service.url}/files/images/{job_id}-1.png"
        answer = vicsee.get(f"/tasks/{task_id}")
        assert answer.status_code == 200
        created_at = answer.json()["data"]["createdAt"]
        assert created_at.endswith("Z")
        assert answer.json() == {
            "success": True,
            "data": {
                "id": task_id,
                "model": TOPAZ,
                "status": status,
                "mediaType": "image",
                "prompt": None,
                "createdAt": created_at,
                "result": {"url": url, "type": "image"} if status == "completed" else None,
                "error": error,
            },
        }


def test_a_task_tells_how_faithful_its_result_is(
    service: Running, vicsee: VicSee, photo: str
) -> None:
    task_id = vicsee.submitted(photo)
    complete(service, UUID(task_id.removeprefix("task_")), quality=QUALITY)
    result = vicsee.get(f"/tasks/{task_id}").json()["data"]["result"]
    assert set(result) == {"url", "type", "quality"}
    assert result["quality"] == SHOWN_QUALITY


@pytest.mark.parametrize("path", ["/tasks/{id}", "/tasks/{id}/download"])
def test_somebody_elses_task_is_forbidden(
    service: Running, vicsee: VicSee, photo: str, path: str
) -> None:
    theirs = VicSee(service, service.account()).submitted(photo)
    assert_refused(vicsee.get(path.format(id=theirs)), 403, "FORBIDDEN")


@pytest.mark.parametrize("path", ["/tasks/{id}", "/tasks/{id}/download"])
@pytest.mark.parametrize("task_id", [f"task_{UUID(int=7).hex}", "task_1", "nonsense", "task_%00"])
def test_an_unknown_task_is_not_found(vicsee: VicSee, path: str, task_id: str) -> None:
    answer = vicsee.get(path.format(id=task_id))
    assert_refused(answer, 404, "TASK_NOT_FOUND", "Task not found")


def test_a_result_can_be_downloaded_by_address_or_through_us(
    service: Running, vicsee: VicSee, photo: str, clock: Clock
) -> None:
    task_id = vicsee.submitted(photo)
    complete(service, UUID(task_id.removeprefix("task_")))
    answer = vicsee.get(f"/tasks/{task_id}/download").json()
    assert answer == {
        "success": True,
        "data": {
            "url": vicsee.get(f"/tasks/{task_id}").json()["data"]["result"]["url"],
            "type": "image",
            "expiresAt": iso_utc(clock.now_ms + NINETY_DAYS_S * 1000),
        },
    }
    assert service.http.get(answer["data"]["url"]).content == RESULT
    proxied = vicsee.get(f"/tasks/{task_id}/download", mode="proxy")
    assert (proxied.status_code, proxied.content) == (200, RESULT)
    assert proxied.headers["content-type"] == "image/png"
    assert proxied.headers["X-RateLimit-Limit"] == "500"


@pytest.mark.parametrize("mode", ["url", "proxy"])
@pytest.mark.parametrize("drive", [None, start, fail, cancel])
def test_without_a_result_there_is_nothing_to_download(
    service: Running, vicsee: VicSee, photo: str, drive: Any, mode: str
) -> None:
    task_id = vicsee.submitted(photo)
    if drive is not None:
        drive(service, UUID(task_id.removeprefix("task_")))
    answer = vicsee.get(f"/tasks/{task_id}/download", mode=mode)
    assert_refused(answer, 404, "NO_RESULT")


@pytest.mark.parametrize("mode", ["url", "proxy"])
def test_from_day_ninety_on_there_is_no_result(
    service: Running, vicsee: VicSee, photo: str, clock: Clock, mode: str
) -> None:
    task_id = vicsee.submitted(photo)
    complete(service, UUID(task_id.removeprefix("task_")))
    clock.advance(seconds=NINETY_DAYS_S)
    assert_refused(vicsee.get(f"/tasks/{task_id}/download", mode=mode), 404, "NO_RESULT")


def test_other_ways_to_download_are_refused(vicsee: VicSee, photo: str) -> None:
    task_id = vicsee.submitted(photo)
    assert_refused(vicsee.get(f"/tasks/{task_id}/download", mode="fax"), 400, "INVALID_MODE")


def test_the_credits_are_those_of_the_account(service: Running, vicsee: VicSee, photo: str) -> None:
    assert vicsee.get("/credits").json() == {"success": True, "data": {"credits": 1000}}
    task_id = vicsee.submitted(photo, upscale_factor="8")
    assert vicsee.get("/credits").json()["data"] == {"credits": 920}
    fail(service, UUID(task_id.removeprefix("task_")))
    assert vicsee.get("/credits").json()["data"] == {"credits": 1000}


@pytest.mark.parametrize(
    ("query", "ids"), [({}, [TOPAZ]), ({"type": "image"}, [TOPAZ]), ({"type": "video"}, [])]
)
def test_the_models_are_open_to_all(
    service: Running, query: dict[str, str], ids: list[str]
) -> None:
    answer = service.http.get("/api/v1/models", params=query)
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert [model["id"] for model in answer.json()["data"]["models"]] == ids


def test_a_model_tells_its_factors_and_their_prices(service: Running) -> None:
    model = service.http.get("/api/v1/models").json()["data"]["models"][0]
    assert model["credits"] == {"1": 20, "2": 20, "4": 40, "8": 80}
    assert model["capabilities"]["upscale_factors"] == ["1", "2", "4", "8"]
    assert model["capabilities"]["max_output_side_px"] == 20_000


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"),
        ("TIFF", "image/tiff"),
    ],
)  # fmt: skip
def test_an_upload_is_reserved_put_without_a_key_and_used(
    vicsee: VicSee, kind: str, content_type: str
) -> None:
    data = picture(kind=kind)
    place = _reserved(vicsee, data, content_type)
    assert set(place) == {"uploadUrl", "publicUrl", "key", "expiresAt"}
    assert place["publicUrl"].endswith(place["key"])
    assert vicsee.service.http.get(place["publicUrl"]).status_code == 404
    put = vicsee.service.http.put(
        place["uploadUrl"], content=data, headers={"Content-Type": content_type}
    )
    assert put.status_code in (200, 204)
    assert vicsee.service.http.get(place["publicUrl"]).content == data
    vicsee.submitted(place["publicUrl"])


def test_an_upload_that_was_not_made_is_no_source(vicsee: VicSee) -> None:
    place = _reserved(vicsee, picture(), "image/png")
    assert_refused(vicsee.upscale(image_url=place["publicUrl"]), 422, "PROBE_FAILED")


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (picture(), "image/jpeg"),
        (picture(), "application/octet-stream"),
        (picture(), ""),
        (picture() + b"x", "image/png"),
        (picture()[:-1], "image/png"),
        (b"", "image/png"),
        (bytes(len(picture())), "image/png"),
    ],
)
def test_what_is_put_must_be_what_was_reserved(
    vicsee: VicSee, data: bytes, content_type: str
) -> None:
    place = _reserved(vicsee, picture(), "image/png")
    before = vicsee.left()
    headers = {"Content-Type": content_type}
    answer = vicsee.service.http.put(place["uploadUrl"], content=data, headers=headers)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert vicsee.left() == before
    again = vicsee.service.http.put(
        place["uploadUrl"], content=picture(), headers={"Content-Type": "image/png"}
    )
    assert again.status_code in (200, 204)


def test_an_upload_is_made_once_and_within_its_time(vicsee: VicSee, clock: Clock) -> None:
    headers = {"Content-Type": "image/png"}
    place = _reserved(vicsee, picture(), "image/png")
    http = vicsee.service.http
    answers = [http.put(place["uploadUrl"], content=picture(), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 400]
    late = _reserved(vicsee, picture(), "image/png")
    clock.advance(seconds=2 * 60 * 60)
    assert http.put(late["uploadUrl"], content=picture(), headers=headers).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contentType": "image/png"},
        {"sizeBytes": 5},
        {"contentType": "image/gif", "sizeBytes": 5},
        {"contentType": "IMAGE/PNG", "sizeBytes": 5},
        {"contentType": None, "sizeBytes": 5},
        {"contentType": "image/png", "sizeBytes": 0},
        {"contentType": "image/png", "sizeBytes": -1},
        {"contentType": "image/png", "sizeBytes": 20 * 1024 * 1024 + 1},
        {"contentType": "image/png", "sizeBytes": "5"},
        {"contentType": "image/png", "sizeBytes": 5.5},
        {"contentType": "image/png", "sizeBytes": True},
    ],
)
def test_a_reservation_out_of_bounds_is_refused(vicsee: VicSee, body: dict[str, Any]) -> None:
    assert_refused(vicsee.post("/upload", json=body), 400, "INVALID_UPLOAD")


def test_a_reservation_with_a_member_that_nobody_knows_is_refused(vicsee: VicSee) -> None:
    body = {"contentType": "image/png", "sizeBytes": 5, "size": 5}
    assert_refused(vicsee.post("/upload", json=body), 400, "INVALID_FIELD", "Unknown field: size")


def test_twenty_megabytes_may_be_reserved(vicsee: VicSee) -> None:
    body = {"contentType": "image/png", "sizeBytes": 20 * 1024 * 1024}
    assert vicsee.post("/upload", json=body).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        {"content": b""},
        {"content": b"{"},
        {"json": None},
        {"json": []},
        {"json": "text"},
        {"json": 5},
        {"content": b"\xff\xfe{}"},
        {"content": b"[" * 100_000},
        {"data": {"image_url": NOWHERE}},
    ],
)
@pytest.mark.parametrize("path", ["/tools/upscale-image", "/generate", "/upload"])
def test_what_is_no_json_object_is_invalid_json(
    vicsee: VicSee, path: str, content: dict[str, Any]
) -> None:
    answer = vicsee.post(path, **content)
    assert_refused(answer, 400, "INVALID_JSON", "Invalid JSON body")


def test_the_openapi_document_names_the_bearer_key(service: Running) -> None:
    document = service.http.get("/api/v1/openapi.json").json()
    assert document["servers"] == [{"url": "/api/v1"}]
    schemes = document["components"]["securitySchemes"].values()
    assert [(each["type"], each["scheme"]) for each in schemes] == [("http", "bearer")]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def _reserved(vicsee: VicSee, data: bytes, content_type: str) -> dict[str, str]:
    body = {"contentType": content_type, "sizeBytes": len(data)}
    place: dict[str, str] = vicsee.post("/upload", json=body).json()["data"]
    return place


def _quota(answer: Any) -> tuple[str, str, str]:
    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    limit, remaining, reset = (answer.headers[name] for name in names)
    return limit, remaining, reset


def _midnight(clock: Clock) -> str:
    return iso_utc((clock.now_ms // DAY_MS + 1) * DAY_MS)
