"""Weights that look as if they had been pulled, for tests that load none."""

import os
from pathlib import Path

from inference.provenance import Weights


def present(*several: Weights, folder: Path) -> None:
    """Files of the right size, with nothing in them, in the folder of those pulled."""
    folder.mkdir(exist_ok=True)
    for weights in several:
        if weights.url is not None:
            (folder / weights.file).touch()
            os.truncate(folder / weights.file, weights.size_bytes)
