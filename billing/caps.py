"""Caps: what one key may spend, per job, per day and per month, and on which models."""

from typing import Annotated

from pydantic import Field

from storage.record import Part

Limit = Annotated[int | None, Field(ge=1)]


class Caps(Part):
    """A key's caps; None is no cap. Days and months are UTC's.

    Credits that are given back by a failed job count no longer; the job itself still does.
    """

    job_credits: Limit = None
    day_credits: Limit = None
    day_jobs: Limit = None
    month_credits: Limit = None
    month_jobs: Limit = None
    models: tuple[str, ...] | None = None
