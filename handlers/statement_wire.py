"""What statements say: ledger entries and usage as JSON, and both as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from pydantic import BaseModel, Field

from billing.ledger import Line
from jobs.ids import iso_utc

Cell = str | int | None

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class EntryShown(BaseModel):
    """One movement of credits: what it did to paid and promotional ones, and to those on hold."""

    id: str
    kind: str
    credits: int
    promoCredits: int
    heldCredits: int
    jobId: str | None
    createdAt: str


class EntryPage(BaseModel):
    """A page of entries, newest first."""

    entries: list[EntryShown]
    nextCursor: str | None
    hasMore: bool


class Figures(BaseModel):
    """Jobs and their credits, and what of both was given back."""

    jobs: int
    credits: int
    refundedJobs: int
    refundedCredits: int


class UsageShown(Figures):
    """The figures of a group; it has the members that it is grouped by."""

    day: str | None = Field(default=None, exclude_if=lambda value: value is None)
    model: str | None = Field(default=None, exclude_if=lambda value: value is None)
    keyId: str | None = Field(default=None, exclude_if=lambda value: value is None)
    keyName: str | None = Field(default=None, exclude_if=lambda value: value is None)


class UsageReport(BaseModel):
    """An account's usage in some days, both included."""

    from_: str = Field(serialization_alias="from")
    to: str
    groupBy: list[str]
    usage: list[UsageShown]


def shown_entry(line: Line) -> EntryShown:
    """A line of a statement."""
    entry = line.entry
    return EntryShown(
        id=line.name,
        kind=entry.kind,
        credits=entry.credits,
        promoCredits=entry.promo,
        heldCredits=entry.held,
        jobId=entry.job_id,
        createdAt=iso_utc(entry.at_ms),
    )


def entries_csv(entries: Sequence[EntryShown]) -> str:
    """Entries as CSV."""
    return csv_text(list(EntryShown.model_fields), (entry.model_dump() for entry in entries))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Cell]]) -> str:
    """CSV with a line of headings; no text in it is a formula to whoever opens it in a table."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
    return file.getvalue()


def day_number(day: date) -> int:
    """A day as days since 1970."""
    return day.toordinal() - EPOCH_ORDINAL


def day_shown(number: int) -> str:
    """Days since 1970 as a date."""
    return date.fromordinal(number + EPOCH_ORDINAL).isoformat()


def _cell(value: Cell) -> Cell:
    """A number or a text; a text that a spreadsheet would run is marked as text."""
    if isinstance(value, str) and value.startswith(_FORMULA_SIGNS):
        return f"'{value}"
    return value
