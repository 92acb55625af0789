"""`/v2/me`, `/v2/models`, `/v2/uploads` and the OpenAPI document."""

import io
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI

from handlers.apiframe import MAX_UPLOAD_BYTES
from tests.handlers.clients import CLARITY, TOPAZ, Apiframe
from tests.handlers.pictures import encoded
from tests.handlers.working import complete
from tests.running import Clock, Running, picture

TWO_HOURS_S = 2 * 60 * 60


def test_me_tells_the_account_and_the_key(service: Running) -> None:
    apiframe = Apiframe(service, service.account(credits=77, max_in_flight=9))
    account, key = apiframe.customer.opened.account, apiframe.customer.opened.key
    assert apiframe.get("/me").json() == {
        "user": {"id": account.id, "email": account.email, "role": "owner"},
        "team": {
            "id": account.id,
            "name": "test",
            "plan": "self-hosted",
            "credits": 77,
            "maxConcurrentJobs": 9,
            "customerId": None,
        },
        "apiKey": {"id": key.key.id, "name": "default", "prefix": key.apiframe_spelling[:8]},
    }


def test_me_tells_what_is_left_of_the_credits(apiframe: Apiframe, photo: str) -> None:
    apiframe.submitted(photo)
    assert apiframe.get("/me").json()["team"]["credits"] == 992


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [TOPAZ, CLARITY]),
        ({"modality": "image"}, [TOPAZ, CLARITY]),
        ({"modality": "video"}, []),
    ],
)
def test_the_models_are_listed_by_modality(
    service: Running, query: dict[str, str], ids: list[str]
) -> None:
    models = service.http.get("/v2/models", params=query).json()["models"]
    assert [model["id"] for model in models] == ids


def test_a_model_tells_what_it_costs(service: Running) -> None:
    models = service.http.get("/v2/models").json()["models"]
    costs = [(each["costMin"], each["costMax"], each["pricingMode"]) for each in models]
    assert costs == [(8, 136, "megapixels"), (3, 3, "flat")]
    for model in models:
        assert set(model) == {
            "id", "label", "modality", "description", "costMin", "costMax", "pricingMode",
        }  # fmt: skip
        assert model["modality"] == "image"


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"),
        ("TIFF", "image/tiff"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("declared", ["application/octet-stream", "image/gif", "text/html", None])
def test_an_uploads_type_is_what_its_bytes_say(
    apiframe: Apiframe, kind: str, content_type: str, declared: str | None
) -> None:
    data = picture(kind=kind)
    answer = _upload(apiframe, data, declared=declared)
    assert answer.status_code == 201
    shown = answer.json()
    suffix = {"image/jpeg": "jpg"}.get(content_type, content_type.removeprefix("image/"))
    assert shown == {
        "id": shown["id"],
        "url": f"{apiframe.service.url}/files/uploads/{shown['id']}.{suffix}",
        "kind": "image",
        "contentType": content_type,
        "byteSize": len(data),
        "expiresAt": shown["expiresAt"],
    }
    served = apiframe.service.http.get(shown["url"])
    assert (served.content, served.headers["content-type"]) == (data, content_type)
    assert shown["expiresAt"].endswith("Z")


def test_an_upload_is_a_source_for_two_hours(apiframe: Apiframe, clock: Clock) -> None:
    url = _upload(apiframe, picture()).json()["url"]
    clock.advance(seconds=TWO_HOURS_S - 1)
    apiframe.submitted(url)
    clock.advance(seconds=1)
    answer = apiframe.topaz(url)
    assert answer.status_code == 400
    assert answer.json() == {"error": "There is no such file here, or its time is over"}
    assert apiframe.service.http.get(url).status_code == 404


def test_a_result_is_a_source_too(apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    complete(apiframe.service, job_id)
    result = apiframe.get(f"/jobs/{job_id}").json()["result"]["images"][0]
    apiframe.submitted(result)


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", picture()[:40], b"GIF89a" + bytes(50), b"<svg/>", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_picture_is_not_taken(apiframe: Apiframe, data: bytes) -> None:
    before = apiframe.left()
    answer = _upload(apiframe, data)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert apiframe.left() == before


@pytest.mark.parametrize(
    ("more_bytes", "status"), [(0, 201), (1, 400), (1024 * 1024, 400), (9 * 1024 * 1024, 400)]
)
def test_an_upload_has_at_most_25_mb(apiframe: Apiframe, more_bytes: int, status: int) -> None:
    head = encoded(16, 16, kind="JPEG")
    data = head + bytes(MAX_UPLOAD_BYTES - len(head) + more_bytes)
    before = apiframe.left()
    answer = _upload(apiframe, data)
    assert answer.status_code == status
    assert (apiframe.left() == before) is (status == 400)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"files": {"picture": ("photo.png", picture())}},
        {"data": {"file": "photo.png"}},
        {"json": {"file": "photo.png"}},
        {"content": picture(), "headers": {"Content-Type": "image/png"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    ],
)
def test_a_request_without_a_file_is_refused(apiframe: Apiframe, content: dict[str, Any]) -> None:
    answer = apiframe.post("/uploads", **content)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
    assert set(answer.json()) <= {"error", "details"}


def test_the_openapi_document_holds_no_422_and_names_the_key(service: Running) -> None:
    answer = service.http.get("/v2/openapi.json")
    document = answer.json()
    assert "422" not in answer.text.replace("4XX", "")
    assert "HTTPValidationError" not in answer.text
    assert document["openapi"].startswith("3.")
    assert document["servers"] == [{"url": "/v2"}]
    schemes = document["components"]["securitySchemes"].values()
    assert [(each["type"], each["in"], each["name"]) for each in schemes] == [
        ("apiKey", "header", "X-API-Key")
    ]


def test_the_openapi_document_lists_every_route_and_which_need_a_key(service: Running) -> None:
    paths = service.http.get("/v2/openapi.json").json()["paths"]
    guarded = {
        (method, path): "security" in operation
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert guarded == {
        ("post", "/images/upscale"): True,
        ("post", "/images/upscale/quote"): True,
        ("get", "/billing/entries"): True,
        ("get", "/billing/packs"): True,
        ("get", "/billing/purchases"): True,
        ("get", "/billing/subscriptions"): True,
        ("post", "/billing/checkout"): True,
        ("post", "/billing/portal"): True,
        ("get", "/billing/auto-topup"): True,
        ("put", "/billing/auto-topup"): True,
        ("delete", "/billing/auto-topup"): True,
        ("get", "/usage"): True,
        ("get", "/keys"): True,
        ("post", "/keys"): True,
        ("patch", "/keys/{key_id}"): True,
        ("post", "/keys/{key_id}/rotate"): True,
        ("delete", "/keys/{key_id}"): True,
        ("get", "/members"): True,
        ("post", "/members"): True,
        ("delete", "/members/{member_id}"): True,
        ("get", "/jobs/{job_id}"): True,
        ("post", "/jobs/{job_id}/cancel"): True,
        ("get", "/jobs/{job_id}/events"): True,
        ("delete", "/jobs/{job_id}"): True,
        ("get", "/jobs"): True,
        ("get", "/jobs/{job_id}/deliveries"): True,
        ("post", "/jobs/{job_id}/deliveries/{event}/redeliver"): True,
        ("post", "/webhooks/test"): True,
        ("get", "/webhooks/secret"): True,
        ("post", "/webhooks/secret/rotate"): True,
        ("get", "/me"): True,
        ("post", "/uploads"): True,
        ("get", "/models"): False,
        ("get", "/credits-notice"): False,
    }


@pytest.mark.parametrize("prefix", ["/v2", "/api/v1"])
def test_the_openapi_document_is_valid_and_whole(service: Running, prefix: str) -> None:
    document = service.http.get(f"{prefix}/openapi.json").json()
    OpenAPI.model_validate(document)
    for reference in _references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_the_openapi_document_describes_a_submission(service: Running) -> None:
    document = service.http.get("/v2/openapi.json").json()
    schemas = document["components"]["schemas"]
    submission = document["paths"]["/images/upscale"]["post"]
    body = submission["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/UpscaleRequest"}
    assert schemas["UpscaleRequest"]["discriminator"]["propertyName"] == "model"
    assert schemas["TopazParams"]["properties"]["upscale_factor"]["enum"] == [1, 2, 4, 6]
    assert schemas["ClarityParams"]["properties"]["scale_factor"]["enum"] == [1, 2, 4, 8]
    assert schemas["TopazParams"]["additionalProperties"] is False
    assert {"202", "400", "401", "402", "403", "409", "429", "503"} <= set(submission["responses"])


def _upload(apiframe: Apiframe, data: bytes, *, declared: str | None = None) -> Any:
    file = ("photo", io.BytesIO(data))
    named = file if declared is None else (*file, declared)
    return apiframe.post("/uploads", files={"file": named})


def _references(part: Any) -> list[str]:
    """Every `$ref` in the document."""
    if isinstance(part, list):
        return [each for item in part for each in _references(item)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if "$ref" in part else []
    return own + [each for value in part.values() for each in _references(value)]
