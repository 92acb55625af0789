"""How all the built-in weights are made: eight runs of `training.train`, one after another.

    python -m training.recipe --pictures DIR --out DIR --minutes 230
    python -m training.recipe --pictures DIR --out DIR --minutes 29 --device cuda

Interrupted, the same command goes on where it was.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from training import train
from training.pictures import Kind

Device = Literal["cpu", "cuda"]


class Run(NamedTuple):
    """One network: what it is, its share of the time, and whose weights it starts with."""

    scale: int
    width: str
    kind: Kind
    share: int
    start: str | None = None

    @property
    def name(self) -> str:
        """The name of its file, without the extension."""
        return f"builtin_x{self.scale}_{self.width}_{self.kind}"


RUNS = (
    Run(2, "small", "photo", share=45),
    Run(2, "small", "clean", share=30, start="builtin_x2_small_photo"),
    Run(4, "small", "clean", share=52, start="builtin_x2_small_clean"),
    Run(4, "small", "photo", share=9, start="builtin_x4_small_clean"),
    Run(2, "base", "photo", share=55, start="builtin_x2_small_photo"),
    Run(2, "base", "clean", share=18, start="builtin_x2_small_clean"),
    Run(4, "base", "clean", share=10, start="builtin_x4_small_clean"),
    Run(4, "base", "photo", share=10, start="builtin_x4_small_photo"),
)

SCRATCH_RATE, OTHER_RATE, SAME_RATE = "1e-3", "8e-4", "5e-4"
"""From nothing; for another task at the same width; and for what has learned most of it already."""

BATCHES: dict[Device, list[str]] = {
    "cpu": ["--batch", "8", "--crop", "48", "--workers", "0"],
    "cuda": ["--batch", "64", "--crop", "96", "--workers", str(max(1, (os.cpu_count() or 2) - 2))],
}


def main(argv: Sequence[str] | None = None) -> None:
    """Make every network that is not made yet."""
    args = arguments(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for run in RUNS:
        train.main(command(run, args))


def command(run: Run, args: argparse.Namespace) -> list[str]:
    """The command line of one run."""
    start = [] if run.start is None else ["--start-from", str(weights_file(args.out, run.start))]
    minutes = args.minutes * run.share / sum(each.share for each in RUNS)
    return [
        *("--pictures", str(args.pictures)),
        *("--scale", str(run.scale), "--width", run.width, "--kind", run.kind),
        *("--minutes", str(minutes), "--rate", rate(run)),
        *("--out", str(weights_file(args.out, run.name))),
        *("--state", str(args.out / f"{run.name}.state")),
        *("--device", args.device, "--credit", args.credit),
        *start,
        *BATCHES[args.device],
    ]


def rate(run: Run) -> str:
    """The highest learning rate: the less there is to learn, the less may be disturbed."""
    if run.start is None:
        return SCRATCH_RATE
    return OTHER_RATE if (run.width, run.kind) == ("small", "clean") else SAME_RATE


def weights_file(folder: Path, name: str) -> Path:
    """Where a run's weights are."""
    return folder / f"{name}.safetensors"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder with manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="a folder for weights and states")
    parser.add_argument("--minutes", type=float, required=True, help="for all of it")
    parser.add_argument("--device", choices=tuple(BATCHES), default="cpu")
    parser.add_argument("--credit", default="", help="the training set's credit line")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
