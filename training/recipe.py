"""How all the built-in weights are made: eight runs of `training.train`, one after another.

    python -m training.recipe --pictures DIR --out DIR --minutes 440
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


class Plan(NamedTuple):
    """A share of the time, and the highest learning rate: short runs must not disturb much."""

    share: float
    rate: str


class Run(NamedTuple):
    """One network: what it is, whose weights it starts with, and how it is trained where."""

    scale: int
    width: str
    kind: Kind
    start: str | None
    cpu: Plan
    cuda: Plan

    @property
    def name(self) -> str:
        """The name of its file, without the extension."""
        return f"builtin_x{self.scale}_{self.width}_{self.kind}"


RUNS = (
    Run(2, "small", "photo", None, cpu=Plan(45, "1e-3"), cuda=Plan(2, "1e-3")),
    Run(2, "small", "clean", "builtin_x2_small_photo", cpu=Plan(30, "8e-4"), cuda=Plan(3, "1e-3")),
    Run(4, "small", "clean", "builtin_x2_small_clean", cpu=Plan(87, "8e-4"), cuda=Plan(4, "1e-3")),
    Run(4, "small", "photo", "builtin_x4_small_clean", cpu=Plan(9, "5e-4"), cuda=Plan(2, "5e-4")),
    Run(2, "base", "photo", "builtin_x2_small_photo", cpu=Plan(105, "5e-4"), cuda=Plan(4, "5e-4")),
    Run(2, "base", "clean", "builtin_x2_small_clean", cpu=Plan(55, "5e-4"), cuda=Plan(5, "5e-4")),
    Run(4, "base", "clean", "builtin_x4_small_clean", cpu=Plan(55, "5e-4"), cuda=Plan(6, "5e-4")),
    Run(4, "base", "photo", "builtin_x4_base_clean", cpu=Plan(52, "5e-4"), cuda=Plan(3, "5e-4")),
)
"""The shares of `cpu` are the minutes of one core that the weights in the repository had."""

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
    plan = plan_of(run, args.device)
    minutes = args.minutes * plan.share / sum(plan_of(each, args.device).share for each in RUNS)
    return [
        *("--pictures", str(args.pictures)),
        *("--scale", str(run.scale), "--width", run.width, "--kind", run.kind),
        *("--minutes", str(minutes), "--rate", plan.rate),
        *("--out", str(weights_file(args.out, run.name))),
        *("--state", str(args.out / f"{run.name}.state")),
        *("--device", args.device, "--credit", args.credit),
        *start,
        *BATCHES[args.device],
    ]


def plan_of(run: Run, device: Device) -> Plan:
    """How it is trained there."""
    return run.cuda if device == "cuda" else run.cpu


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
