"""What quotes expect of time: speeds that were measured here, by the weights that serve a job.

    python -m benchmarks.estimates

Writes `jobs/speeds.json` from `benchmarks/results`. A file of results says by its name which device
it is of, `throughput-l4.json` for one; a name that ends with the benchmark's is the processor's.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inference.published import CLEAN, GENERAL, PHOTO, WEB_PHOTO, X2PLUS, X4PLUS
from jobs.estimates import SPEEDS_FILE, Speed, Speeds

RESULTS = Path("benchmarks/results")
CPU = "cpu"


class Figure(NamedTuple):
    """A row of a benchmark, and the weights whose speed it tells: all of them of one shape.

    `is_whole` says that decoding and encoding are in it, at a factor of just the network's scale.
    """

    benchmark: str
    row: str
    weights: tuple[str, ...]
    scale: int
    is_whole: bool


def _network(name: str, weights: str, scale: int) -> Figure:
    return Figure("throughput", f"{name}, output MP/s", (weights,), scale, is_whole=False)


FIGURES = (
    Figure("speed", "base, JPEG to JPEG", (PHOTO.x4.id, CLEAN.x4.id), 4, is_whole=True),
    _network("general-x4v3", GENERAL.id, 4),
    _network("RealPLKSR", WEB_PHOTO.id, 4),
    _network("x4plus", X4PLUS.id, 4),
    _network("x2plus", X2PLUS.id, 2),
)


def main() -> None:
    """Read the results, and write the speeds beside the code."""
    SPEEDS_FILE.write_text(written(read_speeds(RESULTS)))


def read_speeds(folder: Path) -> Speeds:
    """Every speed that the results tell, in the order of `FIGURES` and of the files' names."""
    return Speeds(speeds=tuple(each for figure in FIGURES for each in _speeds(figure, folder)))


def written(speeds: Speeds) -> str:
    """The file's text."""
    return json.dumps(speeds.model_dump(), indent=2) + "\n"


def _speeds(figure: Figure, folder: Path) -> Iterator[Speed]:
    for path in sorted(folder.glob(f"{figure.benchmark}*.json")):
        device = path.stem.removeprefix(figure.benchmark).removeprefix("-") or CPU
        results: Mapping[str, Any] = json.loads(path.read_text())
        for row in results["rows"]:
            if row["what"] == figure.row:
                yield Speed(
                    device=device,
                    machine=results["machine"],
                    date=results["date"],
                    weights=figure.weights,
                    scale=figure.scale,
                    is_whole=figure.is_whole,
                    megapixels_a_second=row["measured"],
                )


if __name__ == "__main__":
    main()
