"""`Idempotency-Key`: one job and one charge, however often a request is sent."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx2
import pytest

from billing.administration import grant_credits, set_key_state
from billing.keys import KeyState
from handlers.idempotency import MAX_KEY_CHARS, fingerprint
from storage.objects import ObjectsError
from tests.handlers.clients import NOWHERE, TOPAZ, Apiframe, VicSee, topaz_body
from tests.handlers.failing import FailingObjects
from tests.handlers.working import cancel, complete
from tests.running import Clock, Origin, Running, made, picture, running

AT_ONCE = 20
DAY_S = 24 * 60 * 60


def test_a_replay_answers_with_the_same_job_and_its_status_now(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    first = apiframe.topaz(photo, idempotency_key="one")
    complete(service, UUID(first.json()["jobId"]))
    replay = apiframe.topaz(photo, idempotency_key="one")
    assert replay.status_code == 202
    assert (_is_told_replayed(first), _is_told_replayed(replay)) == (False, True)
    assert replay.json() == {"jobId": first.json()["jobId"], "status": "COMPLETED"}
    left = apiframe.left()
    assert (left.balance.available, left.balance.spent, len(left.jobs)) == (992, 8, 1)


def test_a_replay_does_not_fetch_the_source_again(apiframe: Apiframe, origin: Origin) -> None:
    image = f"{origin.url}/photo.png?once"
    origin.files["/photo.png?once"] = origin.files["/photo.png"]
    for _ in range(2):
        assert apiframe.topaz(image, idempotency_key="one").status_code == 202
    assert origin.requests.count("/photo.png?once") == 1


def test_a_replay_is_answered_when_the_credits_are_spent(service: Running, photo: str) -> None:
    poor = Apiframe(service, service.account(credits=8))
    answers = [poor.topaz(photo, idempotency_key="one") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("abc", '"abc"', True),
        ('"abc"', "abc", True),
        ("abc", "abcd", False),
        ("abc", "ABC", False),
        ("a b", '"a b"', True),
        ('a"b', r'"a\"b"', True),
        (r"a\b", r'"a\\b"', True),
        ('"', r'"\""', True),
    ],
)
def test_a_key_may_be_quoted_or_bare(
    apiframe: Apiframe, photo: str, first: str, second: str, is_same: bool
) -> None:
    answers = [apiframe.topaz(photo, idempotency_key=key) for key in (first, second)]
    assert (answers[0].json() == answers[1].json()) is is_same


@pytest.mark.parametrize("separators", [(",", ":"), (" ,  ", "\n:\t")])
def test_neither_the_order_of_members_nor_spacing_makes_another_body(
    apiframe: Apiframe, photo: str, separators: tuple[str, str]
) -> None:
    first = apiframe.topaz(photo, upscale_factor=2, seed=1, idempotency_key="one")
    turned = {
        "topazUpscaleParams": {"seed": 1, "upscale_factor": 2, "image": photo},
        "model": "topaz-image-upscale",
    }
    body = json.dumps(turned, separators=separators).encode()
    headers = {"Idempotency-Key": "one", "Content-Type": "application/json"}
    replay = apiframe.post("/images/upscale", content=body, headers=headers)
    assert (replay.status_code, replay.json()) == (202, first.json())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2", "2.0", True),
        ("2", "2e0", True),
        ("200", "2.0E+2", True),
        ("-0.0", "0", True),
        ("0.5", "5e-1", True),
        ("2", "3", False),
        ("2", "2.5", False),
        ("2", '"2"', False),
        ("1", "true", False),
        ("9007199254740993.0", "9007199254740993", False),
        ('"\u00e9"', r'"\u00e9"', True),
        ('"\u00e9"', r'"e\u0301"', False),
        (r'"\ud83d\ude00"', '"\U0001f600"', True),
        (r'"\/"', '"/"', True),
        ('{"a":1,"b":[1,2]}', '{ "b" : [ 1,\n2 ], "a" : 1 }', True),
        ("[1,2]", "[2,1]", False),
        ('{"a":null}', "{}", False),
    ],
)
def test_bodies_are_the_same_if_they_mean_the_same(one: str, other: str, is_same: bool) -> None:
    assert (fingerprint(one.encode()) == fingerprint(other.encode())) is is_same


@pytest.mark.parametrize("change", [{"seed": 1}, {"upscale_factor": 2}, {"output_format": "png"}])
def test_another_body_under_the_same_key_is_a_conflict_and_changes_nothing(
    apiframe: Apiframe, photo: str, change: dict[str, Any]
) -> None:
    apiframe.topaz(photo, idempotency_key="one")
    before = apiframe.left()
    answer = apiframe.topaz(photo, idempotency_key="one", **change)
    assert answer.status_code == 409
    assert list(answer.json()) == ["error"]
    assert apiframe.left() == before


@pytest.mark.parametrize("key", ["", '""', "x" * (MAX_KEY_CHARS + 1), "tab\tinside", "é"])
def test_a_key_that_cannot_be_kept_is_refused(apiframe: Apiframe, key: str) -> None:
    headers: Any = {**apiframe.headers, "Idempotency-Key": key.encode()}
    answer = apiframe.service.http.post(
        "/v2/images/upscale", json=topaz_body(NOWHERE), headers=headers
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "Idempotency-Key must have 1 to 255 printable ASCII characters"
    }


def test_two_keys_are_refused_for_nobody_knows_which_is_meant(apiframe: Apiframe) -> None:
    keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = apiframe.service.http.post(
        "/v2/images/upscale",
        json=topaz_body(NOWHERE),
        headers=[*apiframe.headers.items(), *keys],
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("key", ["x" * MAX_KEY_CHARS, f'"{"x" * MAX_KEY_CHARS}"'])
def test_the_longest_key_is_accepted(apiframe: Apiframe, photo: str, key: str) -> None:
    assert apiframe.topaz(photo, idempotency_key=key).status_code == 202


def test_the_scope_of_a_key_is_the_account(service: Running, photo: str) -> None:
    customers = [Apiframe(service, service.account()) for _ in range(2)]
    ids = {each.topaz(photo, idempotency_key="one").json()["jobId"] for each in customers}
    assert len(ids) == 2


def test_without_a_key_each_request_is_a_job(apiframe: Apiframe, photo: str) -> None:
    answers = [apiframe.topaz(photo) for _ in range(2)]
    assert answers[0].json() != answers[1].json()
    assert not any(map(_is_told_replayed, answers))


def test_a_refused_request_does_not_use_its_key_up(apiframe: Apiframe, origin: Origin) -> None:
    image = f"{origin.url}/late.png"
    assert apiframe.topaz(image, idempotency_key="one").status_code == 400
    origin.files["/late.png"] = origin.files["/photo.png"]
    assert apiframe.topaz(image, idempotency_key="one").status_code == 202


def test_requests_at_the_same_moment_make_one_job_and_one_hold(
    apiframe: Apiframe, photo: str
) -> None:
    files_before = apiframe.left().files

    def submit(_: int) -> httpx2.Response:
        return apiframe.topaz(photo, idempotency_key="one")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(submit, range(AT_ONCE)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert len({answer.content for answer in answers}) == 1
    assert sum(map(_is_told_replayed, answers)) == AT_ONCE - 1
    left = apiframe.left()
    assert (left.balance.available, left.balance.held, len(left.jobs)) == (992, 8, 1)
    assert len(left.files) == len(files_before) + 1


def test_a_key_is_remembered_for_a_day_and_not_for_ever(
    apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    first = apiframe.topaz(photo, idempotency_key="one").json()
    clock.advance(seconds=DAY_S)
    assert apiframe.topaz(photo, idempotency_key="one").json() == first
    clock.advance(seconds=DAY_S)
    assert apiframe.topaz(photo, idempotency_key="one").json() != first


@pytest.mark.parametrize("route", ["/tools/upscale-image", "/generate"])
def test_the_other_dialect_replays_too(vicsee: VicSee, photo: str, route: str) -> None:
    headers = {"Idempotency-Key": "one"}

    def submit(**said: str) -> httpx2.Response:
        body: dict[str, Any] = {"image_url": photo, **said}
        if route == "/generate":
            body = {"model": TOPAZ, "input": body}
        return vicsee.post(route, json=body, headers=headers)

    answers = [submit() for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert list(map(_is_told_replayed, answers)) == [False, True]
    other = submit(upscale_factor="4")
    assert not _is_told_replayed(other)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert vicsee.left().balance.available == 980


def test_a_replay_tells_the_balance_of_its_own_moment(vicsee: VicSee, photo: str) -> None:
    headers = {"Idempotency-Key": "one"}
    seen = []
    for _ in range(2):
        answer = vicsee.post("/tools/upscale-image", json={"image_url": photo}, headers=headers)
        seen.append(answer.json()["data"]["creditsRemaining"])
        vicsee.submitted(photo)
    assert seen == [980, 960]


def test_a_replay_is_answered_to_the_key_that_replaced_the_first(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    first = apiframe.topaz(photo, idempotency_key="one")
    key_id = apiframe.get("/me").json()["apiKey"]["id"]
    rotated = apiframe.post(f"/keys/{key_id}/rotate", json={"graceSeconds": 0})
    assert rotated.status_code in (200, 201), rotated.text
    headers = {"X-API-Key": rotated.json()["key"], "Idempotency-Key": "one"}
    replay = service.http.post("/v2/images/upscale", json=topaz_body(photo), headers=headers)
    assert (replay.status_code, replay.json()) == (202, first.json())
    assert _is_told_replayed(replay)
    assert apiframe.left().balance.held == 8


def test_a_replay_tells_that_the_job_was_cancelled_since(apiframe: Apiframe, photo: str) -> None:
    first = apiframe.topaz(photo, idempotency_key="one").json()
    apiframe.post(f"/jobs/{first['jobId']}/cancel")
    replay = apiframe.topaz(photo, idempotency_key="one")
    assert (replay.status_code, _is_told_replayed(replay)) == (202, True)
    assert replay.json() == {"jobId": first["jobId"], "status": "CANCELLED"}
    left = apiframe.left()
    assert (left.balance.available, len(left.jobs)) == (1000, 1)


def test_the_scope_of_a_key_is_the_path(vicsee: VicSee, photo: str) -> None:
    headers = {"Idempotency-Key": "one"}
    said = {"image_url": photo}
    answers = [
        vicsee.post("/tools/upscale-image", json=said, headers=headers),
        vicsee.post("/generate", json={"model": TOPAZ, "input": said}, headers=headers),
    ]
    assert len({answer.json()["data"]["id"] for answer in answers}) == 2
    assert not any(map(_is_told_replayed, answers))


def test_a_replay_is_answered_after_a_restart(
    tmp_path: Path, clock: Clock, origin: Origin, photo: str
) -> None:
    models = frozenset({TOPAZ})
    with running(tmp_path, clock=clock, models=models) as service:
        customer = service.account()
        first = Apiframe(service, customer).topaz(photo, idempotency_key="one").json()
    asked = list(origin.requests)
    with running(tmp_path, clock=clock, models=models) as service:
        again = Apiframe(service, customer)
        replay = again.topaz(photo, idempotency_key="one")
        assert (replay.json(), _is_told_replayed(replay)) == (first, True)
        assert again.topaz(photo, seed=1, idempotency_key="one").status_code == 409
        assert (again.left().balance.held, len(again.left().jobs)) == (8, 1)
    assert origin.requests == asked


class Small(NamedTuple):
    """A service that a test can have refuse a customer who may have one job at a time."""

    client: Apiframe
    origin: Origin
    objects: FailingObjects

    def has_no_picture(self) -> None:
        del self.origin.files["/small.png"]

    def has_a_picture(self) -> None:
        self.origin.files["/small.png"] = picture()

    def has_no_place(self) -> None:
        self.client.submitted(f"{self.origin.url}/small.png")

    def has_a_place(self) -> None:
        cancel(self.client.service, self.client.left().jobs[0].id)

    def has_no_credits(self) -> None:
        self.has_no_place()
        complete(self.client.service, self.client.left().jobs[0].id)

    def has_credits(self) -> None:
        grant_credits(self.client.service.services.kv, self.client.customer.id, credits=8, now_ms=1)

    def has_no_objects(self) -> None:
        self.objects.failure = ObjectsError("down")

    def has_objects(self) -> None:
        self.objects.failure = None

    def has_a_paused_key(self) -> None:
        self._pause(KeyState.INACTIVE)

    def has_its_key(self) -> None:
        self._pause(KeyState.ACTIVE)

    def _pause(self, state: KeyState) -> None:
        opened = self.client.customer.opened
        kv = self.client.service.services.kv
        set_key_state(kv, self.client.customer.id, key_id=opened.key.key.id, state=state)


@pytest.mark.parametrize(
    ("begins", "status", "ends"),
    [
        (Small.has_no_picture, 400, Small.has_a_picture),
        (Small.has_no_credits, 402, Small.has_credits),
        (Small.has_a_paused_key, 403, Small.has_its_key),
        (Small.has_no_place, 429, Small.has_a_place),
        (Small.has_no_objects, 503, Small.has_objects),
    ],
)
def test_what_was_refused_may_be_sent_again_under_its_key(
    tmp_path: Path,
    clock: Clock,
    begins: Callable[[Small], None],
    status: int,
    ends: Callable[[Small], None],
) -> None:
    objects = FailingObjects(made(tmp_path / "objects"))
    models = frozenset({TOPAZ})
    with (
        Origin({"/small.png": picture()}).serving() as origin,
        running(tmp_path, objects=objects, clock=clock, models=models) as service,
    ):
        small = Small(
            Apiframe(service, service.account(credits=8, max_in_flight=1)), origin, objects
        )
        image = f"{origin.url}/small.png"
        begins(small)
        assert small.client.topaz(image, idempotency_key="one").status_code == status
        ends(small)
        accepted = small.client.topaz(image, idempotency_key="one")
        assert (accepted.status_code, _is_told_replayed(accepted)) == (202, False)
        assert small.client.left().balance.held == 8


def test_a_wrong_key_uses_nothing_up(service: Running, apiframe: Apiframe, photo: str) -> None:
    wrong = {"X-API-Key": "afk_wrong", "Idempotency-Key": "one"}
    answer = service.http.post("/v2/images/upscale", json=topaz_body(photo), headers=wrong)
    assert answer.status_code == 401
    assert not _is_told_replayed(apiframe.topaz(photo, idempotency_key="one"))


def _is_told_replayed(answer: httpx2.Response) -> bool:
    header = answer.headers.get("Idempotent-Replayed")
    assert header in (None, "true")
    return header is not None
