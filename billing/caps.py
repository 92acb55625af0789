"""Caps: what one key may spend, per job, per day and per month, and on which models."""

from collections.abc import Iterator, Mapping
from typing import Annotated, NamedTuple

from pydantic import Field

from billing.errors import CapReached
from storage.record import Part

Limit = Annotated[int | None, Field(ge=1)]

NOTHING: Mapping[str, int] = {}


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

    @property
    def are_counted(self) -> bool:
        """Whether what the key spends has to be added up."""
        return self.day.is_set or self.month.is_set

    @property
    def day(self) -> "Window":
        """What a day may hold."""
        return Window("day", self.day_credits, self.day_jobs)

    @property
    def month(self) -> "Window":
        """What a month may hold."""
        return Window("month", self.month_credits, self.month_jobs)


class Window(NamedTuple):
    """The caps of a day or a month."""

    name: str
    credits: int | None
    jobs: int | None

    @property
    def is_set(self) -> bool:
        """Whether anything is capped."""
        return (self.credits, self.jobs) != (None, None)

    @property
    def ceilings(self) -> dict[str, int]:
        """The caps by the counters that they hold down."""
        limits = {"credits": self.credits, "jobs": self.jobs}
        return {counter: limit for counter, limit in limits.items() if limit is not None}

    def exceeded(self, spent: Mapping[str, int], *, credits: int) -> Iterator[str]:
        """The caps that a further job of that price would break, in words."""
        wanted = {"credits": credits, "jobs": 1}
        for counter, limit in self.ceilings.items():
            if spent.get(counter, 0) + wanted[counter] > limit:
                yield f"{limit} {counter} a {self.name}"


def check(
    caps: Caps,
    *,
    model: str,
    credits: int,
    day: Mapping[str, int] = NOTHING,
    month: Mapping[str, int] = NOTHING,
) -> None:
    """Raise `CapReached`, which names the cap, if a job is over one.

    `day` and `month` are what the key has spent in them: credits and jobs.
    """
    if caps.models is not None and model not in caps.models:
        raise CapReached(f"This key may not use {model}")
    if caps.job_credits is not None and credits > caps.job_credits:
        raise CapReached(
            f"This job costs {credits} credits; this key's cap is {caps.job_credits} credits a job"
        )
    for exceeded in (
        *caps.day.exceeded(day, credits=credits),
        *caps.month.exceeded(month, credits=credits),
    ):
        raise CapReached(f"This job of {credits} credits is over this key's cap of {exceeded}")
