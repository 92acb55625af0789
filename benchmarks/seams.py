"""Whether tiles show: tiled against whole for local networks, the seam score for the others.

    python -m benchmarks.seams --bench DIR [--json benchmarks/results/seams.json]

DIR holds pictures, such as Kodak24; the first `--pictures` of them are measured, reduced by three,
and a plain gradient beside them. Networks that do not ship with the code are small ones of their
architecture with random weights, a share of whose output is added to a bicubic enlargement; a
stand-in, whose tone depends on the whole tile, shows what fading has to hide.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.protocol import pictures, pixels, reduced
from benchmarks.report import Row, print_table, write_results
from inference.catalogue import WEIGHTS_FOLDER
from inference.chain import Chain
from inference.checkpoints import load_network
from inference.devices import Cpu, Sizes
from inference.networks.dat import DAT
from inference.networks.dat_attention import Form
from inference.networks.network import Network
from inference.networks.realplksr import RealPLKSR
from inference.networks.rrdbnet import RRDBNet
from inference.networks.span import SPAN
from inference.networks.srvgg import SRVGG
from inference.picture import Picture
from inference.published import PHOTO
from inference.quality import QualityMeter, Seams
from inference.runner import run
from inference.tiling import Plan, Windows, plan

Pixels = NDArray[np.uint8]

ASKED_LEVELS, ASKED_SCORE = 1, 1.05
SMALL, WHOLE = 160, 4_096
DETAIL, TONE = 0.2, 0.1
SCALE = 4


class Detailed(Network):
    """A bicubic enlargement, and a share of what an untrained network gives on top."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.scale = network.scale
        self.radius_px = max(network.radius_px, 3)
        self.is_local = network.is_local
        self.multiple_px = network.multiple_px

    def forward(self, picture: Tensor) -> Tensor:
        smooth = F.interpolate(picture, scale_factor=float(self.scale), mode="bicubic")
        added: Tensor = smooth + DETAIL * self.network(picture)
        return added


class Toned(Network):
    """A smooth enlargement whose tone depends on its input's mean, far more than it should."""

    scale = SCALE
    radius_px = 32
    is_local = False

    def forward(self, picture: Tensor) -> Tensor:
        tone = TONE * (0.5 - picture.mean(dim=(2, 3), keepdim=True))
        return F.interpolate(picture, scale_factor=float(SCALE), mode="bicubic") + tone


NETWORKS: Mapping[str, Callable[[], Network]] = {
    "built-in x2": lambda: load_network(PHOTO.x2, folder=WEIGHTS_FOLDER),
    "built-in x4": lambda: load_network(PHOTO.x4, folder=WEIGHTS_FOLDER),
    "SRVGG": lambda: SRVGG(scale=SCALE, channels=16, convs=16),
    "SPAN": lambda: SPAN(scale=SCALE, channels=16, is_normalising=False),
    "RRDBNet x4": lambda: RRDBNet(scale=4, channels=16, blocks=2, growth=8),
    "RRDBNet x2": lambda: RRDBNet(scale=2, channels=16, blocks=2, growth=8),
    "Stand-in": Toned,
    "RealPLKSR": lambda: Detailed(
        RealPLKSR(scale=SCALE, channels=16, blocks=6, partial=4, kernel_px=17)
    ),
    "DAT": lambda: Detailed(
        DAT(Form(channels=64, heads=4, window=(8, 16)), groups=2, blocks=2, expansion=2, wide=16,
            factors=(2, 2))
    ),
}  # fmt: skip


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="only these")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/seams.json"))
    args = parser.parse_args()
    chosen = pictures(args.bench)[: args.pictures]
    sources = {"gradient": gradient()} | {path.stem: reduced(pixels(path), 3) for path in chosen}
    rows = [row for name in args.network or NETWORKS for row in measured(name, sources)]
    print_table(f"Windows of {SMALL} px against whole pictures (at most)", rows)
    write_results(args.json, rows)


def measured(name: str, sources: Mapping[str, Pixels]) -> Iterator[Row]:
    """A row for the gradient, and one for the worst of the pictures."""
    torch.manual_seed(0)
    network = Cpu().prepare(NETWORKS[name]().eval())
    chain = Chain([network], scale=network.scale)
    figures = {source: (levels if chain.is_local else score)(chain, sources[source])
               for source in sources}  # fmt: skip
    asked = float(ASKED_LEVELS) if chain.is_local else ASKED_SCORE
    what = "levels of difference" if chain.is_local else "seam score"
    others = [source for source in sources if source != "gradient"]
    for source in ["gradient", *sorted(others, key=figures.__getitem__)[-1:]]:
        figure = round(figures[source], 4)
        shown = source if source == "gradient" else f"worst of {len(others)} pictures, {source}"
        yield Row(f"{name}, {shown}", asked, figure, what, reached=figure <= asked)
    if not chain.is_local:
        chain.is_local = True
        cut = round(score(chain, sources["gradient"]), 4)
        yield Row(f"{name}, gradient, cut and not faded", None, cut, what)


def levels(chain: Chain, source: Pixels) -> float:
    """The largest difference between the tiled and the whole result."""
    tiled, whole = (enlarged(chain, source, side_px) for side_px in (SMALL, WHOLE))
    return float(np.abs(tiled.astype(int) - whole).max())


def score(chain: Chain, source: Pixels) -> float:
    """The report's own seam score; NaN where there are too few seams to tell."""
    height, width = source.shape[:2]
    planned = plan(width, height, windows=Windows(SMALL, SMALL), overlap=chain.overlap)
    meter = QualityMeter(Picture(source), scale=chain.scale, seams=seams(planned, chain.scale))
    meter.add(enlarged(chain, source, SMALL))
    told = meter.report().seam_score
    return float("nan") if told is None else told


def seams(planned: Plan, scale: int) -> Seams:
    """Where the cores of a plan meet in the result."""
    rows, columns = (tuple(part.core.start * scale for part in axis[1:]) for axis in planned)
    return Seams(rows, columns)


def enlarged(chain: Chain, source: Pixels, side_px: int) -> Pixels:
    """The result by windows of at most that size."""
    rows = run(
        chain,
        [source],
        device=Cpu(),
        bits=8,
        progress=lambda _done, _of: None,
        sizes=Sizes(Windows(side_px, side_px), 1),
    )
    return np.concatenate(list(rows)).astype(np.uint8, copy=False)


def gradient() -> Pixels:
    """Soft shades without any detail that could hide a seam."""
    across, down = np.meshgrid(np.linspace(0, 1, 256), np.linspace(0, 1, 170))
    shades = np.stack((across, down, (across + down) / 2), axis=2)
    return np.asarray((shades * 200 + 20).round(), np.uint8)


if __name__ == "__main__":
    main()
