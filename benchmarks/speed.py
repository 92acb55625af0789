"""How fast the built-in networks enlarge by four, from pixels to pixels and from file to file.

python -m benchmarks.speed [--device cpu] [--json benchmarks/results/speed.json]
"""

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.quality import WIDTHS, BuiltInMethod
from benchmarks.report import Row, print_table, write_results
from inference.checkpoints import load_network
from inference.devices import device_named
from inference.engine import Engine
from inference.networks.network import Network
from inference.params import DeviceName, UpscaleParams
from inference.provenance import Weights
from inference.published import BUILT_IN, Width

ASKED_MEGAPIXELS_A_SECOND = {"small": 8.0, "base": 4.0}
ASKED_SHARE = 0.6
CPU_CORES = 2
WIDTH_PX, HEIGHT_PX, RUNS = 480, 270, 9
MEGAPIXELS = WIDTH_PX * HEIGHT_PX * 16 / 1e6


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/speed.json"))
    args = parser.parse_args()
    torch.set_num_threads(min(CPU_CORES, os.cpu_count() or 1))
    rows = [row for width in WIDTHS for row in speed(width, device=args.device)]
    print_table(f"Output megapixels a second at x4, {args.device}", rows)
    write_results(args.json, rows)


def speed(width: Width, *, device: DeviceName) -> Iterator[Row]:
    """Of one width: both speeds, and the second's share of the first."""
    note = f"{WIDTH_PX} x {HEIGHT_PX} source, {torch.get_num_threads()} threads"
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    method = BuiltInMethod(width, "photo", device=device_named(device))
    pixels = MEGAPIXELS / median_s(lambda: method(picture, 4))
    asked = ASKED_MEGAPIXELS_A_SECOND[width]
    yield Row(f"{width}, pixels to pixels", asked, round(pixels, 2), note)

    source = jpeg_of(picture)
    engine = Engine(device=device, load=loading(width))
    params = UpscaleParams(
        model="topaz-image-upscale", slot="standard-v2", factor=4, output_format="jpg"
    )
    files = MEGAPIXELS / median_s(
        lambda: engine.upscale(source, params, sink=io.BytesIO(), progress=lambda *_: None)
    )
    yield Row(f"{width}, JPEG to JPEG", None, round(files, 2), f"{note}, quality reported")
    share = round(files / pixels, 2)
    yield Row(f"{width}, share that is left from file to file", ASKED_SHARE, share)


def loading(width: Width) -> Callable[..., Network]:
    """A loader that takes the networks of one width, whichever are asked for."""

    def load(weights: Weights, *, folder: Path) -> Network:
        pair = BUILT_IN[width, "photo"]
        return load_network(pair.x2 if weights.scale == 2 else pair.x4, folder=folder)

    return load


def jpeg_of(picture: np.typing.NDArray[np.uint8]) -> bytes:
    """A smooth picture of that size as a file: noise would measure the codec alone."""
    file = io.BytesIO()
    smooth = Image.fromarray(picture).reduce(8).resize((WIDTH_PX, HEIGHT_PX))
    smooth.save(file, "JPEG", quality=90)
    return file.getvalue()


def median_s(work: Callable[[], object]) -> float:
    """Median time over the runs, after one to warm up."""
    work()
    times_s = []
    for _ in range(RUNS):
        begun_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - begun_s)
    return statistics.median(times_s)


if __name__ == "__main__":
    main()
