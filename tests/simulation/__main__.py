"""Runs histories, as many as wanted, and prints the seeds of those that broke something.

    python -m tests.simulation [--histories N] [--first SEED] [--processes N]
    python -m tests.simulation --seed SEED      one history, call by call

Exit 1 if any history broke an invariant. Without `--first` the seeds are new ones.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from secrets import randbelow
from typing import NamedTuple

from tests.simulation.history import broken_by

HISTORIES = 20_000
PROCESSES = 2
CHUNK = 50
NEW_SEEDS = 10**9


class Outcome(NamedTuple):
    """What became of one history."""

    seed: int
    broken: list[str]


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--histories", type=int, default=HISTORIES)
    parser.add_argument("--first", type=int, default=None, help="the first seed")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--seed", type=int, default=None, help="repeat one history")
    args = parser.parse_args()
    if args.seed is not None:
        _finish(_told(args.seed))
    first = randbelow(NEW_SEEDS) if args.first is None else args.first
    seeds = range(first, first + args.histories)
    print(f"histories {seeds[0]} to {seeds[-1]}")
    start_s = time.monotonic()
    failures = 0
    for outcome in _outcomes(seeds, processes=args.processes):
        if outcome.broken:
            failures += 1
            print(f"--seed {outcome.seed}", *outcome.broken, sep="\n    ", flush=True)
    seconds = time.monotonic() - start_s
    print(f"{failures} of {len(seeds)} histories broke something, in {seconds:.0f} s")
    _finish(is_sound=not failures)


def _outcomes(seeds: range, *, processes: int) -> Iterator[Outcome]:
    with get_context("fork").Pool(processes, initializer=_begin) as pool:
        yield from pool.imap_unordered(_outcome, seeds, chunksize=CHUNK)


def _begin() -> None:
    gc.freeze()  # what was imported need not be looked through again and again


def _outcome(seed: int) -> Outcome:
    return Outcome(seed, broken_by(seed))


def _told(seed: int) -> bool:
    """Print one history; whether it broke nothing."""
    broken = broken_by(seed, tell=print)
    print(*broken, f"{len(broken)} invariants broken", sep="\n")
    return not broken


def _finish(is_sound: bool) -> None:
    sys.stdout.flush()
    sys.exit(os.EX_OK if is_sound else 1)


if __name__ == "__main__":
    main()
