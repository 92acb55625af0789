"""`GET /v2/jobs` and `/v2/jobs/{id}`: a job in each of its states, and lists of jobs."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobs.job import Status
from jobs.records import MAX_JOBS_SCANNED, first_put
from tests.handlers.clients import CLARITY, TOPAZ, Apiframe, kept_job, topaz_body
from tests.handlers.working import QUALITY, SHOWN_QUALITY, cancel, complete, fail, start
from tests.running import Clock, Running

DAY_S = 24 * 60 * 60
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SUMMARY = {
    "id", "status", "model", "progress", "result", "error", "creditCost", "webhookStatus",
    "createdAt", "completedAt", "expired",
}  # fmt: skip
HOOK = {"webhookUrl": "https://203.0.114.9/hook"}


def test_a_queued_job_is_shown_to_the_field(apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo, upscale_factor=4, output_format="png")
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert MOMENT.fullmatch(shown["createdAt"])
    assert shown == {
        "id": str(job_id),
        "status": "QUEUED",
        "model": TOPAZ,
        "progress": None,
        "result": None,
        "error": None,
        "creditCost": 8,
        "webhookStatus": None,
        "createdAt": shown["createdAt"],
        "completedAt": None,
        "input": {
            "image": photo,
            "upscale_factor": 4,
            "model_type": "standard-v2",
            "face_enhance": False,
            "face_enhance_creativity": 0.0,
            "face_enhance_strength": 0.8,
            "output_format": "png",
        },
        "expired": False,
    }


def test_a_running_job_tells_how_far_it_is(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    start(service, job_id, progress=40)
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert (shown["status"], shown["progress"], shown["result"]) == ("PROCESSING", 40, None)
    assert shown["completedAt"] is None


@pytest.mark.parametrize("format_", ["jpg", "png"])
def test_a_completed_job_has_one_image_and_its_price(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock, format_: str
) -> None:
    job_id = apiframe.submitted(photo, output_format=format_)
    clock.advance(seconds=3)
    complete(service, job_id)
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert shown["status"] == "COMPLETED"
    assert shown["progress"] == 100
    assert shown["result"] == {"images": [f"{service.url}/files/images/{job_id}-1.{format_}"]}
    assert shown["creditCost"] == 8
    assert MOMENT.fullmatch(shown["completedAt"])
    assert shown["completedAt"] > shown["createdAt"]


def test_a_job_by_itself_tells_how_faithful_its_result_is(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    complete(service, job_id, quality=QUALITY)
    result = apiframe.get(f"/jobs/{job_id}").json()["result"]
    assert set(result) == {"images", "quality"}
    assert result["quality"] == SHOWN_QUALITY
    (listed,) = apiframe.get("/jobs").json()["jobs"]
    assert listed["result"] == {"images": result["images"]}


def test_a_failed_job_says_why_and_has_cost_nothing(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    job_id = apiframe.submitted(photo)
    fail(service, job_id)
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert shown["status"] == "FAILED"
    assert shown["error"] == "The image is damaged and cannot be read"
    assert (shown["creditCost"], shown["result"]) == (0, None)
    assert MOMENT.fullmatch(shown["completedAt"])
    assert apiframe.left().balance.available == 1000


def test_a_cancelled_job_has_cost_nothing(service: Running, apiframe: Apiframe, photo: str) -> None:
    job_id = apiframe.submitted(photo)
    cancel(service, job_id)
    shown = apiframe.get(f"/jobs/{job_id}").json()
    assert (shown["status"], shown["creditCost"]) == ("CANCELLED", 0)
    assert MOMENT.fullmatch(shown["completedAt"])


def test_a_result_is_expired_from_day_ninety_on(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    job_id = apiframe.submitted(photo)
    complete(service, job_id)
    clock.advance(seconds=90 * DAY_S - 1)
    assert apiframe.get(f"/jobs/{job_id}").json()["expired"] is False
    clock.advance(seconds=1)
    assert apiframe.get(f"/jobs/{job_id}").json()["expired"] is True


@pytest.mark.parametrize(("end", "is_told"), [(complete, True), (fail, False)])
def test_the_webhooks_fate_is_shown_for_the_events_asked_for(
    service: Running, apiframe: Apiframe, photo: str, end: Any, is_told: bool
) -> None:
    hook = HOOK | {"webhookEvents": ["completed"]}
    answer = apiframe.post("/images/upscale", json=topaz_body(photo) | hook)
    job_id = UUID(answer.json()["jobId"])
    assert apiframe.get(f"/jobs/{job_id}").json()["webhookStatus"] is None
    end(service, job_id)
    status = apiframe.get(f"/jobs/{job_id}").json()["webhookStatus"]
    assert status == ("pending" if is_told else None)


def test_somebody_elses_job_and_no_job_look_the_same(
    service: Running, apiframe: Apiframe, photo: str
) -> None:
    theirs = Apiframe(service, service.account()).submitted(photo)
    for job_id in (theirs, uuid4()):
        answer = apiframe.get(f"/jobs/{job_id}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})


@pytest.mark.parametrize("job_id", ["1", "not-an-id", "task_1", "%00", "x" * 3000])
def test_what_is_no_job_id_is_a_bad_request(apiframe: Apiframe, job_id: str) -> None:
    answer = apiframe.get(f"/jobs/{job_id}")
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid job id"})


def test_a_list_is_newest_first_and_its_items_have_no_input(
    apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    ids = _submitted(apiframe, photo, clock, count=3)
    page = apiframe.get("/jobs").json()
    assert set(page) == {"jobs", "nextCursor", "hasMore"}
    assert [job["id"] for job in page["jobs"]] == ids[::-1]
    assert {frozenset(job) for job in page["jobs"]} == {frozenset(SUMMARY)}
    assert (page["nextCursor"], page["hasMore"]) == (None, False)


def test_an_empty_list_is_a_page_too(apiframe: Apiframe) -> None:
    assert apiframe.get("/jobs").json() == {"jobs": [], "nextCursor": None, "hasMore": False}


def test_a_list_shows_only_ones_own_jobs(service: Running, apiframe: Apiframe, photo: str) -> None:
    Apiframe(service, service.account()).submitted(photo)
    for scope in ("user", "team"):
        assert apiframe.get("/jobs", scope=scope).json()["jobs"] == []


def test_a_page_has_twenty_jobs_unless_told_otherwise(
    apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    _submitted(apiframe, photo, clock, count=21)
    assert len(apiframe.get("/jobs").json()["jobs"]) == 20
    for limit in (1, 21, 100):
        assert len(apiframe.get("/jobs", limit=limit).json()["jobs"]) == min(limit, 21)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("filters", [{}, {"model": TOPAZ}, {"status": "QUEUED"}])
def test_pages_lead_to_the_end_without_gap_or_repeat(
    apiframe: Apiframe, photo: str, clock: Clock, limit: int, filters: dict[str, str]
) -> None:
    ids = _submitted(apiframe, photo, clock, count=5)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(len(ids)):
        page = apiframe.get("/jobs", limit=limit, **filters, **cursor).json()
        seen += [job["id"] for job in page["jobs"]]
        assert page["hasMore"] is (len(seen) < len(ids))
        if not page["hasMore"]:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == ids[::-1]
    assert page["nextCursor"] is None


def test_a_page_keeps_its_place_while_newer_jobs_arrive(
    apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    ids = _submitted(apiframe, photo, clock, count=4)
    first = apiframe.get("/jobs", limit=2).json()
    _submitted(apiframe, photo, clock, count=2)
    second = apiframe.get("/jobs", limit=2, cursor=first["nextCursor"]).json()
    assert [job["id"] for job in second["jobs"]] == [ids[1], ids[0]]


def test_a_list_can_be_of_one_status(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    ids = _submitted(apiframe, photo, clock, count=5)
    ends = (None, start, complete, fail, cancel)
    for job_id, end in zip(ids, ends, strict=True):
        if end is not None:
            end(service, UUID(job_id))
    statuses = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED")
    found = [apiframe.get("/jobs", status=status).json()["jobs"] for status in statuses]
    assert [[job["id"] for job in jobs] for jobs in found] == [[job_id] for job_id in ids]


def test_a_list_can_be_of_one_model(apiframe: Apiframe, photo: str) -> None:
    job_id = str(apiframe.submitted(photo))
    found = {
        model: [job["id"] for job in apiframe.get("/jobs", model=model).json()["jobs"]]
        for model in (TOPAZ, CLARITY, "nonsense")
    }
    assert found == {TOPAZ: [job_id], CLARITY: [], "nonsense": []}


def test_a_search_finds_a_whole_id_among_ones_own(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    ids = _submitted(apiframe, photo, clock, count=3)
    theirs = str(Apiframe(service, service.account()).submitted(photo))
    for search, found in ((ids[1], [ids[1]]), (ids[1][:8], []), (theirs, []), ("", [])):
        page = apiframe.get("/jobs", search=search).json()
        assert ([job["id"] for job in page["jobs"]], page["hasMore"]) == (found, False)
    assert apiframe.get("/jobs", search=ids[1], status="FAILED").json()["jobs"] == []


def test_the_models_come_along_when_asked_for(apiframe: Apiframe) -> None:
    models = apiframe.get("/models").json()["models"]
    assert apiframe.get("/jobs", include_models="true").json()["models"] == models
    assert "models" not in apiframe.get("/jobs", include_models="false").json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("status", "queued"),
        ("status", "DONE"),
        ("scope", "world"),
        ("include_models", "yes"),
    ],
)
def test_a_query_out_of_bounds_is_refused_by_name(
    apiframe: Apiframe, name: str, value: str
) -> None:
    answer = apiframe.get("/jobs", **{name: value})
    assert answer.status_code == 400
    assert answer.json()["error"] == "Validation error"
    assert list(answer.json()["details"]) == [name]


@pytest.mark.parametrize("cursor", ["", "nonsense", "é", "%%%", "A" * 5000])
def test_a_cursor_that_we_did_not_give_is_refused(apiframe: Apiframe, cursor: str) -> None:
    answer = apiframe.get("/jobs", cursor=cursor)
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid cursor"})


def test_a_filtered_list_goes_on_where_its_search_stopped(
    service: Running, apiframe: Apiframe, photo: str, clock: Clock
) -> None:
    oldest, *_ = _submitted(apiframe, photo, clock, count=1)
    fail(service, UUID(oldest))
    _planted(service, UUID(oldest), count=MAX_JOBS_SCANNED)
    first = apiframe.get("/jobs", status="FAILED").json()
    assert (first["jobs"], first["hasMore"]) == ([], True)
    second = apiframe.get("/jobs", status="FAILED", cursor=first["nextCursor"]).json()
    assert [job["id"] for job in second["jobs"]] == [oldest]


def _submitted(apiframe: Apiframe, photo: str, clock: Clock, *, count: int) -> list[str]:
    """Ids of new jobs, each a moment younger than the one before."""
    ids = []
    for _ in range(count):
        clock.advance(seconds=0.001)
        ids.append(str(apiframe.submitted(photo)))
    return ids


def _planted(service: Running, like: UUID, *, count: int) -> None:
    """Younger, queued jobs of the same account."""
    kv = service.services.kv
    job = kept_job(service, like)
    younger = [
        job.model_copy(
            update={"id": UUID(int=job.id.int + (number << 81)), "status": Status.QUEUED}
        )
        for number in range(1, count + 1)
    ]
    for start_at in range(0, count, 10):
        puts = [
            put
            for each in younger[start_at : start_at + 10]
            for put in first_put(each, look_at_ms=service.services.clock())
        ]
        kv.commit(*puts)
