"""What a thousand images cost on Modal, by model and card: measured speeds times a price list.

    python -m benchmarks.costs [--prices FILE] [--results DIR] [--hourly 10 100 1000]

Only what was measured makes a number. A file of results says by its name which card it is of:
`python -m benchmarks.throughput --device cuda --json benchmarks/results/throughput-l4.json`, and
the same with `benchmarks.creative` and `benchmarks.speed`. Cold starts are not in the figures.
"""

import argparse
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from benchmarks.prices import ModalPrices, Prices
from deployment import CREATIVE, FAITHFUL, Tier

PRICES, RESULTS = Path("benchmarks/prices.json"), Path("benchmarks/results")
HOURLY = (10, 100, 1000)
CPU = "CPU"
MIB_A_GIB = 1024


class ResultRow(BaseModel):
    """A figure of a benchmark."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    what: str
    measured: float


class Results(BaseModel):
    """What a benchmark has written."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: list[ResultRow]


class Model(NamedTuple):
    """Something that enlarges, and where its speed is written.

    `benchmark` and `row` name the figure, in output megapixels a second at a factor of `scale`. A
    network alone makes that much of any source, and less is reduced from it; what `is_reducible`
    is false for does other work at each other factor.
    """

    name: str
    covers: str
    benchmark: str
    row: str
    tier: Tier
    scale: int
    is_reducible: bool
    has_cpu: bool


def _network(name: str, scale: int) -> Model:
    row = f"{name}, output MP/s"
    return Model(
        name, "network alone", "throughput", row, FAITHFUL, scale, is_reducible=True, has_cpu=True
    )


def _built_in(width: str) -> Model:
    row = f"{width}, JPEG to JPEG"
    return Model(
        f"built-in {width}", "file to file", "speed", row, FAITHFUL, 4,
        is_reducible=False, has_cpu=True,
    )  # fmt: skip


MODELS = (
    _built_in("small"),
    _built_in("base"),
    _network("general-x4v3", 4),
    _network("RealPLKSR", 4),
    _network("x4plus", 4),
    _network("x2plus", 2),
    Model(
        name="Clarity",
        covers="diffusion alone",
        benchmark="creative",
        row="output MP/s",
        tier=CREATIVE,
        scale=2,
        is_reducible=False,
        has_cpu=False,  # there its benchmark takes narrower networks, whose speed says nothing here
    ),
)


class Size(NamedTuple):
    """An image: what comes in, and how many times as wide and high it goes out."""

    source_megapixels: float
    factor: int

    def __str__(self) -> str:
        output = self.source_megapixels * self.factor**2
        return f"{self.source_megapixels:g} MP by {self.factor} to {output:g} MP"


SIZES = (Size(1, 2), Size(1, 4), Size(2, 4))


HOW_TO_MEASURE = """
What is not measured, a machine with that card measures (here an L4; and benchmarks.creative alike):
  python -m benchmarks.throughput --device cuda --json benchmarks/results/throughput-l4.json
  python -m benchmarks.speed --device cuda --json benchmarks/results/speed-l4.json"""


class Container(NamedTuple):
    """What is paid for each second: a card (or none), physical cores, GiB; and how long idly."""

    card: str | None
    cores: float
    memory_gib: float
    idle_s: int


CPU_CONTAINER = Container(card=None, cores=2, memory_gib=2, idle_s=60)
"""Two cores are what the speeds were measured on; an enlargement takes 0.8 GB at its peak."""


class Cost(NamedTuple):
    """USD for a thousand images, of the work alone; None where the speed was not measured, or is of
    another factor.
    """

    model: Model
    card: str
    megapixels_a_second: float | None
    by_size: Mapping[Size, float | None]


class Idle(NamedTuple):
    """What a container costs, and what its waiting adds to a thousand images at so many an hour."""

    name: str
    container: Container
    usd_an_hour: float
    by_hourly: Mapping[int, float]


Speeds = Mapping[tuple[str, str], Mapping[str, float]]
"""Of a benchmark and a card: each of its figures."""


def main() -> None:
    """Read, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prices", type=Path, default=PRICES)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--hourly", type=int, nargs="+", default=HOURLY, help="images an hour")
    args = parser.parse_args()
    if min(args.hourly) < 1:
        parser.error("--hourly: at least one image an hour")
    try:
        prices = Prices.model_validate_json(args.prices.read_bytes())
        speeds = read_speeds(args.results)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print_costs(list(costs(prices.modal, speeds)))
    print_idle(list(idle_costs(prices.modal, speeds, hourly=args.hourly)))
    print_stores(prices)
    print(HOW_TO_MEASURE)
    for benchmark, card in speeds:
        if card != CPU and card not in prices.modal.cards:
            print(f"{benchmark}-{card.lower()}.json: the price list has no card {card}")


def read_speeds(folder: Path) -> Speeds:
    """The figures of every benchmark that this is about; `ValueError` for a file that is none."""
    speeds = {}
    for benchmark in sorted({model.benchmark for model in MODELS}):
        for path in sorted(folder.glob(f"{benchmark}*.json")):
            card = path.stem.removeprefix(benchmark).removeprefix("-").upper() or CPU
            results = Results.model_validate_json(path.read_bytes())
            speeds[benchmark, card] = {row.what: row.measured for row in results.rows}
    return speeds


def costs(prices: ModalPrices, speeds: Speeds) -> Iterator[Cost]:
    """Of each model on a processor, on its tier's cards, and on each other card that was measured.

    The list is complete: what was not measured is there without numbers.
    """
    for model in MODELS:
        for card in cards_of(model, speeds, prices):
            speed = speeds.get((model.benchmark, card), {}).get(model.row)
            rate = usd_a_second(container_of(model.tier, card), prices)
            by_size = {size: usd_a_thousand(model, size, rate=rate, speed=speed) for size in SIZES}
            yield Cost(model, card, speed, by_size)


def idle_costs(prices: ModalPrices, speeds: Speeds, *, hourly: Sequence[int]) -> Iterator[Idle]:
    """Of each tier's containers, with each card that is in the list of costs."""
    places = dict.fromkeys(
        (model.tier if card != CPU else None, card)
        for model in MODELS
        for card in cards_of(model, speeds, prices)
    )
    for tier, card in places:
        container = CPU_CONTAINER if tier is None else container_of(tier, card)
        rate = usd_a_second(container, prices)
        added = {
            each: 1000 * rate * idle_s_an_image(container.idle_s, images_an_hour=each)
            for each in hourly
        }
        yield Idle("two cores" if tier is None else tier.name, container, rate * 3600, added)


def cards_of(model: Model, speeds: Speeds, prices: ModalPrices) -> list[str]:
    """Where a model may run, as far as there is a price for it."""
    measured = [card for benchmark, card in speeds if benchmark == model.benchmark]
    cards = dict.fromkeys([CPU, *model.tier.machine.gpu, *measured])
    return [card for card in cards if card in prices.cards or (card == CPU and model.has_cpu)]


def usd_a_thousand(model: Model, size: Size, *, rate: float, speed: float | None) -> float | None:
    """For a thousand images at `rate` USD and `speed` megapixels a second."""
    work = work_megapixels(model, size)
    return None if work is None or not speed else 1000 * rate * work / speed


def container_of(tier: Tier, card: str) -> Container:
    """A worker of the tier, as it is deployed, with that card; on a processor the one for all."""
    if card == CPU:
        return CPU_CONTAINER
    machine, idle_s = tier.machine, tier.scale.scaledown_window_s
    return Container(card, machine.cpu, machine.memory_mib / MIB_A_GIB, idle_s)


def usd_a_second(container: Container, prices: ModalPrices) -> float:
    """What a container costs, busy or not."""
    card = 0.0 if container.card is None else prices.cards[container.card].usd_a_second
    cores = container.cores * prices.cpu_core.usd_a_second
    return card + cores + container.memory_gib * prices.memory_gib.usd_a_second


def work_megapixels(model: Model, size: Size) -> float | None:
    """How much a model makes for an image of that size; None if its speed says nothing of that."""
    is_known = model.scale == size.factor or (model.is_reducible and model.scale > size.factor)
    return size.source_megapixels * model.scale**2 if is_known else None


def idle_s_an_image(window_s: int, *, images_an_hour: int) -> float:
    """How long a container waits after an image, at most its window, on average.

    Images come at random moments; that more than one container waits, or that the next image comes
    while this one is in work, is left out.
    """
    a_second = images_an_hour / 3600
    return -math.expm1(-a_second * window_s) / a_second


def print_costs(costs: list[Cost]) -> None:
    """What work costs; the cards that a model was not measured on share a row."""
    table = _table(
        "USD for a thousand images, containers at work; cold starts and waiting apart",
        "model", "measured", "on", "output MP/s", *map(str, SIZES),
    )  # fmt: skip
    for model, group in itertools.groupby(costs, key=lambda cost: cost.model):
        unmeasured = []
        for one in group:
            if one.megapixels_a_second is None:
                unmeasured.append(one.card)
                continue
            usd = [shown(each) for each in one.by_size.values()]
            table.add_row(model.name, model.covers, one.card, f"{one.megapixels_a_second:g}", *usd)
        if unmeasured:
            table.add_row(model.name, model.covers, ", ".join(unmeasured), "not measured")
    _print(table)


def print_idle(idle: list[Idle]) -> None:
    """What waiting costs."""
    hourly = [f"{each} an hour" for each in idle[0].by_hourly]
    table = _table(
        "USD that waiting adds to a thousand images, by how many images come in an hour",
        "container", "on", "cores", "GiB", "waits", "USD an hour", *hourly,
    )  # fmt: skip
    for one in idle:
        card, cores, memory_gib, idle_s = one.container
        table.add_row(
            one.name, card or CPU, f"{cores:g}", f"{memory_gib:g}", f"{idle_s} s",
            f"{one.usd_an_hour:.2f}", *map(shown, one.by_hourly.values()),
        )  # fmt: skip
    _print(table)


def print_stores(prices: Prices) -> None:
    """What stores ask, beside the containers."""
    table = _table("What stores ask, in USD", "store", "read", "for", "USD")
    for name, store in prices.stores.items():
        for unit, usd in store.usd.items():
            table.add_row(name, store.read.isoformat(), unit, f"{usd:g}")
    _print(table)


def shown(usd: float | None) -> str:
    """An amount to the cent, or to two digits if it is less than that."""
    if usd is None:
        return "-"
    return f"{usd:.2f}" if usd >= 0.1 else f"{usd:.2g}"


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    return table


def _print(table: Table) -> None:
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
