"""How soon webhooks arrive: beside a dead receiver, and what the service adds to the engine's time.

    python -m benchmarks.delivery

A real service on loopback, in a process of its own as `enlarger serve` runs it: SQLite with full
synchronisation, one worker, the delivery threads and the sweeper. Only its engine is a stand-in
that takes no time. The receivers run here; one of them takes connections and never answers.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import uvicorn

from benchmarks.load import request
from benchmarks.report import Row, print_table, write_results
from benchmarks.service import Served, account, free_port, headers_of, photograph, process, upload
from handlers.app import create_app
from handlers.settings import Settings
from handlers.wiring import open_files, open_store, wired
from inference.params import UpscaleParams
from local_app import DELIVERY_THREADS, DISPATCH_GRACE_MS, SWEEP_EVERY_S, LocalDispatcher

RECEIVERS = 50
DEAD_EVERY = 5
"""Every fifth webhook goes to the dead one: ten times its share."""

JOBS = 200
A_SECOND = 10.0
CONNECTIONS = 16
PATIENCE_S = 60.0
BESIDE_DEAD_P99_MS = 2_000
OVERHEAD_P50_MS, OVERHEAD_P99_MS = 100, 400


class Enlarged(NamedTuple):
    """What an engine returns."""

    width_px: int = 1280
    height_px: int = 960
    network: str = "stand-in"
    is_fallback: bool = False
    quality: None = None


class StandIn:
    """An engine that takes no time, so that all the time is the service's."""

    def upscale(
        self,
        source: bytes,
        params: UpscaleParams,  # noqa: ARG002, whatever was asked for
        *,
        sink: BinaryIO,
        progress: Callable[[int, int], None],
    ) -> Enlarged:
        """Write the source back."""
        progress(1, 1)
        sink.write(source)
        return Enlarged()


def serve(data: Path, port: int) -> None:
    """Serve as `local_app` does, but for the engine; until the process is ended."""
    environment = {"ENLARGER_DATA": str(data), "ENLARGER_OUTBOUND_ALLOW": "127.0.0.1/32"}
    settings = Settings.from_environment(os.environ | environment)
    dispatcher = LocalDispatcher()
    services = wired(
        settings,
        kv=open_store(settings, may_create=False),
        objects=open_files(settings),
        dispatcher=dispatcher,
        public_url=f"http://127.0.0.1:{port}",
        dispatch_grace_ms=DISPATCH_GRACE_MS,
    )
    dispatcher.deliver_with(services.courier.deliver, threads=DELIVERY_THREADS)
    dispatcher.work_with(services.worker(StandIn()).work, threads=1)

    def sweep() -> None:
        while True:
            services.sweeper.sweep()
            time.sleep(SWEEP_EVERY_S)

    threading.Thread(target=sweep, daemon=True).start()
    uvicorn.run(create_app(services), port=port, access_log=False, log_level="warning")


@dataclass
class Receivers:
    """Servers that note when each job's end arrives, and one that never answers."""

    urls: list[str] = field(default_factory=list)
    dead_url: str = ""
    touched: int = 0
    """How often somebody has connected to the dead one."""

    at_s: dict[str, float] = field(default_factory=dict)
    completed_at_s: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Event] = field(default_factory=dict)

    async def arrival(self, job_id: str) -> float:
        """When that job's end has arrived; waits for it."""
        if job_id not in self.at_s:
            event = self._waiting.setdefault(job_id, asyncio.Event())
            async with asyncio.timeout(PATIENCE_S):
                await event.wait()
        return self.at_s[job_id]

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a webhook."""
        with contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            said = json.loads(await reader.readexactly(int(length)))
            job_id = said["jobId"]
            self.at_s[job_id] = time.time()
            self.completed_at_s[job_id] = datetime.fromisoformat(said["completedAt"]).timestamp()
            if job_id in self._waiting:
                self._waiting[job_id].set()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()

    async def hang(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, and say nothing until the other side leaves."""
        self.touched += 1
        # At the end it is cancelled, and who has served it would complain of that.
        with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError):
            while await reader.read(65536):
                pass


@asynccontextmanager
async def receivers(count: int) -> AsyncIterator[Receivers]:
    """So many of them, the dead one among them."""
    made = Receivers()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            handle = made.receive if number else made.hang
            server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=512)
            await stack.enter_async_context(server)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
            if number:
                made.urls.append(url)
            else:
                made.dead_url = url
        yield made


class Customer:
    """Submits over a few connections that stay open."""

    def __init__(self, served: Served, image: str) -> None:
        self._served = served
        self._image = image
        self._idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    async def connect(self) -> None:
        """Open the connections."""
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(await asyncio.open_connection("127.0.0.1", self._served.port))

    async def submit(self, webhook_url: str) -> tuple[str, float]:
        """The job of a submission, and when it was accepted."""
        body = {
            "model": "topaz-image-upscale",
            "topazUpscaleParams": {"image": self._image},
            "webhookUrl": webhook_url,
            "webhookEvents": ["completed"],
        }
        reader, writer = connection = await self._idle.get()
        writer.write(
            request(
                "POST",
                "/v2/images/upscale",
                headers=self._served.headers,
                body=json.dumps(body).encode(),
            )
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        answer = json.loads(await reader.readexactly(int(length)))
        accepted_at_s = time.time()
        self._idle.put_nowait(connection)
        if b" 202 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"a submission was answered {answer}")
        return str(answer["jobId"]), accepted_at_s


async def one_after_another(customer: Customer, seen: Receivers, *, jobs: int) -> list[float]:
    """The milliseconds from each acceptance to the webhook; the next follows the webhook."""
    overheads_ms = []
    for _ in range(jobs):
        job_id, accepted_at_s = await customer.submit(seen.urls[0])
        overheads_ms.append((await seen.arrival(job_id) - accepted_at_s) * 1000)
    return overheads_ms


async def at_a_rate(customer: Customer, seen: Receivers, *, jobs: int) -> list[float]:
    """The same, of jobs that come `A_SECOND`, whatever became of those before."""

    async def one(number: int) -> float:
        await asyncio.sleep(number / A_SECOND)
        job_id, accepted_at_s = await customer.submit(seen.urls[0])
        return (await seen.arrival(job_id) - accepted_at_s) * 1000

    return await asyncio.gather(*(one(number) for number in range(jobs)))


async def beside_a_dead_one(
    customer: Customer, seen: Receivers, *, seconds: float, a_second: float
) -> list[float]:
    """The milliseconds from each terminal commit to the webhook, of those that can be received."""

    async def one(number: int) -> float | None:
        await asyncio.sleep(number / a_second)
        if number % DEAD_EVERY == 0:
            await customer.submit(seen.dead_url)
            return None
        job_id, _ = await customer.submit(seen.urls[number % len(seen.urls)])
        arrived_at_s = await seen.arrival(job_id)
        return (arrived_at_s - seen.completed_at_s[job_id]) * 1000

    jobs = int(seconds * a_second)
    all_ms = await asyncio.gather(*(one(number) for number in range(jobs)))
    return [each for each in all_ms if each is not None]


async def measured(served: Served, image: str, args: argparse.Namespace) -> list[Row]:
    """All three."""
    customer = Customer(served, image)
    await customer.connect()
    async with receivers(RECEIVERS) as seen:
        await one_after_another(customer, seen, jobs=min(20, args.jobs))  # warm up
        rows = rows_of("one after another", await one_after_another(customer, seen, jobs=args.jobs))
        rows += rows_of(
            f"at {A_SECOND:g} a second", await at_a_rate(customer, seen, jobs=args.jobs)
        )
        beside_ms = await beside_a_dead_one(
            customer, seen, seconds=args.seconds, a_second=args.rate
        )
        note = (
            f"{len(beside_ms)} webhooks to {RECEIVERS - 1} receivers, {args.rate:g} jobs/s, every "
            f"{DEAD_EVERY}th to the dead one, which was connected to {seen.touched} times"
        )
    what = "from terminal commit to receipt beside a dead receiver, ms"
    p99_ms = quantile(beside_ms, 0.99)
    return [
        *rows,
        Row(f"{what}: p50", None, round(quantile(beside_ms, 0.5), 1)),
        Row(
            f"{what}: p99",
            BESIDE_DEAD_P99_MS,
            round(p99_ms, 1),
            note=note,
            reached=p99_ms < BESIDE_DEAD_P99_MS,
        ),
    ]


def rows_of(how: str, overheads_ms: list[float]) -> list[Row]:
    """The median and the slowest hundredth of the overheads."""
    asked = {0.5: ("median", OVERHEAD_P50_MS), 0.99: ("p99", OVERHEAD_P99_MS)}
    rows = []
    for share, (name, most_ms) in asked.items():
        took_ms = quantile(overheads_ms, share)
        what = f"from acceptance to webhook, {how}, ms: {name}"
        rows.append(Row(what, most_ms, round(took_ms, 1), reached=took_ms < most_ms))
    return rows


def quantile(values: list[float], share: float) -> float:
    """The value that this share of all stays under."""
    return sorted(values)[int(share * (len(values) - 1))]


@contextmanager
def service() -> Iterator[Served]:
    """The service in a process of its own, and an account that can pay for everything."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        rich: Any = account(data, credits=10_000_000)
        port = free_port()
        command = ["-m", "benchmarks.delivery", "--serve", str(data), "--port", str(port)]
        with process([sys.executable, *command], {}, port=port):
            yield Served(port, headers_of(rich), data)


def main() -> None:
    """Measure, print beside what was asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS, help="of which overhead is measured")
    parser.add_argument("--seconds", type=float, default=30.0, help="beside the dead receiver")
    parser.add_argument("--rate", type=float, default=20.0, help="jobs a second beside it")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/delivery.json"))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        serve(args.serve, args.port)
        return
    with service() as served:
        rows = asyncio.run(measured(served, upload(served, photograph()), args))
    print_table("Delivery", rows)
    write_results(args.json, rows)
    if not all(row.is_reached for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
