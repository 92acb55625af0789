"""Deleting a job's files and what was said with it, in both dialects."""

from typing import Any

from fastapi import APIRouter

from handlers.auth import CallerOf, ServicesOf
from handlers.job_ids import JobId, TaskId


def add_apiframe_delete(router: APIRouter, **options: Any) -> None:
    """Add the route."""
    router.delete("/jobs/{job_id}", status_code=204, **options)(delete_job)


def add_vicsee_delete(router: APIRouter, **options: Any) -> None:
    """Add the route."""
    router.delete("/tasks/{task_id}", status_code=204, **options)(delete_task)


def delete_job(job_id: JobId, caller: CallerOf, services: ServicesOf) -> None:
    """Remove a job's files, and what was said with it; an unfinished one is cancelled first.

    Its price, its status and its times stay, and so does the ledger. Twice is no error.
    """
    services.deletions.delete(caller.world, job_id)


def delete_task(task_id: TaskId, caller: CallerOf, services: ServicesOf) -> None:
    """Remove a task's files, and what was said with it; an unfinished one is cancelled first.

    Its price, its status and its times stay. Twice is no error.
    """
    services.deletions.delete(caller.world, task_id)
