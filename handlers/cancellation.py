"""Cancelling a job, in both dialects."""

from typing import Any

from fastapi import APIRouter

from handlers.apiframe_wire import JobDetails, details
from handlers.auth import CallerOf, ServicesOf
from handlers.job_ids import JobId, TaskId
from handlers.vicsee_wire import Envelope, Task, task


def add_apiframe_cancel(router: APIRouter, **options: Any) -> None:
    """Add the route."""
    router.post("/jobs/{job_id}/cancel", **options)(cancel_job)


def add_vicsee_cancel(router: APIRouter, **options: Any) -> None:
    """Add the route."""
    router.post("/tasks/{task_id}/cancel", **options)(cancel_task)


def cancel_job(job_id: JobId, caller: CallerOf, services: ServicesOf) -> JobDetails:
    """End a job before its time; its credits come back. One that has ended otherwise is a 409."""
    job = services.cancellations.cancel(caller.world, job_id)
    return details(job, links=services.links, now_ms=services.clock())


def cancel_task(task_id: TaskId, caller: CallerOf, services: ServicesOf) -> Envelope[Task]:
    """End a task before its time; its credits come back. One that has ended otherwise is a 409."""
    job = services.cancellations.cancel(caller.world, task_id)
    return Envelope(data=task(job, links=services.links, now_ms=services.clock()))
