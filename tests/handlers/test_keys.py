"""Keys over HTTP: what each scope opens, in both dialects, and the routes under `/v2/keys`."""

import json
import re
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute

from billing.administration import create_key
from billing.keyring import MAX_KEYS
from billing.keys import EVERY_SCOPE, USUAL_SCOPES, Powers, Scope
from handlers import apiframe as apiframe_routes
from handlers import vicsee as vicsee_routes
from handlers.auth import required_scopes
from jobs.ids import iso_utc
from tests.handlers.clients import NOWHERE, Apiframe, VicSee, assert_refused, topaz_body
from tests.running import Clock, Running

DAY_S = 24 * 60 * 60
NOBODYS = "key_0123456789abcdef"
NO_CAPS = {
    "jobCredits": None, "dayCredits": None, "dayJobs": None, "monthCredits": None,
    "monthJobs": None, "models": None,
}  # fmt: skip

APIFRAME_ROUTES = [
    ("POST", "/v2/images/upscale", Scope.JOBS_WRITE),
    ("POST", "/v2/images/upscale/quote", Scope.JOBS_WRITE),
    ("POST", "/v2/uploads", Scope.JOBS_WRITE),
    ("GET", "/v2/jobs", Scope.JOBS_READ),
    ("GET", "/v2/jobs/not-an-id", Scope.JOBS_READ),
    ("GET", "/v2/jobs/not-an-id/events", Scope.JOBS_READ),
    ("POST", "/v2/jobs/not-an-id/cancel", Scope.JOBS_WRITE),
    ("DELETE", "/v2/jobs/not-an-id", Scope.JOBS_WRITE),
    ("GET", "/v2/jobs/not-an-id/deliveries", Scope.JOBS_READ),
    ("POST", "/v2/jobs/not-an-id/deliveries/completed/redeliver", Scope.JOBS_WRITE),
    ("POST", "/v2/webhooks/test", Scope.JOBS_WRITE),
    ("GET", "/v2/webhooks/secret", Scope.ADMIN),
    ("POST", "/v2/webhooks/secret/rotate", Scope.ADMIN),
    ("GET", "/v2/usage", Scope.BILLING),
    ("GET", "/v2/billing/entries", Scope.BILLING),
    ("GET", "/v2/members", Scope.ADMIN),
    ("POST", "/v2/members", Scope.ADMIN),
    ("DELETE", "/v2/members/usr_0123456789abcdef", Scope.ADMIN),
    ("GET", "/v2/keys", Scope.ADMIN),
    ("POST", "/v2/keys", Scope.ADMIN),
    ("PATCH", f"/v2/keys/{NOBODYS}", Scope.ADMIN),
    ("POST", f"/v2/keys/{NOBODYS}/rotate", Scope.ADMIN),
    ("DELETE", f"/v2/keys/{NOBODYS}", Scope.ADMIN),
]
VICSEE_ROUTES = [
    ("POST", "/api/v1/tools/upscale-image", Scope.JOBS_WRITE),
    ("POST", "/api/v1/tools/upscale-image/quote", Scope.JOBS_WRITE),
    ("POST", "/api/v1/generate", Scope.JOBS_WRITE),
    ("POST", "/api/v1/upload", Scope.JOBS_WRITE),
    ("GET", "/api/v1/tasks/task_1", Scope.JOBS_READ),
    ("GET", "/api/v1/tasks/task_1/download", Scope.JOBS_READ),
    ("GET", "/api/v1/tasks/task_1/events", Scope.JOBS_READ),
    ("POST", "/api/v1/tasks/task_1/cancel", Scope.JOBS_WRITE),
    ("DELETE", "/api/v1/tasks/task_1", Scope.JOBS_WRITE),
]
FOR_EVERY_KEY = {"/me", "/credits"}


def said(customer: Apiframe, method: str, path: str, **content: Any) -> httpx2.Response:
    """What is answered to a customer's first key."""
    return customer.service.http.request(method, f"/v2{path}", headers=customer.headers, **content)


def made(customer: Apiframe, **body: Any) -> Any:
    answer = said(customer, "POST", "/keys", json={"name": "made"} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def holder(customer: Apiframe, shown: Any) -> "Holder":
    return Holder(customer.service, customer.customer, key=shown["key"])


class Holder(Apiframe):
    """The same customer with another key."""

    def __init__(self, service: Running, customer: Any, *, key: str) -> None:
        super().__init__(service, customer)
        self.key = key

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key}


def with_scopes(customer: Apiframe, *scopes: Scope) -> Any:
    """A new key with those scopes, in both spellings."""
    services = customer.service.services
    return create_key(
        services.kv, customer.customer.id, name="scoped", now_ms=services.clock(),
        powers=Powers(scopes),
    )  # fmt: skip


def lacking(customer: Apiframe, scope: Scope) -> Any:
    return with_scopes(customer, *(each for each in EVERY_SCOPE if each is not scope))


def refused(answer: httpx2.Response, status: int, error: str) -> None:
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_every_guarded_route_says_which_scope_it_needs() -> None:
    guarded = [
        *apiframe_routes.guarded.routes,
        *vicsee_routes.guarded.routes,
        *vicsee_routes.uncounted.routes,
    ]
    for route in guarded:
        assert isinstance(route, APIRoute)
        assert len(required_scopes(route)) == (route.path not in FOR_EVERY_KEY), route.path


@pytest.mark.parametrize(("method", "path", "scope"), APIFRAME_ROUTES)
def test_without_the_scope_nothing_else_is_looked_at(
    apiframe: Apiframe, method: str, path: str, scope: Scope
) -> None:
    headers = {"X-API-Key": lacking(apiframe, scope).apiframe_spelling}
    answer = apiframe.service.http.request(method, path, headers=headers, content=b"{not json")
    refused(answer, 403, f"This key lacks the scope {scope}")


@pytest.mark.parametrize(("method", "path", "scope"), VICSEE_ROUTES)
def test_without_the_scope_nothing_else_is_looked_at_by_vicsee(
    apiframe: Apiframe, method: str, path: str, scope: Scope
) -> None:
    headers = {"Authorization": f"Bearer {lacking(apiframe, scope).vicsee_spelling}"}
    answer = apiframe.service.http.request(method, path, headers=headers, content=b"{not json")
    assert_refused(answer, 403, "FORBIDDEN", f"This key lacks the scope {scope}")


@pytest.mark.parametrize(("method", "path", "scope"), [*APIFRAME_ROUTES, *VICSEE_ROUTES])
def test_the_scope_alone_is_enough(
    apiframe: Apiframe, method: str, path: str, scope: Scope
) -> None:
    key = with_scopes(apiframe, scope)
    headers = {
        "X-API-Key": key.apiframe_spelling, "Authorization": f"Bearer {key.vicsee_spelling}"
    }  # fmt: skip
    answer = apiframe.service.http.request(method, path, headers=headers, content=b"{not json")
    assert answer.status_code in (200, 204, 400, 404)


@pytest.mark.parametrize("scope", EVERY_SCOPE)
def test_every_key_may_ask_whose_it_is_and_what_is_left(apiframe: Apiframe, scope: Scope) -> None:
    key = with_scopes(apiframe, scope)
    headers = {
        "X-API-Key": key.apiframe_spelling, "Authorization": f"Bearer {key.vicsee_spelling}"
    }  # fmt: skip
    me = apiframe.service.http.get("/v2/me", headers=headers).json()
    assert me["apiKey"]["id"] == key.key.id
    credits = apiframe.service.http.get("/api/v1/credits", headers=headers).json()
    assert credits["data"]["credits"] == me["team"]["credits"]


def test_a_key_of_the_owner_submits_in_both_dialects(
    apiframe: Apiframe, vicsee: VicSee, photo: str
) -> None:
    apiframe.submitted(photo)
    vicsee.submitted(photo)


def test_a_new_key_is_shown_whole_once_and_kept_out_of_caches(
    apiframe: Apiframe, clock: Clock
) -> None:
    answer = said(apiframe, "POST", "/keys", json={"name": "laptop"})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    shown = answer.json()
    body = shown.pop("key").removeprefix("afk_")
    assert shown.pop("vicseeKey") == f"sk-{body}"
    assert re.fullmatch(r"key_[0-9a-f]{16}", shown.pop("id"))
    assert shown == {
        "name": "laptop",
        "prefix": f"afk_{body}"[:8],
        "state": "active",
        "scopes": list(USUAL_SCOPES),
        "caps": NO_CAPS,
        "createdAt": iso_utc(clock()),
        "expiresAt": None,
        "lastUsedOn": None,
        "replacedBy": None,
        "sandbox": False,
        "memberId": apiframe.customer.id,
    }
    assert body not in said(apiframe, "GET", "/keys").text


def test_a_new_key_has_what_was_wished_for(apiframe: Apiframe) -> None:
    caps = {"jobCredits": 5, "dayJobs": 7, "models": ["clarity-upscale"]}
    shown = made(
        apiframe, name=" build ", scopes=["jobs:read", "jobs:write"],
        expiresAt="2999-12-31T23:00:00+02:00", caps=caps,
    )  # fmt: skip
    assert shown["name"] == "build"
    assert shown["scopes"] == ["jobs:read", "jobs:write"]
    assert shown["expiresAt"] == "2999-12-31T21:00:00.000Z"
    assert shown["caps"] == NO_CAPS | caps


def test_a_new_key_works_in_both_dialects(apiframe: Apiframe) -> None:
    shown = made(apiframe)
    http = apiframe.service.http
    assert http.get("/v2/me", headers={"X-API-Key": shown["key"]}).status_code == 200
    bearer = {"Authorization": f"Bearer {shown['vicseeKey']}"}
    assert http.get("/api/v1/credits", headers=bearer).status_code == 200


def test_a_sandbox_key_is_shown_as_one_and_has_only_what_it_can_have(apiframe: Apiframe) -> None:
    shown = made(apiframe, sandbox=True)
    assert shown["sandbox"] is True
    assert shown["scopes"] == ["jobs:write", "jobs:read"]
    assert (shown["key"][:9], shown["vicseeKey"][:8]) == ("afk_test_", "sk-test_")
    listed = {key["id"]: key["sandbox"] for key in said(apiframe, "GET", "/keys").json()["keys"]}
    assert listed.pop(shown["id"]) is True
    assert set(listed.values()) == {False}
    rotated = said(apiframe, "POST", f"/keys/{shown['id']}/rotate").json()
    assert (rotated["sandbox"], rotated["key"][:9]) == (True, "afk_test_")


def test_a_sandbox_key_with_a_scope_over_money_is_refused(apiframe: Apiframe) -> None:
    body = {"name": "tests", "sandbox": True, "scopes": ["jobs:read", "billing"]}
    told = "A sandbox key can have the scopes jobs:write and jobs:read alone"
    refused(said(apiframe, "POST", "/keys", json=body), 400, told)


def test_a_new_keys_caps_hold(apiframe: Apiframe, photo: str) -> None:
    capped = holder(apiframe, made(apiframe, caps={"dayJobs": 1}))
    capped.submitted(photo)
    answer = capped.topaz(photo)
    assert answer.status_code == 402
    assert "1 jobs a day" in answer.json()["error"]


def test_a_key_cannot_give_a_scope_that_it_lacks(apiframe: Apiframe) -> None:
    admin = holder(apiframe, made(apiframe, scopes=["admin", "jobs:read"]))
    answer = said(admin, "POST", "/keys", json={"name": "x", "scopes": ["jobs:write"]})
    told = "This key lacks the scope jobs:write, so it cannot give it to another"
    refused(answer, 403, told)
    assert made(admin)["scopes"] == ["jobs:read"]


def test_a_key_that_has_nothing_to_give_must_say_what_it_gives(apiframe: Apiframe) -> None:
    admin = holder(apiframe, made(apiframe, scopes=["admin"]))
    answer = said(admin, "POST", "/keys", json={"name": "x"})
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == ["scopes"]
    assert made(admin, scopes=["admin"])["scopes"] == ["admin"]


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": 5}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "zero\0"}, "name"),
        ({"name": "x", "nonsense": 1}, "nonsense"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": "jobs:read"}, "scopes"),
        ({"name": "x", "scopes": ["jobs:delete"]}, "scopes.0"),
        ({"name": "x", "scopes": ["jobs:read"] * 5}, "scopes"),
        ({"name": "x", "expiresAt": "tomorrow"}, "expiresAt"),
        ({"name": "x", "expiresAt": "2" * 10_000}, "expiresAt"),
        ({"name": "x", "expiresAt": 4_000_000_000}, "expiresAt"),
        ({"name": "x", "expiresAt": True}, "expiresAt"),
        ({"name": "x", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"name": "x", "expiresAt": "0001-01-01T00:00:00+23:00"}, "expiresAt"),
        ({"name": "x", "caps": []}, "caps"),
        ({"name": "x", "caps": {"jobCredits": 0}}, "caps.jobCredits"),
        ({"name": "x", "caps": {"dayJobs": -1}}, "caps.dayJobs"),
        ({"name": "x", "caps": {"monthCredits": 1.5}}, "caps.monthCredits"),
        ({"name": "x", "caps": {"monthJobs": 10**20}}, "caps.monthJobs"),
        ({"name": "x", "caps": {"dayCredits": "5"}}, "caps.dayCredits"),
        ({"name": "x", "caps": {"dayCredits": True}}, "caps.dayCredits"),
        ({"name": "x", "caps": {"models": []}}, "caps.models"),
        ({"name": "x", "caps": {"models": ["nonsense"]}}, "caps.models.0"),
        ({"name": "x", "caps": {"hourJobs": 1}}, "caps.hourJobs"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_and_no_key_made(
    apiframe: Apiframe, body: dict[str, Any], member: str
) -> None:
    answer = said(apiframe, "POST", "/keys", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "Validation error"
    assert list(answer.json()["details"]) == [member]
    assert len(said(apiframe, "GET", "/keys").json()["keys"]) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b'{"name": NaN}', b'{"name": "\\ud800"}', b"\xff\xfe"],
)
def test_a_body_that_is_no_wish_is_refused(apiframe: Apiframe, content: bytes) -> None:
    for method, path in (("POST", "/keys"), ("PATCH", f"/keys/{NOBODYS}")):
        answer = said(apiframe, method, path, content=content)
        assert answer.status_code == 400, (method, answer.text)
        assert isinstance(answer.json()["error"], str)


def test_a_list_is_paged_to_its_end(apiframe: Apiframe) -> None:
    ids = {made(apiframe)["id"] for _ in range(4)}
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    for _ in range(3):
        page = apiframe.get("/keys", **query).json()
        found += [key["id"] for key in page["keys"]]
        query["cursor"] = page["nextCursor"]
    assert (page["hasMore"], page["nextCursor"]) == (False, None)
    assert found == sorted(ids | {apiframe.customer.opened.key.key.id})


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": -1}, {"limit": 101}, {"limit": 10**30}, {"limit": "x"},
        {"cursor": ""}, {"cursor": "x"}, {"cursor": "key_" + "0" * 10_000}, {"cursor": "key_\0"},
    ],
)  # fmt: skip
def test_a_page_that_makes_no_sense_is_refused(apiframe: Apiframe, query: dict[str, Any]) -> None:
    assert apiframe.get("/keys", **query).status_code == 400


def test_a_list_says_on_which_day_a_key_was_last_used(apiframe: Apiframe, clock: Clock) -> None:
    unused = made(apiframe)["id"]
    clock.advance(seconds=DAY_S)
    listed = {key["id"]: key["lastUsedOn"] for key in apiframe.get("/keys").json()["keys"]}
    assert listed == {apiframe.customer.opened.key.key.id: iso_utc(clock())[:10], unused: None}


def test_an_edit_changes_what_it_names(apiframe: Apiframe) -> None:
    key = made(apiframe, caps={"jobCredits": 5, "dayJobs": 7})
    path = f"/keys/{key['id']}"
    renamed = said(apiframe, "PATCH", path, json={"name": "other"}).json()
    assert renamed == {name: key[name] for name in renamed} | {"name": "other"}
    edit = {"caps": {"dayJobs": None, "monthJobs": 9}}
    capped = said(apiframe, "PATCH", path, json=edit).json()
    assert capped["caps"] == NO_CAPS | {"jobCredits": 5, "monthJobs": 9}
    assert said(apiframe, "PATCH", path, json={"caps": None}).json()["caps"] == NO_CAPS
    assert said(apiframe, "PATCH", path, json={}).json() == renamed | {"caps": NO_CAPS}


def test_a_paused_key_is_let_in_no_more_until_it_is_resumed(apiframe: Apiframe) -> None:
    key = made(apiframe)
    paused = holder(apiframe, key)
    edited = said(apiframe, "PATCH", f"/keys/{key['id']}", json={"paused": True})
    assert edited.json()["state"] == "paused"
    refused(paused.get("/me"), 403, "API key is inactive")
    said(apiframe, "PATCH", f"/keys/{key['id']}", json={"paused": False})
    assert paused.get("/me").status_code == 200


@pytest.mark.parametrize(
    "body", [{"paused": "yes"}, {"paused": 1}, {"name": ""}, {"scopes": ["admin"]}, {"id": "x"}]
)
def test_an_edit_that_makes_no_sense_changes_nothing(
    apiframe: Apiframe, body: dict[str, Any]
) -> None:
    key_id = made(apiframe)["id"]
    before = apiframe.get("/keys").json()
    assert said(apiframe, "PATCH", f"/keys/{key_id}", json=body).status_code == 400
    assert apiframe.get("/keys").json() == before


def test_two_keys_are_live_while_one_takes_over(apiframe: Apiframe, clock: Clock) -> None:
    old = made(apiframe, name="build", caps={"dayJobs": 3})
    answer = said(apiframe, "POST", f"/keys/{old['id']}/rotate")
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    new = answer.json()
    assert (new["name"], new["scopes"], new["caps"]) == ("build", old["scopes"], old["caps"])
    assert new["key"] != old["key"]
    for key in (old, new):
        assert holder(apiframe, key).get("/me").json()["apiKey"]["id"] == key["id"]
    listed = {key["id"]: key for key in apiframe.get("/keys").json()["keys"]}
    assert listed[old["id"]]["replacedBy"] == new["id"]
    assert listed[old["id"]]["expiresAt"] == iso_utc(clock() + DAY_S * 1000)
    clock.advance(seconds=DAY_S)
    refused(holder(apiframe, old).get("/me"), 401, "API key has expired")
    assert holder(apiframe, new).get("/me").status_code == 200
    states = {key["id"]: key["state"] for key in apiframe.get("/keys").json()["keys"]}
    assert (states[old["id"]], states[new["id"]]) == ("expired", "active")


def test_an_expired_key_is_no_key_for_vicsee(apiframe: Apiframe, clock: Clock) -> None:
    key = made(apiframe, expiresAt=iso_utc(clock() + 1000))
    clock.advance(seconds=1)
    bearer = {"Authorization": f"Bearer {key['vicseeKey']}"}
    answer = apiframe.service.http.get("/api/v1/credits", headers=bearer)
    assert_refused(answer, 401, "INVALID_API_KEY", "Invalid or inactive API key")


def test_a_key_replaces_itself_at_once(apiframe: Apiframe) -> None:
    own = apiframe.customer.opened.key.key.id
    new = said(apiframe, "POST", f"/keys/{own}/rotate", json={"graceSeconds": 0})
    assert new.json()["scopes"] == list(EVERY_SCOPE)
    refused(apiframe.get("/me"), 401, "Invalid API key")
    assert holder(apiframe, new.json()).get("/keys").status_code == 200


def test_a_key_is_not_replaced_twice(apiframe: Apiframe) -> None:
    old = made(apiframe)["id"]
    new = said(apiframe, "POST", f"/keys/{old}/rotate").json()["id"]
    again = said(apiframe, "POST", f"/keys/{old}/rotate")
    refused(again, 409, f"The key {old} has been replaced by {new}")


@pytest.mark.parametrize(
    "body",
    [
        {"graceSeconds": -1}, {"graceSeconds": 30 * DAY_S + 1}, {"graceSeconds": "5"},
        {"graceSeconds": 1.5}, {"expiresAt": "2020-01-01"}, {"scopes": ["admin"]}, [],
    ],
)  # fmt: skip
def test_a_rotation_that_makes_no_sense_is_refused(apiframe: Apiframe, body: Any) -> None:
    old = made(apiframe)["id"]
    assert said(apiframe, "POST", f"/keys/{old}/rotate", json=body).status_code == 400
    assert len(apiframe.get("/keys").json()["keys"]) == 2


def test_a_revoked_key_is_refused_with_the_next_request_and_revoking_it_again_is_quiet(
    apiframe: Apiframe,
) -> None:
    key = made(apiframe)
    assert holder(apiframe, key).get("/me").status_code == 200
    for _ in range(2):
        answer = said(apiframe, "DELETE", f"/keys/{key['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
    refused(holder(apiframe, key).get("/me"), 401, "Invalid API key")
    edit = said(apiframe, "PATCH", f"/keys/{key['id']}", json={"paused": False})
    refused(edit, 409, f"The key {key['id']} has been revoked, which is for good")


@pytest.mark.parametrize("key_id", [NOBODYS, "x", "key_%00", "key_%F0", "%C3%A9", "k" * 3000])
def test_what_is_no_key_is_not_found(apiframe: Apiframe, key_id: str) -> None:
    refused(said(apiframe, "PATCH", f"/keys/{key_id}", json={"name": "x"}), 404, "Key not found")
    refused(said(apiframe, "POST", f"/keys/{key_id}/rotate"), 404, "Key not found")
    refused(said(apiframe, "DELETE", f"/keys/{key_id}"), 404, "Key not found")


def test_another_accounts_key_is_not_found_and_stays_as_it_is(
    service: Running, apiframe: Apiframe
) -> None:
    other = Apiframe(service, service.account())
    key_id = other.customer.opened.key.key.id
    before = other.get("/keys").json()
    refused(said(apiframe, "PATCH", f"/keys/{key_id}", json={"name": "x"}), 404, "Key not found")
    refused(said(apiframe, "POST", f"/keys/{key_id}/rotate"), 404, "Key not found")
    refused(said(apiframe, "DELETE", f"/keys/{key_id}"), 404, "Key not found")
    assert other.get("/keys").json() == before
    assert key_id not in apiframe.get("/keys").text


def test_one_key_too_many_is_refused(apiframe: Apiframe) -> None:
    for _ in range(MAX_KEYS - 1):
        with_scopes(apiframe, Scope.JOBS_READ)
    answer = said(apiframe, "POST", "/keys", json={"name": "one more"})
    refused(answer, 409, f"An account may have {MAX_KEYS} keys: revoke one first")


def test_no_route_promises_frameworks_own_refusal(service: Running) -> None:
    paths = service.http.get("/v2/openapi.json").json()["paths"]
    routes = [
        operation
        for path in paths
        if path.startswith("/keys")
        for operation in paths[path].values()
    ]
    assert len(routes) == 5
    assert not any("422" in route["responses"] for route in routes)


def test_what_a_refused_submission_would_have_cost_is_left(apiframe: Apiframe) -> None:
    before = apiframe.left()
    key = lacking(apiframe, Scope.JOBS_WRITE)
    headers = {"X-API-Key": key.apiframe_spelling}
    answer = apiframe.service.http.post(
        "/v2/images/upscale", headers=headers, content=json.dumps(topaz_body(NOWHERE))
    )
    assert answer.status_code == 403
    assert apiframe.left() == before
