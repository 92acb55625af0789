"""The job that a path names, in each dialect's spelling; both are FastAPI dependencies."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from starlette.exceptions import HTTPException

from jobs.errors import JobUnknown


async def _job_id(job_id: str) -> UUID:
    try:
        return UUID(job_id)
    except ValueError:
        raise HTTPException(400, "Invalid job id") from None


async def _task_id(task_id: str) -> UUID:
    try:
        return UUID(task_id.removeprefix("task_"))
    except ValueError:
        raise JobUnknown from None


JobId = Annotated[UUID, Depends(_job_id)]
"""Apiframe's `{job_id}`: a UUID, or the answer is a 400."""

TaskId = Annotated[UUID, Depends(_task_id)]
"""VicSee's `{task_id}`: `task_` and a UUID's digits, or there is no such task."""
