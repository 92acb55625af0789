"""What customers and operators were told, to be held against what became of it."""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID


class Accepted(NamedTuple):
    """An order that was answered with a job."""

    job_id: UUID
    account_id: str
    is_named: bool


@dataclass
class Witness:
    """Every answer that promises something."""

    accepted: list[Accepted] = field(default_factory=list)
    cancelled: list[UUID] = field(default_factory=list)
    finished: list[UUID] = field(default_factory=list)
    """Jobs that could not be cancelled, since they had an end."""

    deleted: list[UUID] = field(default_factory=list)
    granted: list[tuple[str, str]] = field(default_factory=list)
    """Accounts, and the names of entries in their ledgers."""
