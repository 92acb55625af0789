"""Two hundred streams of events at once on one process: how soon they tell what was committed.

    python -m benchmarks.streams

A real `enlarger serve` on loopback, SQLite with full synchronisation, without workers: this process
writes what workers would, to the same file, so that the server has to find it. Polls go on beside.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from benchmarks.load import Load, request
from benchmarks.report import Row, print_table, write_results
from benchmarks.service import (
    Served,
    account,
    enlarger,
    headers_of,
    json_of,
    photograph,
    upload,
)
from handlers.settings import Settings
from handlers.wiring import open_files, open_store, wired
from jobs.job import Result
from jobs.records import find_job
from jobs.services import Services
from jobs.watcher import MAX_STREAMS_EACH
from storage.kv import Conflict, Key

STREAMS = 200
STEPS = 12
REPORTS = 4
"""How often a job's progress is written."""

POLLS_A_SECOND = 50
TERMINAL = b"event: completed"


class Nobody:
    """A dispatcher without anybody to hint at."""

    def job(self, job_id: UUID, *, model: str) -> None:
        """Nobody works but this process."""

    def delivery(self, key: Key) -> None:
        """There are no webhooks."""


@dataclass
class Heard:
    """When each commit was made and heard of, by a clock of this process."""

    committed_s: dict[tuple[UUID, int], float] = field(default_factory=dict)
    told_s: dict[tuple[UUID, int], float] = field(default_factory=dict)
    ended: set[UUID] = field(default_factory=set)

    def latencies_s(self, *, at_the_end: bool) -> list[float]:
        """From the end of a commit to its event, of ends or of all that came before them."""
        last: dict[UUID, int] = {}
        for job_id, sequence in self.committed_s:
            last[job_id] = max(sequence, last.get(job_id, 0))
        return [
            self.told_s[which] - self.committed_s[which]
            for which in self.told_s.keys() & self.committed_s.keys()
            if (last[which[0]] == which[1]) is at_the_end
        ]


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--seconds", type=float, default=20.0, help="for all the jobs")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/streams.json"))
    args = parser.parse_args()

    with ExitStack() as servers:
        served = servers.enter_context(enlarger())
        services = servers.enter_context(beside(served))
        jobs = submitted(served, count=args.streams)
        rows = asyncio.run(measured(served, services, jobs, seconds=args.seconds))
    print_table("Streams of events", rows)
    write_results(args.json, rows)
    if not all(row.is_reached for row in rows):
        sys.exit(1)


async def measured(
    served: Served, services: Services, jobs: dict[UUID, Served], *, seconds: float
) -> list[Row]:
    """Polls alone, then beside all the streams while the jobs run."""
    polled = request(
        "GET", f"/v2/jobs/{next(iter(jobs))}", headers=next(iter(jobs.values())).headers
    )
    alone = await polls(served.port, polled, seconds=min(seconds, 5.0))
    heard = Heard()
    opened = [asyncio.Event() for _ in jobs]
    streams = [
        asyncio.create_task(listen(customer, job_id, heard, is_open))
        for (job_id, customer), is_open in zip(jobs.items(), opened, strict=True)
    ]
    await asyncio.gather(*(is_open.wait() for is_open in opened))
    working = asyncio.to_thread(run_all, services, [*jobs], heard, seconds=seconds)
    beside_all, _ = await asyncio.gather(polls(served.port, polled, seconds=seconds), working)
    await asyncio.gather(*streams)
    return rows_of(heard, alone, beside_all, count=len(jobs))


def rows_of(heard: Heard, alone: Load, beside_all: Load, *, count: int) -> list[Row]:
    """The figures."""
    ends = Load(latencies_s=heard.latencies_s(at_the_end=True))
    others = Load(latencies_s=heard.latencies_s(at_the_end=False))
    skipped = len(heard.committed_s) - len(ends.latencies_s) - len(others.latencies_s)
    told = f"{len(others.latencies_s)} told before the ends, {skipped} overtaken by newer ones"
    return [
        Row("streams open at once that told their job's end", count, len(heard.ended), told),
        Row("p50 from the commit of an end to its event, ms", None, ends.quantile_ms(0.5)),
        Row("p99 from the commit of an end to its event, ms", None, ends.quantile_ms(0.99)),
        Row("p50 from the commit of progress to its event, ms", None, others.quantile_ms(0.5)),
        Row("p99 from the commit of progress to its event, ms", None, others.quantile_ms(0.99)),
        *(
            Row(
                f"p{share:.0%} of polls beside it, ms".replace("%", ""),
                None,
                of.quantile_ms(share),
                f"{without.quantile_ms(share):.1f} ms without streams",
            )
            for share, of, without in [(0.5, beside_all, alone), (0.99, beside_all, alone)]
        ),
    ]


async def listen(customer: Served, job_id: UUID, heard: Heard, is_open: asyncio.Event) -> None:
    """Read a job's stream to its end. Every event comes in a chunk of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", customer.port)
    writer.write(request("GET", f"/v2/jobs/{job_id}/events", headers=customer.headers))
    event = b""
    while line := (await reader.readline()).strip():
        pass  # the head
    while (line := await reader.readline()) not in (b"", b"0\r\n"):
        if line.startswith(b"event: "):
            event = line.strip()
        if line.startswith(b"id: "):
            sequence = int(line[4:].partition(b".")[0])
            heard.told_s[job_id, sequence] = time.perf_counter()
            is_open.set()
        if line == b"\n" and event == TERMINAL:
            heard.ended.add(job_id)
    writer.close()


async def polls(port: int, prepared: bytes, *, seconds: float) -> Load:
    """Ask again and again at a steady pace, over one connection."""
    load = Load()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.perf_counter()
    for number in range(round(seconds * POLLS_A_SECOND)):
        await asyncio.sleep(max(begun + number / POLLS_A_SECOND - time.perf_counter(), 0))
        at = time.perf_counter()
        writer.write(prepared)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        load.latencies_s.append(time.perf_counter() - at)
        load.statuses[int(head.split(b" ", 2)[1])] += 1
    load.seconds = time.perf_counter() - begun
    writer.close()
    assert set(load.statuses) == {200}, load.statuses
    return load


def run_all(services: Services, jobs: list[UUID], heard: Heard, *, seconds: float) -> None:
    """Bring every job to its end, all of them overlapping, within about that time."""
    work = Work(services, heard)
    plan: list[tuple[float, Callable[[UUID], None], UUID]] = []
    for number, job_id in enumerate(jobs):
        begins_s = number / len(jobs) * seconds / 3
        plan.append((begins_s, work.begin, job_id))
        for report in range(1, REPORTS + 1):
            at_s = begins_s + report * seconds * 2 / 3 / (REPORTS + 1)
            plan.append((at_s, work.go_on, job_id))
        plan.append((begins_s + seconds * 2 / 3, work.end, job_id))
    begun = time.perf_counter()
    for at_s, do, job_id in sorted(plan, key=lambda each: each[0]):
        time.sleep(max(begun + at_s - time.perf_counter(), 0))
        do(job_id)


@dataclass
class Work:
    """What workers write, and when they have."""

    services: Services
    heard: Heard

    def begin(self, job_id: UUID) -> None:
        """Take the job."""
        kept = find_job(self.services.kv, job_id)
        assert kept is not None
        if self.services.leases.take(kept) is None:
            self.begin(job_id)  # the server's sweeper has looked at it meanwhile
        else:
            self._note(job_id)

    def go_on(self, job_id: UUID) -> None:
        """Do some of its steps."""
        kept = find_job(self.services.kv, job_id)
        assert kept is not None
        self.services.leases.renew(kept.job, kept.job.steps_done + STEPS // REPORTS - 1, STEPS)
        self._note(job_id)

    def end(self, job_id: UUID) -> None:
        """Bring it to its end."""
        kept = find_job(self.services.kv, job_id)
        assert kept is not None
        result = Result(
            object_name=f"images/{job_id}-1.png",
            format="png",
            width_px=4,
            height_px=4,
            size_bytes=1,
            network="none",
        )
        try:
            self.services.endings.end(kept, result)
        except Conflict:
            self.end(job_id)
        else:
            self._note(job_id)

    def _note(self, job_id: UUID) -> None:
        at_s = time.perf_counter()
        kept = find_job(self.services.kv, job_id)
        assert kept is not None
        self.heard.committed_s[job_id, kept.job.sequence] = at_s


@contextmanager
def beside(served: Served) -> Iterator[Services]:
    """The services over the same store, in this process."""
    settings = Settings.from_environment({"ENLARGER_DATA": str(served.data)})
    kv = open_store(settings, may_create=False)
    try:
        yield wired(
            settings,
            kv=kv,
            objects=open_files(settings),
            dispatcher=Nobody(),
            public_url="http://127.0.0.1",
            dispatch_grace_ms=1000,
        )
    finally:
        kv.close()


def submitted(served: Served, *, count: int) -> dict[UUID, Served]:
    """So many jobs that wait, and whose they are: an account may have only so many streams."""
    jobs: dict[UUID, Served] = {}
    while len(jobs) < count:
        customer = Served(
            served.port, headers_of(account(served.data, credits=10_000)), served.data
        )
        prepared = customer.submission(upload(customer, photograph()))
        for _ in range(min(MAX_STREAMS_EACH, count - len(jobs))):
            jobs[UUID(json_of(customer, prepared)["jobId"])] = customer
    return jobs


if __name__ == "__main__":
    main()
