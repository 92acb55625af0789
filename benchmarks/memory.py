"""How much memory an enlargement takes at its peak, in a process of its own.

    python -m benchmarks.memory [--stand-in] [--json benchmarks/results/memory.json]

The source is a JPEG of 5,000 x 5,000, the result a PNG of 20,000 x 20,000, and the path that of the
command line. With `--stand-in` a network that only repeats pixels takes the built-in one's place,
in the same tiles; a second run, of the built-in network on a strip as wide, then shows what its own
work takes.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.report import Row, print_table, write_results
from inference.checkpoints import load_network
from inference.engine import Engine
from inference.networks.builtin import BLOCKS
from inference.networks.network import Network
from inference.params import Factor, UpscaleParams
from inference.provenance import Weights

ASKED_MB = 1_200
SIDE_PX, STRIP_PX = 5_000, 288
FACTOR: Factor = 4
MB = 1_000_000


class Repeating(Network):
    """Costs next to nothing, and is cut into the built-in network's tiles."""

    radius_px = 3 * BLOCKS + 3

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, picture: Tensor) -> Tensor:
        return F.interpolate(picture, scale_factor=float(self.scale), mode="nearest")


def main() -> None:
    """Measure, print, and write; or, in the child, enlarge and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/memory.json"))
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.source is not None:
        print(json.dumps(enlarged(args.source, is_stand_in=args.stand_in)))
        return
    rows = [measured(SIDE_PX, is_stand_in=args.stand_in)]
    if args.stand_in:
        rows.append(measured(STRIP_PX, is_stand_in=False))
    print_table("Resident memory of the whole process at its peak (at most)", rows)
    write_results(args.json, rows)


def measured(height_px: int, *, is_stand_in: bool) -> Row:
    """What a fresh process takes for a picture of so many rows."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as source:
        draw(height_px, Path(source.name))
        words = [sys.executable, "-m", "benchmarks.memory", "--source", source.name]
        words += ["--stand-in"] if is_stand_in else []
        ran = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    told = json.loads(ran.stdout)
    network = "stand-in" if is_stand_in else "built-in"
    peak_mb = round(told["peak_mb"])
    return Row(
        f"MB for {SIDE_PX} x {height_px} by {FACTOR}, {network} network",
        ASKED_MB,
        peak_mb,
        f"{told['seconds']:.0f} s; a file of {told['file_mb']:.0f} MB",
        reached=peak_mb <= ASKED_MB,
    )


def draw(height_px: int, path: Path) -> None:
    """A picture with shades, edges and some grain, as a JPEG."""
    across = np.arange(SIDE_PX, dtype=np.float32)
    rings = np.hypot.outer(np.arange(height_px, dtype=np.float32), across).astype(np.uint8)
    grain = np.random.default_rng(0).integers(0, 16, rings.shape, dtype=np.uint8)
    ramp = np.broadcast_to(across.astype(np.uint8), rings.shape)
    Image.fromarray(np.stack((rings, ramp, rings // 2 + grain), axis=2)).save(path, quality=90)


def enlarged(source: Path, *, is_stand_in: bool) -> dict[str, float]:
    """Enlarge into a temporary file, as the command line does; tell what it took."""
    engine = Engine(device="cpu", load=repeating if is_stand_in else load_network)
    params = UpscaleParams(
        model="topaz-image-upscale", slot="standard-v2", factor=FACTOR, output_format="png"
    )
    data = source.read_bytes()
    begun_s = time.perf_counter()
    with tempfile.TemporaryFile() as sink:
        engine.upscale(data, params, sink=sink, progress=lambda _done, _of: None)
        size_bytes = sink.seek(0, io.SEEK_END)
    return {
        "peak_mb": peak_bytes() / MB,
        "seconds": time.perf_counter() - begun_s,
        "file_mb": size_bytes / MB,
    }


def peak_bytes() -> int:
    """The most resident memory so far; `getrusage` would count what the parent had before."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def repeating(weights: Weights, *, folder: Path) -> Network:  # noqa: ARG001
    """The stand-in, whatever the weights."""
    return Repeating(weights.scale)


if __name__ == "__main__":
    main()
