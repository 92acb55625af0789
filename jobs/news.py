"""News: what there is to tell of a job while it goes on, and how far somebody was told."""

import re
from enum import StrEnum
from typing import NamedTuple, Self

from jobs.errors import EventIdInvalid
from jobs.job import Job, Status

_ID = re.compile(r"(\d{1,15})(?:\.(end|\d{1,15}))?", re.ASCII)


class Event(StrEnum):
    """What can be told of a job."""

    QUEUED = "queued"
    PROVISIONING = "provisioning"
    PROGRESS = "progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Mark(NamedTuple):
    """How far somebody was told. As text it is an event's id, the same in whichever process:
    `3`, `0.5` (waiting, in the fifth place), `9.end`.
    """

    sequence: int
    position: int | None = None
    is_end: bool = False

    def __str__(self) -> str:
        if self.is_end:
            return f"{self.sequence}.end"
        return f"{self.sequence}" if self.position is None else f"{self.sequence}.{self.position}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The mark that was written like this; `EventIdInvalid` if none was."""
        found = _ID.fullmatch(text)
        if found is None:
            raise EventIdInvalid
        sequence, more = int(found[1]), found[2]
        if more == "end":
            return cls(sequence, is_end=True)
        return cls(sequence, None if more is None else int(more))


class Seen(NamedTuple):
    """A job as it was seen.

    `position` is its place among those that wait (1 is next), `remaining_s` what its work should
    still take; None where that is not known, or there is no such thing.
    """

    job: Job
    position: int | None = None
    remaining_s: float | None = None

    @property
    def is_end(self) -> bool:
        """Whether nothing comes after this."""
        return self.job.status.is_terminal

    @property
    def event(self) -> Event:
        """What this is told as."""
        if self.job.status is not Status.PROCESSING:
            return Event(self.job.status)
        return Event.PROGRESS if self.job.steps_done else Event.PROVISIONING

    @property
    def mark(self) -> Mark:
        """How far somebody is told who is told this."""
        return Mark(self.job.sequence, self.position, self.is_end)

    def is_news(self, told: Mark | None) -> bool:
        """Whether it is newer than what somebody was told last.

        The end is news to whoever was not told of it, whatever else they were told.
        """
        if told is None:
            return True
        if self.is_end:
            return not told.is_end
        if self.job.sequence != told.sequence:
            return self.job.sequence > told.sequence
        return self.position not in (None, told.position)
