"""Who gets into the Apiframe dialect, and in what words others are turned away."""

import pytest

from billing.administration import create_key, set_key_state
from billing.keys import KeyState
from tests.handlers.clients import Apiframe
from tests.running import Running

GUARDED = [
    ("GET", "/v2/me"),
    ("GET", "/v2/jobs"),
    ("GET", "/v2/jobs/not-an-id"),
    ("POST", "/v2/images/upscale"),
    ("POST", "/v2/uploads"),
]
OPEN = ["/v2/models", "/v2/credits-notice", "/v2/openapi.json"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({}, 401, "API key is required"),
        ({"X-API-Key": ""}, 401, "API key is required"),
        ({"X-API-Key": "nonsense"}, 401, "Invalid API key"),
        ({"X-API-Key": "afk_"}, 401, "Invalid API key"),
        ({"X-API-Key": f"afk_{'a' * 30}"}, 401, "Invalid API key"),
        ({"X-API-Key": f"afk_{'a' * 5000}"}, 401, "Invalid API key"),
        ({"X-API-Key": "afk_é"}, 401, "Invalid API key"),
        ({"Authorization": "Bearer nonsense"}, 401, "API key is required"),
    ],
)
def test_without_a_good_key_nothing_else_is_looked_at(
    service: Running, method: str, path: str, headers: dict[str, str], status: int, error: str
) -> None:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = service.http.request(method, path, headers=sent, content=b"{not json")
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize("name", ["X-API-Key", "x-api-key", "X-Api-Key", "X-API-KEY"])
def test_the_headers_name_may_have_any_case(apiframe: Apiframe, name: str) -> None:
    answer = apiframe.service.http.get(
        "/v2/me", headers={name: apiframe.customer.apiframe["X-API-Key"]}
    )
    assert answer.status_code == 200


def test_the_other_dialects_spelling_is_no_key_here(apiframe: Apiframe) -> None:
    spelling = apiframe.customer.opened.key.vicsee_spelling
    answer = apiframe.service.http.get("/v2/me", headers={"X-API-Key": spelling})
    assert (answer.status_code, answer.json()) == (401, {"error": "Invalid API key"})


@pytest.mark.parametrize(
    ("state", "status", "error"),
    [
        (KeyState.REVOKED, 401, "Invalid API key"),
        (KeyState.INACTIVE, 403, "API key is inactive"),
    ],
)
def test_a_key_that_was_put_out_of_use_is_refused_at_once_and_the_others_work(
    service: Running, apiframe: Apiframe, state: KeyState, status: int, error: str
) -> None:
    kv, account_id = service.services.kv, apiframe.customer.id
    other = create_key(kv, account_id, name="other", now_ms=service.services.clock())
    assert apiframe.get("/me").status_code == 200
    set_key_state(kv, account_id, key_id=apiframe.customer.opened.key.key.id, state=state)
    answer = apiframe.get("/me")
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    others = service.http.get("/v2/me", headers={"X-API-Key": other.apiframe_spelling})
    assert others.json()["apiKey"]["id"] == other.key.id


def test_a_paused_key_works_again_when_resumed(service: Running, apiframe: Apiframe) -> None:
    kv, key_id = service.services.kv, apiframe.customer.opened.key.key.id
    for state, status in ((KeyState.INACTIVE, 403), (KeyState.ACTIVE, 200)):
        set_key_state(kv, apiframe.customer.id, key_id=key_id, state=state)
        assert apiframe.get("/me").status_code == status


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "nonsense"}])
def test_the_open_routes_ask_for_no_key(
    service: Running, path: str, headers: dict[str, str]
) -> None:
    assert service.http.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/jobs/", 404),
        ("POST", "/v2/images/upscale/", 404),
        ("GET", "/v2/images/upscale", 405),
        ("PUT", "/v2/jobs/1", 405),
        ("POST", "/v2/models", 405),
        ("PUT", "/v2/openapi.json", 405),
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/healthz", 405),
        ("POST", "/files/uploads/a.png", 405),
        ("GET", "/files", 404),
        ("GET", "/files/", 404),
    ],
)
def test_unknown_routes_and_methods_are_refused_in_the_dialects_shape(
    service: Running, method: str, path: str, status: int
) -> None:
    answer = service.http.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *GUARDED,
        *[("GET", path) for path in OPEN],
        ("GET", "/v2/nothing"),
        ("POST", "/v2/models"),
        ("GET", "/api/v1/credits"),
        ("GET", "/api/v1/models"),
        ("GET", "/files/nothing"),
        ("GET", "/nothing"),
        ("GET", "/healthz"),
    ],
)
def test_every_answer_has_an_id_of_its_own(service: Running, method: str, path: str) -> None:
    ids = {service.http.request(method, path).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


def test_an_answered_request_has_an_id_too(apiframe: Apiframe, photo: str) -> None:
    assert apiframe.topaz(photo).headers["x-request-id"]
