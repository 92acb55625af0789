"""How faithful the built-in networks are, beside bicubic, Lanczos and what papers report.

    python -m benchmarks.quality --bench DIR [--json benchmarks/results/quality.json]

DIR holds a folder of pictures for each set, and Set5_LR to hold our resizer against MATLAB's.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.protocol import (
    Method,
    Pixels,
    by_kernel,
    pairs,
    pictures,
    pixels,
    reduced,
    score,
    through_jpeg,
    truths,
)
from benchmarks.report import Row, print_table, write_results
from benchmarks.resampling import CUBIC, LANCZOS3
from inference.catalogue import WEIGHTS_FOLDER
from inference.chain import Chain
from inference.checkpoints import load_network
from inference.devices import Device, device_named
from inference.published import BUILT_IN, Kind, Width
from inference.runner import run

SETS = ("Set5", "Set14", "B100", "Urban20", "Kodak24")
SCALES = (2, 4)
WIDTHS: tuple[Width, ...] = ("small", "base")
GUARD_DB, GUARD_TOLERANCE_DB = 28.43, 0.02
ASKED_DB = {
    ("Set5", 2, "small clean"): 37.4,
    ("Set5", 4, "small clean"): 31.5,
    ("Set5", 2, "base clean"): 37.7,
    ("Set5", 4, "base clean"): 31.9,
    ("Urban20", 4, "base clean"): 25.2,
}
ASKED_OF_CPU_DB = {("Set5", 2, "small clean"): 37.0, ("Set5", 4, "small clean"): 31.0}
"""What is asked where the networks were trained on a CPU, as those that ship were."""

ASKED_JPEG_GAIN_DB = 1.0


class Published(NamedTuple):
    """What a paper reports for Set5, bicubic reduction, luma PSNR in dB at x2 and x4."""

    name: str
    parameters: str
    x2_db: float
    x4_db: float


PUBLISHED = (
    Published("FSRCNN (2016)", "0.01 M", 37.00, 30.72),
    Published("EDSR-baseline (2017)", "1.4 to 1.5 M", 37.99, 32.09),
    Published("IMDN (2019)", "0.7 M", 38.00, 32.21),
    Published("SPAN (2023)", "0.5 M", 38.06, 32.20),
    Published("SwinIR-light (2021)", "0.9 M", 38.14, 32.44),
    Published("HAT (2023)", "20.8 M", 38.63, 33.04),
)


class BuiltInMethod:
    """What the engine makes of a picture with the built-in networks of one width and kind."""

    def __init__(self, width: Width, kind: Kind, *, device: Device) -> None:
        self._device = device
        networks = (load_network(each, folder=WEIGHTS_FOLDER) for each in BUILT_IN[width, kind])
        self._chains = {
            network.scale: Chain([device.prepare(network)], scale=network.scale)
            for network in networks
        }

    def __call__(self, small: Pixels, scale: int) -> Pixels:
        """The enlarged picture, 8 bits."""
        rows = run(
            self._chains[scale], [small], device=self._device, bits=8, progress=lambda *_: None
        )
        return np.concatenate(list(rows)).astype(np.uint8, copy=False)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/quality.json"))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args()
    device = device_named(args.device)
    rows = [
        *guards(args.bench),
        *clean(args.bench, device),
        *from_jpeg(args.bench, device),
        *published(),
    ]
    print_table("Quality of the built-in networks (luma PSNR in dB)", rows)
    write_results(args.json, rows)


def guards(bench: Path) -> Iterator[Row]:
    """Whether we measure what others do: MATLAB's reductions, and a figure everybody knows."""
    same = sum(
        np.array_equal(reduced(truth, scale), pixels(bench / "Set5_LR" / f"x{scale}" / path.name))
        for scale in SCALES
        for path, truth in zip(pictures(bench / "Set5"), truths(bench / "Set5", scale), strict=True)
    )
    yield Row("Set5_LR reductions equal MATLAB's", 10, same, "files, bit for bit")
    psnr_db = score(by_kernel(CUBIC), pairs(bench / "Set5", 4), 4).psnr_db
    near = abs(psnr_db - GUARD_DB) <= GUARD_TOLERANCE_DB
    yield Row("Set5 x4 bicubic guards the metric", GUARD_DB, round(psnr_db, 3), reached=near)


def clean(bench: Path, device: Device) -> Iterator[Row]:
    """Every set, scale and method, from inputs reduced without further damage."""
    methods: Mapping[str, Method] = {
        "bicubic": by_kernel(CUBIC),
        "Lanczos3": by_kernel(LANCZOS3),
        **{f"{width} clean": BuiltInMethod(width, "clean", device=device) for width in WIDTHS},
    }
    for name in SETS:
        for scale in SCALES:
            some = pairs(bench / name, scale)
            for label, method in methods.items():
                psnr_db, ssim = score(method, some, scale)
                place = (name, scale, label)
                note = f"SSIM {ssim:.4f}"
                if place in ASKED_OF_CPU_DB:
                    reached = "reached" if psnr_db >= ASKED_OF_CPU_DB[place] else "missed"
                    note += f"; trained on a CPU: {ASKED_OF_CPU_DB[place]:g} asked, {reached}"
                is_reached = psnr_db >= ASKED_DB.get(place, 0)
                yield Row(f"{name} x{scale} {label}", ASKED_DB.get(place), round(psnr_db, 3), note,
                          reached=is_reached)  # fmt: skip


def from_jpeg(bench: Path, device: Device) -> Iterator[Row]:
    """Kodak24 at x2 from inputs saved as JPEG, quality 75, as the web does."""
    some = pairs(bench / "Kodak24", 2, damage=through_jpeg)
    lanczos = score(by_kernel(LANCZOS3), some, 2)
    note = f"SSIM {lanczos.ssim:.4f}"
    yield Row("Kodak24 x2 JPEG 75 Lanczos3", None, round(lanczos.psnr_db, 3), note)
    for width in WIDTHS:
        ours = score(BuiltInMethod(width, "photo", device=device), some, 2)
        what = f"Kodak24 x2 JPEG 75 {width} photo"
        yield Row(what, None, round(ours.psnr_db, 3), f"SSIM {ours.ssim:.4f}")
        gain_db = ours.psnr_db - lanczos.psnr_db
        is_reached = gain_db >= ASKED_JPEG_GAIN_DB
        what = f"{what}, gain over Lanczos3"
        yield Row(what, ASKED_JPEG_GAIN_DB, round(gain_db, 3), "dB", reached=is_reached)


def published() -> Iterator[Row]:
    """What others reach with larger networks and training sets."""
    for each in PUBLISHED:
        for scale, psnr_db in ((2, each.x2_db), (4, each.x4_db)):
            note = f"as published; {each.parameters} parameters"
            yield Row(f"Set5 x{scale} {each.name}", None, psnr_db, note)


if __name__ == "__main__":
    main()
