"""Statements: an account's entries and its usage, under `/v2`, as JSON or CSV."""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from billing import keys, ledger
from billing.usage import DAY_MS, UsageRow, usage
from handlers import statement_wire as wire
from handlers.auth import CallerOf, ServicesOf
from storage.kv import KeyValue

MAX_ENTRIES = 100
MAX_CURSOR_CHARS = 800
MAX_DAYS = 366
USUAL_DAYS = 30
MAX_ROWS_READ = 100_000
MAX_GROUPS = 10_000
"""What one answer adds up, and what it may come to; more is refused."""

GROUPS = ("day", "model", "key")
_PLACE = re.compile(r"[0-9]{15}#[!-~]{1,512}")

Format = Annotated[
    Literal["json", "csv"] | None, Query(description="By default as `Accept` has it")
]
From = Annotated[
    str | None,
    Query(alias="from", pattern=r"^2\d{3}-\d\d-\d\d$", description="The first day, UTC"),
]
To = Annotated[
    str | None,
    Query(pattern=r"^2\d{3}-\d\d-\d\d$", description="The last day, UTC, which is included"),
]
CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON; CSV to `Accept: text/csv` or `format=csv`",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}


def add_statements(router: APIRouter, **options: Any) -> None:
    """Add the routes."""
    router.get("/billing/entries", response_model=wire.EntryPage, responses=CSV, **options)(entries)
    router.get("/usage", response_model=wire.UsageReport, responses=CSV, **options)(usage_report)


def entries(
    request: Request,
    caller: CallerOf,
    services: ServicesOf,
    *,
    limit: Annotated[int, Query(ge=1, le=MAX_ENTRIES)] = 20,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR_CHARS)] = None,
    first: From = None,
    to: To = None,
    format: Format = None,
) -> wire.EntryPage | Response:
    """What moved the account's credits, newest first.

    As CSV, the cursor of the next page is in `X-Next-Cursor`.
    """
    first_day, last_day = _day(first, "from"), _day(to, "to")
    _check_order(first_day, last_day)
    before = None if cursor is None else _place(cursor)
    if last_day is not None:
        end = f"{(last_day + 1) * DAY_MS:015}"
        before = end if before is None else min(before, end)
    lines = ledger.statement(services.kv, caller.account_id, before=before, limit=limit + 1)
    if first_day is not None:
        lines = [line for line in lines if line.entry.at_ms >= first_day * DAY_MS]
    following = _cursor(lines[limit - 1].place) if len(lines) > limit else None
    shown = [wire.shown_entry(line) for line in lines[:limit]]
    if not _wants_csv(request, format):
        return wire.EntryPage(entries=shown, nextCursor=following, hasMore=following is not None)
    answer = _csv(wire.entries_csv(shown), "entries")
    if following is not None:
        answer.headers["X-Next-Cursor"] = following
    return answer


def usage_report(
    request: Request,
    caller: CallerOf,
    services: ServicesOf,
    *,
    first: From = None,
    to: To = None,
    group_by: Annotated[
        str,
        Query(alias="groupBy", max_length=100, description="Of day, model and key, by commas"),
    ] = "day",
    format: Format = None,
) -> wire.UsageReport | Response:
    """Jobs and credits by day, model and key; by default of the last 30 days.

    `credits` are those taken at submission; of those, `refundedCredits` were given back.
    """
    last_day = _day(to, "to")
    first_day = _day(first, "from")
    if last_day is None:
        last_day = max(services.clock() // DAY_MS, first_day or 0)
    if first_day is None:
        first_day = last_day - USUAL_DAYS + 1
    _check_order(first_day, last_day)
    if last_day - first_day >= MAX_DAYS:
        raise _invalid("from", f"At most {MAX_DAYS} days can be asked for")
    groups = _groups(group_by)
    rows = usage(services.kv, caller.account_id, first_day=first_day, last_day=last_day)
    sums = _added_up(rows, groups)
    names = _key_names(services.kv, caller.account_id) if "key" in groups else {}
    shown = [_shown(group, figures, groups, names=names) for group, figures in sums.items()]
    if _wants_csv(request, format):
        columns = [*_columns(groups), *wire.Figures.model_fields]
        return _csv(wire.csv_text(columns, (row.model_dump() for row in shown)), "usage")
    return wire.UsageReport(
        from_=wire.day_shown(first_day),
        to=wire.day_shown(last_day),
        groupBy=list(groups),
        usage=shown,
    )


Group = tuple[str, ...]


def _added_up(rows: Iterable[UsageRow], groups: Group) -> Mapping[Group, Counter[str]]:
    sums: dict[Group, Counter[str]] = {}
    for number, row in enumerate(islice(rows, MAX_ROWS_READ + 1)):
        parts = {"day": wire.day_shown(row.day), "model": row.model, "key": row.key_id}
        figures = sums.setdefault(tuple(parts[group] for group in groups), Counter())
        figures["jobs"] += row.jobs
        figures["credits"] += row.credits
        figures["refundedJobs"] += row.refunded_jobs
        figures["refundedCredits"] += row.refunded_credits
        if number >= MAX_ROWS_READ or len(sums) > MAX_GROUPS:
            raise HTTPException(400, "That is too much for one answer; ask for fewer days")
    return dict(sorted(sums.items()))


def _shown(
    group: Group, figures: Counter[str], groups: Group, *, names: Mapping[str, str]
) -> wire.UsageShown:
    said = dict(zip(groups, group, strict=True))
    key_id = said.get("key")
    return wire.UsageShown(
        day=said.get("day"),
        model=said.get("model"),
        keyId=key_id,
        keyName=None if key_id is None else names.get(key_id, ""),
        **{name: figures[name] for name in wire.Figures.model_fields},
    )


def _columns(groups: Group) -> list[str]:
    shown = {"day": ["day"], "model": ["model"], "key": ["keyId", "keyName"]}
    return [column for group in groups for column in shown[group]]


def _key_names(kv: KeyValue, account_id: str) -> Mapping[str, str]:
    return {key.id: key.name for key in keys.keys_of(kv, account_id)}


def _groups(said: str) -> Group:
    groups = tuple(part.strip() for part in said.split(","))
    if not set(groups) <= set(GROUPS) or len(set(groups)) != len(groups):
        raise _invalid("groupBy", f"groupBy is one or more of {', '.join(GROUPS)}, by commas")
    return groups


def _day(said: str | None, member: str) -> int | None:
    if said is None:
        return None
    try:
        return wire.day_number(date.fromisoformat(said))
    except ValueError:
        raise _invalid(member, f"There is no day {said}") from None


def _check_order(first_day: int | None, last_day: int | None) -> None:
    if first_day is not None and last_day is not None and first_day > last_day:
        raise _invalid("from", "from must not be after to")


def _invalid(member: str, message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "value_error", "loc": ("query", member), "msg": message}]
    )


def _cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(cursor: str) -> str:
    try:
        place = base64.urlsafe_b64decode(f"{cursor}==").decode("ascii")
    except (ValueError, binascii.Error):
        place = ""
    if not _PLACE.fullmatch(place):
        raise HTTPException(400, "Invalid cursor")
    return place


def _wants_csv(request: Request, format_: str | None) -> bool:
    """As the query says, or else whether `Accept` names CSV and does not name JSON."""
    if format_ is not None:
        return format_ == "csv"
    accept = request.headers.get("accept", "")
    named = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "text/csv" in named and not named & {"application/json", "application/*"}


def _csv(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Vary": "Accept"}
    return Response(text, media_type="text/csv", headers=headers)
