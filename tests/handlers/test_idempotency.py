"""`Idempotency-Key`: one job and one charge, however often a request is sent."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx2
import pytest

from handlers.idempotency import MAX_KEY_CHARS
from tests.handlers.clients import NOWHERE, TOPAZ, Apiframe, VicSee, topaz_body
from tests.handlers.working import complete
from tests.running import Clock, Origin, Running

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


def _is_told_replayed(answer: httpx2.Response) -> bool:
    header = answer.headers.get("Idempotent-Replayed")
    assert header in (None, "true")
    return header is not None
