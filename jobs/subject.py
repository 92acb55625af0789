"""What the code that runs now is about, a request or a job: for whoever writes the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
job_id: ContextVar[str | None] = ContextVar("job_id", default=None)


@contextmanager
def about_job(which: UUID | str | None) -> Iterator[None]:
    """Within the block, this thread's lines in the log are about that job, or about none."""
    token = job_id.set(None if which is None else str(which))
    try:
        yield
    finally:
        job_id.reset(token)
