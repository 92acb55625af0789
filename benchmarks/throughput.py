"""How fast published networks run here, against a plain loop and against the device's own peak.

    python -m benchmarks.throughput --device cuda [--json benchmarks/results/throughput-cuda.json]

Weights are random, of the published shapes: the work is the same. The plain loop takes one tile at
a time, as the original Real-ESRGAN script does: ragged windows with 10 pixels of context, the
picture as floats, a whole canvas of floats on the device, and the way to bytes on the host.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import Row, print_table, write_results
from inference.chain import Chain
from inference.devices import Device, device_named
from inference.networks.network import Network
from inference.networks.realplksr import RealPLKSR
from inference.networks.rrdbnet import RRDBNet
from inference.networks.srvgg import SRVGG
from inference.runner import run

Pixels = NDArray[np.uint8]

PUBLISHED: Mapping[str, Callable[[], Network]] = {
    "x4plus": lambda: RRDBNet(scale=4, channels=64, blocks=23, growth=32),
    "x2plus": lambda: RRDBNet(scale=2, channels=64, blocks=23, growth=32),
    "general-x4v3": lambda: SRVGG(scale=4, channels=64, convs=32),
    "RealPLKSR": lambda: RealPLKSR(scale=4, channels=64, blocks=28, partial=16, kernel_px=17),
}
ASKED_TIMES_LOOP = {"x4plus": 5.0}
ASKED_SHARE_OF_PEAK = {"x4plus": 0.4}
ASKED_MEGAPIXELS_A_SECOND = {"general-x4v3": 1000.0}
"""All of a Hopper card, in 16 bits."""

LOOP_CONTEXT_PX = 10
FLOPS_SAMPLE_PX = 64


class Bench(NamedTuple):
    """What fits a device: the source's side, the loop's tile, and how often to measure."""

    side_px: int
    loop_tile_px: int
    matrix: int
    runs: int


BENCHES = {
    "cuda": Bench(side_px=2048, loop_tile_px=400, matrix=8192, runs=5),
    "cpu": Bench(side_px=96, loop_tile_px=64, matrix=1024, runs=1),
}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--network", choices=PUBLISHED, action="append", help="only these")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = device_named(args.device)
    kind = device.torch_device.type
    peak = peak_flops(device)
    rows = [Row(f"matrix peak of {kind}, TFLOP/s", None, round(peak / 1e12, 3), "16 bits")]
    for name in args.network or PUBLISHED:
        rows += throughput(name, device, peak=peak)
    print_table(f"Throughput on {kind}", rows)
    write_results(args.json or Path(f"benchmarks/results/throughput-{kind}.json"), rows)


@torch.inference_mode()
def throughput(name: str, device: Device, *, peak: float) -> Iterator[Row]:
    """Ours, the loop's, how often the one is the other, and the share of the peak."""
    bench = BENCHES[device.torch_device.type]
    torch.manual_seed(0)
    network = PUBLISHED[name]().eval().requires_grad_(False)
    flops = flops_a_pixel(network)
    network = device.prepare(network)
    chain = Chain([network], scale=network.scale)
    picture = np.random.default_rng(0).integers(
        0, 256, (bench.side_px, bench.side_px, 3), dtype=np.uint8
    )
    megapixels = picture[..., 0].size * network.scale**2 / 1e6

    def ours() -> None:
        for _ in run(chain, [picture], device=device, bits=8, progress=lambda *_: None):
            pass

    def loop() -> None:
        plain_loop(network, picture, device.torch_device, tile_px=bench.loop_tile_px)

    speed, plain = (megapixels / median_s(work, runs=bench.runs) for work in (ours, loop))
    is_asked = device.torch_device.type == "cuda"
    note = f"{bench.side_px} x {bench.side_px} source, {network.computes_in}".replace("torch.", "")
    asked = ASKED_MEGAPIXELS_A_SECOND.get(name) if is_asked else None
    yield Row(f"{name}, output MP/s", asked, round(speed, 3), note)
    yield Row(f"{name}, plain loop, output MP/s", None, round(plain, 3))
    asked = ASKED_TIMES_LOOP.get(name) if is_asked else None
    yield Row(f"{name}, times the loop", asked, round(speed / plain, 2))
    share = speed * 1e6 / network.scale**2 * flops / peak
    asked = ASKED_SHARE_OF_PEAK.get(name) if is_asked else None
    yield Row(f"{name}, share of the peak", asked, round(share, 3), "halos count as lost")


def plain_loop(network: Network, picture: Pixels, device: torch.device, *, tile_px: int) -> Pixels:
    """One tile after the other, each of its own shape."""
    scale, (height, width) = network.scale, picture.shape[:2]
    source = torch.from_numpy(picture).permute(2, 0, 1)[None].float().to(device) / 255
    canvas = torch.zeros((1, 3, height * scale, width * scale), device=device)
    for top, left in itertools.product(range(0, height, tile_px), range(0, width, tile_px)):
        bottom, right = min(top + tile_px, height), min(left + tile_px, width)
        up, before = max(0, top - LOOP_CONTEXT_PX), max(0, left - LOOP_CONTEXT_PX)
        window = source[:, :, up : bottom + LOOP_CONTEXT_PX, before : right + LOOP_CONTEXT_PX]
        enlarged = network(window.contiguous())
        canvas[:, :, top * scale : bottom * scale, left * scale : right * scale] = enlarged[
            :,
            :,
            (top - up) * scale : (bottom - up) * scale,
            (left - before) * scale : (right - before) * scale,
        ]
    finished = canvas[0].float().cpu().clamp_(0, 1).numpy().transpose(1, 2, 0)
    return (finished * 255).round().astype(np.uint8)


def flops_a_pixel(network: Network) -> float:
    """Floating-point operations of an input pixel, a multiplication and an addition being two."""
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, FLOPS_SAMPLE_PX, FLOPS_SAMPLE_PX))
    return float(counter.get_total_flops()) / FLOPS_SAMPLE_PX**2


def peak_flops(device: Device) -> float:
    """What the device reaches at its best: one large matrix product in 16 bits."""
    bench, place = BENCHES[device.torch_device.type], device.torch_device
    dtype = torch.float16 if place.type == "cuda" else torch.bfloat16
    one, other = (torch.rand(bench.matrix, bench.matrix, device=place).to(dtype) for _ in range(2))
    repeats = 20

    def products() -> None:
        for _ in range(repeats):
            torch.mm(one, other)

    return 2 * bench.matrix**3 * repeats / median_s(products, runs=max(3, bench.runs))


def median_s(work: Callable[[], object], *, runs: int) -> float:
    """Median time over the runs, after one to warm up; the device has finished at both ends."""
    work()
    times_s = []
    for _ in range(runs):
        finish()
        begun_s = time.perf_counter()
        work()
        finish()
        times_s.append(time.perf_counter() - begun_s)
    return statistics.median(times_s)


def finish() -> None:
    """Wait for a CUDA device, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
