"""Streaming means streaming: a child process encodes far more samples than it may hold."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MOST_MB = 100
"""For two cores' threads; the pictures below have 240 MB of samples."""

_PROGRAM = """
import os, sys, tempfile
import numpy as np
from inference.encoders import Shape, open_encoder
from inference.picture import Metadata

def status_mb(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
rows = (np.add.outer(np.arange(100), np.arange(20_000 * 3)) // 7).astype(np.uint8)
rows = rows.reshape(100, 20_000, 3)
before_mb = status_mb("VmRSS")
with tempfile.TemporaryFile() as file:
    shape = Shape(20_000, 4_000, 3, 8)
    with open_encoder(sys.argv[1], file, shape=shape, metadata=Metadata()) as encoder:
        for top in range(0, 4_000, 100):
            encoder.write(rows)
print(status_mb("VmHWM") - before_mb)
"""


@pytest.mark.parametrize("format_", ["png", "jpg", "tiff"])
def test_memory_does_not_grow_with_the_picture(format_: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, format_],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stdout) < MOST_MB
