"""Statements: entries and usage, page by page, as JSON and as CSV."""

import base64
import csv
import io
from typing import Any

import pytest

from billing import administration, ledger
from billing.keys import ApiKey
from handlers import statements
from jobs.ids import iso_utc
from storage.kv import Key, Put
from tests.handlers.clients import TOPAZ, Apiframe
from tests.handlers.working import complete, fail
from tests.running import Clock, Running

DAY_MS = 24 * 60 * 60 * 1000
DAY_S = 24 * 60 * 60


def day(clock: Clock, *, back: int = 0) -> str:
    """A day, by how long ago it was."""
    return iso_utc(clock() - back * DAY_MS)[:10]


def entries(client: Apiframe, **query: Any) -> dict[str, Any]:
    answer = client.get("/billing/entries", **query)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def usage(client: Apiframe, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/usage", **query)
    assert answer.status_code == 200, answer.text
    shown: list[dict[str, Any]] = answer.json()["usage"]
    return shown


def table(text: str) -> list[list[str]]:
    """CSV as a reader sees it."""
    return [*csv.reader(io.StringIO(text, newline=""))]


def renamed(service: Running, client: Apiframe, name: str) -> None:
    """Give the customer's key that name."""
    kv = service.services.kv
    row = kv.get(Key(f"keys#{client.customer.id}", client.customer.opened.key.key.id))
    assert row is not None
    item = kv.get(Key(f"key#{row.value['sha256']}", "key"))
    assert item is not None
    key = ApiKey.model_validate(item.value).model_copy(update={"name": name})
    kv.commit(Put(item.key, key.model_dump(), replaces=item.version))


def granted(service: Running, client: Apiframe, clock: Clock, *amounts: int) -> None:
    """Grants, a second apart."""
    for amount in amounts:
        clock.advance(seconds=1)
        administration.grant_credits(
            service.services.kv, client.customer.id, credits=amount, now_ms=clock()
        )


def test_a_job_is_a_hold_and_what_became_of_it(
    service: Running, apiframe: Apiframe, clock: Clock, photo: str
) -> None:
    done = apiframe.submitted(photo)
    clock.advance(seconds=1)
    complete(service, done)
    clock.advance(seconds=1)
    failed = apiframe.submitted(photo)
    clock.advance(seconds=1)
    fail(service, failed)
    page = entries(apiframe)
    assert (page["nextCursor"], page["hasMore"]) == (None, False)
    assert page["entries"][0] == {
        "id": f"settle:{failed}",
        "kind": "release",
        "credits": 8,
        "promoCredits": 0,
        "heldCredits": -8,
        "jobId": str(failed),
        "createdAt": iso_utc(clock()),
    }
    told = [(each["kind"], each["credits"], each["heldCredits"]) for each in page["entries"]]
    assert told == [
        ("release", 8, -8),
        ("hold", -8, 8),
        ("capture", 0, -8),
        ("hold", -8, 8),
        ("grant", 1000, 0),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 100])
def test_pages_put_together_are_everything_once(
    service: Running, apiframe: Apiframe, clock: Clock, limit: int
) -> None:
    granted(service, apiframe, clock, 1, 2, 3, 4, 5, 6)
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for _ in range(20):
        page = entries(apiframe, limit=limit, **cursor)
        assert len(page["entries"]) <= limit
        assert page["hasMore"] is (page["nextCursor"] is not None)
        seen += [each["credits"] for each in page["entries"]]
        if not page["hasMore"]:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == [6, 5, 4, 3, 2, 1, 1000]


def test_days_bound_the_entries_on_both_sides(
    service: Running, apiframe: Apiframe, clock: Clock
) -> None:
    first = day(clock)
    clock.now_ms = (clock() // DAY_MS + 1) * DAY_MS  # a day's first moment
    for amount in (1, 2, 3):
        at_ms = clock()
        kv = service.services.kv
        kv.commit(*ledger.grant(apiframe.customer.id, f"{amount}", credits=amount, now_ms=at_ms))
        at_ms += DAY_MS - 1  # its last
        amount *= 10
        kv.commit(*ledger.grant(apiframe.customer.id, f"{amount}", credits=amount, now_ms=at_ms))
        clock.advance(seconds=DAY_S)

    def between(**days: str) -> list[int]:
        shown = entries(apiframe, **days)["entries"]
        return [each["credits"] for each in shown]

    assert between() == [30, 3, 20, 2, 10, 1, 1000]
    assert between(to=first) == [1000]
    assert between(**{"from": day(clock, back=2), "to": day(clock, back=2)}) == [20, 2]
    assert between(**{"from": day(clock, back=2)}) == [30, 3, 20, 2]
    assert between(to=day(clock, back=3)) == [10, 1, 1000]
    page = entries(apiframe, limit=1, **{"from": day(clock, back=2), "to": day(clock, back=2)})
    rest = entries(apiframe, limit=1, cursor=page["nextCursor"], **{"from": day(clock, back=2)})
    assert (rest["entries"][0]["credits"], rest["hasMore"]) == (2, False)


def test_accounts_see_their_own_alone(service: Running, apiframe: Apiframe, clock: Clock) -> None:
    other = Apiframe(service, service.account())
    granted(service, other, clock, 77, 78)
    cursor = entries(other, limit=1)["nextCursor"]
    assert [each["credits"] for each in entries(apiframe)["entries"]] == [1000]
    theirs = entries(apiframe, cursor=cursor)["entries"]
    assert {each["credits"] for each in theirs} <= {1000}
    assert usage(apiframe) == []


@pytest.mark.parametrize("path", ["/billing/entries", "/usage"])
@pytest.mark.parametrize(
    "query",
    [
        {"from": "2026-13-01"},
        {"from": "2026-02-30"},
        {"from": "yesterday"},
        {"from": "1700000000"},
        {"from": "1999-01-01"},
        {"to": "99999-01-01"},
        {"to": ""},
        {"from": "2026-01-02", "to": "2026-01-01"},
        {"format": "xml"},
    ],
)
def test_what_is_no_range_is_refused(apiframe: Apiframe, path: str, query: dict[str, str]) -> None:
    answer = apiframe.get(path, **query)
    assert answer.status_code == 400
    assert answer.json()["error"] == "Validation error"
    assert list(answer.json()["details"]) == [next(iter(query))]


@pytest.mark.parametrize("limit", ["0", "-1", "101", "1000000000000", "ten", "1.5", ""])
def test_an_absurd_page_is_refused(apiframe: Apiframe, limit: str) -> None:
    answer = apiframe.get("/billing/entries", limit=limit)
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == ["limit"]


@pytest.mark.parametrize(
    "place",
    [
        b"",
        b"nonsense",
        b"000001800000000",
        b"000001800000000#",
        b"000001800000000#a\x00b",
        b"00000180000000a#a",
        b"\xff\xfe",
        "000001800000000#ä".encode(),
        b"000001800000000#a\n",
        b"000001800000000#" + b"a" * 513,
    ],
)
def test_an_absurd_cursor_is_refused(apiframe: Apiframe, place: bytes) -> None:
    cursor = base64.urlsafe_b64encode(place).decode().rstrip("=")
    answer = apiframe.get("/billing/entries", cursor=cursor)
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid cursor"})


@pytest.mark.parametrize("cursor", ["%00", "ä", "!!!!", "=", "A"])
def test_a_cursor_that_is_not_even_one_is_refused(apiframe: Apiframe, cursor: str) -> None:
    answer = apiframe.get("/billing/entries", cursor=cursor)
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid cursor"})


def test_an_endless_cursor_is_refused(apiframe: Apiframe) -> None:
    answer = apiframe.get("/billing/entries", cursor="A" * 801)
    assert (answer.status_code, answer.json()["error"]) == (400, "Validation error")


@pytest.mark.parametrize(
    ("query", "accept", "is_csv"),
    [
        ({"format": "csv"}, "*/*", True),
        ({"format": "csv"}, "application/json", True),
        ({"format": "json"}, "text/csv", False),
        ({}, "text/csv", True),
        ({}, "text/csv;header=present, */*;q=0.1", True),
        ({}, "application/json, text/csv", False),
        ({}, "*/*", False),
        ({}, "text/csv2", False),
    ],
)
@pytest.mark.parametrize("path", ["/v2/billing/entries", "/v2/usage"])
def test_the_query_or_the_header_chooses_csv(
    apiframe: Apiframe, path: str, query: dict[str, str], accept: str, is_csv: bool
) -> None:
    headers = apiframe.headers | {"Accept": accept}
    answer = apiframe.service.http.get(path, params=query, headers=headers)
    kind = "text/csv; charset=utf-8" if is_csv else "application/json"
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert ("attachment" in answer.headers.get("content-disposition", "")) is is_csv


def test_entries_as_csv_say_what_they_say_as_json(
    service: Running, apiframe: Apiframe, clock: Clock
) -> None:
    granted(service, apiframe, clock, 5, 6)
    page = entries(apiframe, limit=2)
    answer = apiframe.get("/billing/entries", limit=2, format="csv")
    assert answer.headers["X-Next-Cursor"] == page["nextCursor"]
    headings, *rows = table(answer.text)
    assert headings == list(page["entries"][0])
    assert rows == [["" if v is None else str(v) for v in e.values()] for e in page["entries"]]
    assert answer.text.count("\r\n") == 3
    last = apiframe.get("/billing/entries", cursor=page["nextCursor"], format="csv")
    assert "X-Next-Cursor" not in last.headers


def test_usage_is_added_up_by_what_is_asked(
    service: Running, apiframe: Apiframe, clock: Clock, photo: str
) -> None:
    first, last = day(clock), day(clock, back=-1)
    apiframe.submitted(photo)
    fail(service, apiframe.submitted(photo))
    clock.advance(seconds=DAY_S)
    apiframe.submitted(photo)
    key = apiframe.customer.opened.key.key
    two = {"jobs": 2, "credits": 16, "refundedJobs": 1, "refundedCredits": 8}
    one = {"jobs": 1, "credits": 8, "refundedJobs": 0, "refundedCredits": 0}
    all_ = {"jobs": 3, "credits": 24, "refundedJobs": 1, "refundedCredits": 8}
    assert usage(apiframe) == [two | {"day": first}, one | {"day": last}]
    assert usage(apiframe, groupBy="model") == [all_ | {"model": TOPAZ}]
    by_key = all_ | {"keyId": key.id, "keyName": key.name}
    assert usage(apiframe, groupBy="key") == [by_key]
    every = usage(apiframe, groupBy="day,model,key")
    assert [each["day"] for each in every] == [first, last]
    assert set(every[0]) == {*two, "day", "model", "keyId", "keyName"}
    assert usage(apiframe, to=first) == [two | {"day": first}]
    assert usage(apiframe, **{"from": last}) == [one | {"day": last}]


def test_usage_of_several_keys_is_kept_apart_and_in_order(
    service: Running, apiframe: Apiframe, clock: Clock, photo: str
) -> None:
    apiframe.submitted(photo)
    kv = service.services.kv
    second = administration.create_key(kv, apiframe.customer.id, name="second", now_ms=clock())
    headers = {"X-API-Key": second.apiframe_spelling}
    for _ in range(2):
        body = {"model": TOPAZ, "topazUpscaleParams": {"image": photo}}
        answer = service.http.post("/v2/images/upscale", json=body, headers=headers)
        assert answer.status_code == 202
    shown = usage(apiframe, groupBy="key")
    assert {each["keyName"]: each["jobs"] for each in shown} == {"default": 1, "second": 2}
    assert [each["keyId"] for each in shown] == sorted(each["keyId"] for each in shown)


def test_the_usual_range_is_thirty_days(apiframe: Apiframe, clock: Clock) -> None:
    report = apiframe.get("/usage").json()
    assert report == {
        "from": day(clock, back=29),
        "to": day(clock),
        "groupBy": ["day"],
        "usage": [],
    }
    assert apiframe.get("/usage", **{"from": "2900-01-01"}).json()["to"] == "2900-01-01"


@pytest.mark.parametrize(("to", "status"), [("2025-01-01", 200), ("2025-01-02", 400)])
def test_a_range_has_at_most_a_leap_years_days(apiframe: Apiframe, to: str, status: int) -> None:
    answer = apiframe.get("/usage", **{"from": "2024-01-02", "to": to})
    assert answer.status_code == status


@pytest.mark.parametrize("said", ["", "week", "day,week", "day,day", "day,,model", ",", "a" * 101])
def test_what_cannot_be_grouped_by_is_refused(apiframe: Apiframe, said: str) -> None:
    answer = apiframe.get("/usage", groupBy=said)
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == ["groupBy"]


def test_more_than_one_answer_holds_is_refused(
    apiframe: Apiframe, photo: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        apiframe.submitted(photo)
        clock.advance(seconds=DAY_S)
    monkeypatch.setattr(statements, "MAX_GROUPS", 1)
    assert apiframe.get("/usage").status_code == 400
    assert apiframe.get("/usage", groupBy="model").status_code == 200
    monkeypatch.setattr(statements, "MAX_ROWS_READ", 1)
    answer = apiframe.get("/usage", groupBy="model")
    assert answer.status_code == 400
    assert answer.json() == {"error": "That is too much for one answer; ask for fewer days"}


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("a=b", "a=b"),
        ('a,"b"', 'a,"b"'),
        ("ä", "ä"),
    ],
)
def test_a_name_is_no_formula_in_csv(
    service: Running, apiframe: Apiframe, photo: str, name: str, cell: str
) -> None:
    apiframe.submitted(photo)
    renamed(service, apiframe, name)
    answer = apiframe.get("/usage", groupBy="model,key", format="csv")
    headings, row = table(answer.text)
    assert headings == [
        "model", "keyId", "keyName", "jobs", "credits", "refundedJobs", "refundedCredits",
    ]  # fmt: skip
    assert row[0] == TOPAZ
    assert row[2:] == [cell, "1", "8", "0", "0"]


def test_a_number_below_zero_stays_a_number_in_csv(apiframe: Apiframe, photo: str) -> None:
    apiframe.submitted(photo)
    headings, *rows = table(apiframe.get("/billing/entries", format="csv").text)
    assert "-8" in {row[headings.index("credits")] for row in rows}
