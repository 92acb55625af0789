"""Records, ids and links: how jobs are found again, in order, by those they belong to."""

from uuid import RFC_4122, UUID

import pytest

from billing.keys import Caller
from jobs.errors import JobForeign, JobUnknown
from jobs.ids import new_job_id, system_clock
from jobs.job import Job, Source
from jobs.links import Links, job_of_result, result_name, source_name, upload_name
from jobs.records import MAX_JOBS_SCANNED, Page, find_job, find_own_job, first_put, list_jobs, page
from tests.jobs.machine import PUBLIC_URL, Machine
from tests.running import Clock

JOB_ID = UUID("01a3185c-5000-7e2b-99d5-0d13733c6134")
LINKS = Links(PUBLIC_URL)


def test_a_job_id_is_a_uuid_of_version_7_that_begins_with_its_time() -> None:
    job_id = new_job_id(0x0123_4567_89AB)
    assert (job_id.version, job_id.variant) == (7, RFC_4122)
    assert str(job_id).startswith("01234567-89ab-7")


def test_job_ids_sort_by_their_time_and_do_not_repeat() -> None:
    now_ms = system_clock()
    ids = [new_job_id(now_ms + number) for number in range(100)]
    assert ids == sorted(ids)
    assert len({new_job_id(now_ms) for _ in range(1000)}) == 1000


def test_a_job_is_found_by_its_id_alone(machine: Machine, caller: Caller) -> None:
    job = machine.submit(caller)
    kept = find_job(machine.kv, job.id)
    assert kept is not None
    assert kept.job == job
    assert find_job(machine.kv, JOB_ID) is None


def test_a_job_belongs_to_its_account(machine: Machine, caller: Caller) -> None:
    job = machine.submit(caller)
    assert find_own_job(machine.kv, caller.account_id, job_id=job.id) == job
    with pytest.raises(JobForeign):
        find_own_job(machine.kv, machine.customer().account_id, job_id=job.id)
    with pytest.raises(JobUnknown) as refusal:
        find_own_job(machine.kv, caller.account_id, job_id=JOB_ID)
    assert type(refusal.value) is JobUnknown


def test_jobs_are_listed_newest_first_a_page_at_a_time(
    machine: Machine, caller: Caller, clock: Clock
) -> None:
    machine.submit(machine.customer())
    jobs = []
    for _ in range(5):
        jobs.append(machine.submit(caller))
        clock.advance(seconds=1)
    first = list_jobs(machine.kv, caller.account_id, before=None, limit=3)
    second = list_jobs(machine.kv, caller.account_id, before=first[-1].id, limit=3)
    assert [*first, *second] == jobs[::-1]
    assert list_jobs(machine.kv, caller.account_id, before=second[-1].id, limit=3) == []


@pytest.mark.parametrize("limit", range(1, 8))
@pytest.mark.parametrize("wanted", ["none", "all", "odd", "first", "last", "everything"])
def test_pages_have_every_wanted_job_once_and_only_the_last_leads_nowhere(
    machine: Machine, caller: Caller, clock: Clock, limit: int, wanted: str
) -> None:
    jobs = []
    for _ in range(6):
        clock.advance(seconds=1)
        jobs.append(machine.submit(caller))
    newest_first = jobs[::-1]
    kept = {
        "none": [],
        "all": newest_first,
        "odd": newest_first[1::2],
        "first": newest_first[:1],
        "last": newest_first[-1:],
        "everything": newest_first,
    }[wanted]
    is_wanted = None if wanted == "everything" else kept.__contains__
    seen = []
    before = None
    for turn in range(1 + len(jobs)):
        found = page(machine.kv, caller.account_id, before=before, limit=limit, is_wanted=is_wanted)
        assert len(found.jobs) <= limit
        assert found.jobs or turn == 0 or kept == newest_first[: turn * limit]
        seen += found.jobs
        before = found.next_before
        if before is None:
            break
    assert before is None
    assert seen == kept


def test_a_page_of_nobodys_jobs_is_empty_and_the_last(machine: Machine, caller: Caller) -> None:
    machine.submit(machine.customer())
    found = page(machine.kv, caller.account_id, before=None, limit=5)
    assert found == Page([], None)


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_search_that_gives_up_for_now_says_where_it_stopped(
    machine: Machine, caller: Caller, is_exact: bool
) -> None:
    oldest = machine.submit(caller)
    planted = MAX_JOBS_SCANNED - 1 if is_exact else MAX_JOBS_SCANNED
    younger = [
        oldest.model_copy(update={"id": UUID(int=oldest.id.int + (number << 81))})
        for number in range(1, planted + 1)
    ]
    for start in range(0, planted, 10):
        puts = [first_put(each, look_at_ms=0) for each in younger[start : start + 10]]
        machine.kv.commit(*[put for pair in puts for put in pair])

    def is_oldest(job: Job) -> bool:
        return job.id == oldest.id

    first = page(machine.kv, caller.account_id, before=None, limit=2, is_wanted=is_oldest)
    assert first.jobs == ([oldest] if is_exact else [])
    assert first.next_before == (oldest.id if is_exact else younger[0].id)
    rest = page(
        machine.kv, caller.account_id, before=first.next_before, limit=2, is_wanted=is_oldest
    )
    assert rest == Page([] if is_exact else [oldest], None)


def test_a_link_leads_back_to_its_object() -> None:
    name = result_name(JOB_ID, "webp")
    assert name == f"images/{JOB_ID}-1.webp"
    assert LINKS.of(name) == f"{PUBLIC_URL}/files/images/{JOB_ID}-1.webp"
    assert LINKS.object_behind(LINKS.of(name)) == name
    assert job_of_result(name) == JOB_ID


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/files/images/a-1.png",
        "http://enlarger.test/files/images/a-1.png",
        f"{PUBLIC_URL}/v2/jobs",
        f"{PUBLIC_URL}.example.com/files/images/a-1.png",
        f" {PUBLIC_URL}/files/images/a-1.png",
    ],
)
def test_other_addresses_are_not_ours(url: str) -> None:
    assert LINKS.object_behind(url) is None


@pytest.mark.parametrize(
    "name",
    [
        source_name(JOB_ID, "png"),
        upload_name("0" * 32, "png"),
        f"images/{JOB_ID}.png",
        "images/none-1.png",
        "images/",
        "",
    ],
)
def test_only_results_have_the_names_of_results(name: str) -> None:
    assert job_of_result(name) is None


def test_a_source_is_kept_under_its_job(machine: Machine, caller: Caller) -> None:
    job = machine.submit(caller)
    assert isinstance(job.source, Source)
    assert job.source.object_name == source_name(job.id, "png")
