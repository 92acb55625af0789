"""How benchmarks report: a table beside what was asked for, and JSON with machine and versions."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

_VERSIONS = ("torch", "numpy", "pillow", "fastapi", "uvicorn", "pydantic")


@dataclass(frozen=True)
class Row:
    """A figure, what was asked of it (None: nothing), and whether it was reached."""

    what: str
    asked: float | None
    measured: float
    note: str = ""
    reached: bool | None = None

    @property
    def is_reached(self) -> bool:
        """As said, or else whether the figure is at least what was asked."""
        if self.reached is not None:
            return self.reached
        return self.asked is None or self.measured >= self.asked


def print_table(title: str, rows: list[Row]) -> None:
    """Print the rows for people."""
    table = Table(title=title, title_justify="left")
    for heading in ("figure", "asked", "measured", "", "note"):
        table.add_column(heading)
    for row in rows:
        asked = "" if row.asked is None else f"{row.asked:g}"
        mark = "" if row.asked is None else ("reached" if row.is_reached else "missed")
        table.add_row(row.what, asked, f"{row.measured:g}", mark, row.note)
    Console(width=140).print(table)


def write_results(path: Path, rows: list[Row]) -> None:
    """Write the rows for machines, with where and when they were measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in _VERSIONS},
        "rows": [asdict(row) | {"reached": row.is_reached} for row in rows],
    }
    path.write_text(json.dumps(results, indent=2) + "\n")


def machine() -> str:
    """The processor and how many of its cores there are."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
