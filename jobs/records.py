"""How jobs lie in the key-value store.

    jobs#<world>, <job>       the job; ids begin with their time, so the order is that of age
    job#<job>, account        whose job it is, written once: finds a job by its id alone
    requests#<account>, …     the job that an Idempotency-Key made

A job's `due` says when somebody must look at it next, and in which queue: `jobs` while it is
unfinished (queued: soon; running: at the end of its lease), then `retention`. A running job whose
lease has ended waits in `stranded` to be hinted at again: there its `due` is nobody's lease.
"""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from billing.keys import world_of
from jobs.errors import JobForeign, JobUnknown
from jobs.job import Job
from storage.kv import Delete, Due, Item, Key, KeyValue, Put

JOBS = "jobs"
STRANDED = "stranded"
RETENTION = "retention"

MAX_JOBS_SCANNED = 1000
"""How many jobs one page looks at to find those that are wanted."""


class Kept(NamedTuple):
    """A job as read: the version guards the next write, `due` is its next look."""

    job: Job
    version: int
    due: Due | None


def find_job(kv: KeyValue, job_id: UUID) -> Kept | None:
    """The job with this id, whoever owns it."""
    pointer = kv.get(_pointer_key(job_id))
    if pointer is None:
        return None
    is_sandbox = pointer.value.get("is_sandbox", False)
    return _of_world(kv, world_of(pointer.value["account_id"], is_sandbox=is_sandbox), job_id)


def worlds(account_id: str) -> tuple[str, str]:
    """All that an account's jobs are kept under."""
    live, sandbox = (world_of(account_id, is_sandbox=each) for each in (False, True))
    return live, sandbox


def find_own(kv: KeyValue, world: str, *, job_id: UUID) -> Kept:
    """The world's job; `JobForeign` if another account's, `JobUnknown` if nobody's.

    An account and its sandbox know nothing of each other.
    """
    kept = _of_world(kv, world, job_id)
    if kept is not None:
        return kept
    other = find_job(kv, job_id)
    is_foreign = other is not None and world not in worlds(other.job.account_id)
    raise JobForeign if is_foreign else JobUnknown


def find_own_job(kv: KeyValue, world: str, *, job_id: UUID) -> Job:
    """The same, to be looked at only."""
    return find_own(kv, world, job_id=job_id).job


def list_jobs(kv: KeyValue, world: str, *, before: UUID | None, limit: int) -> list[Job]:
    """Up to `limit` of the world's jobs that are older than `before`, newest first."""
    items = kv.query(
        f"jobs#{world}",
        after=None if before is None else str(before),
        limit=limit,
        newest_first=True,
    )
    return [_kept(item).job for item in items]


class Page(NamedTuple):
    """Some of a world's jobs, newest first. The next page is `before` `next_before`, if any."""

    jobs: list[Job]
    next_before: UUID | None


def page(
    kv: KeyValue,
    world: str,
    *,
    before: UUID | None,
    limit: int,
    is_wanted: Callable[[Job], bool] | None = None,
) -> Page:
    """Up to `limit` of the world's jobs that are older than `before` and wanted, newest first.

    Wanted jobs that are rare may take several pages, some of them empty, to be found.
    """
    most = limit + 1 if is_wanted is None else MAX_JOBS_SCANNED
    jobs = list_jobs(kv, world, before=before, limit=most)
    wanted = [place for place, job in enumerate(jobs) if is_wanted is None or is_wanted(job)]
    taken = wanted[:limit]
    passed = taken[-1] + 1 if len(taken) == limit else len(jobs)
    is_end = passed == len(jobs) < most
    return Page([jobs[place] for place in taken], None if is_end else jobs[passed - 1].id)


def first_put(job: Job, *, look_at_ms: int) -> tuple[Put, ...]:
    """The changes that record a new job, to be looked at again at `look_at_ms`."""
    return (
        Put(_key(job), _value(job), due=Due(JOBS, look_at_ms)),
        Put(
            _pointer_key(job.id),
            {"account_id": job.account_id, "is_sandbox": job.is_sandbox},
        ),
    )


def next_put(job: Job, *, replaces: int, due: Due | None) -> Put:
    """The change that replaces the job's record."""
    return Put(_key(job), _value(job), replaces=replaces, due=due)


def last_deletes(kv: KeyValue, kept: Kept) -> tuple[Delete, ...]:
    """The changes that leave nothing of a job's record."""
    pointer = kv.get(_pointer_key(kept.job.id))
    record = Delete(_key(kept.job), replaces=kept.version)
    return (record,) if pointer is None else (record, Delete(pointer.key, pointer.version))


def _of_world(kv: KeyValue, world: str, job_id: UUID) -> Kept | None:
    item = kv.get(Key(f"jobs#{world}", str(job_id)))
    return None if item is None else _kept(item)


def _kept(item: Item) -> Kept:
    return Kept(Job.model_validate(item.value), item.version, item.due)


def _pointer_key(job_id: UUID) -> Key:
    return Key(f"job#{job_id}", "account")


def _key(job: Job) -> Key:
    return Key(f"jobs#{job.world}", str(job.id))


def _value(job: Job) -> dict[str, object]:
    return job.model_dump(mode="json")
