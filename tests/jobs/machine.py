"""One machine without its threads: real stores in a folder; time, hints and work are the test's."""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

from billing import ledger
from billing.accounts import Balance, all_account_ids, find_account
from billing.administration import create_key, open_account
from billing.caps import Caps
from billing.keys import SANDBOX_SCOPES, Caller, Powers, authenticate
from billing.ledger import EntryKind
from billing.pricing import Prices
from billing.verification import verify
from inference.params import UpscaleParams
from inference.quality import Quality
from jobs.admission import Terms
from jobs.courier import Courier
from jobs.job import Job, Status, Webhook
from jobs.lease import Leases, Report
from jobs.links import Links
from jobs.outbound import Outbound
from jobs.records import Kept, find_job, list_jobs, worlds
from jobs.retention import MAX_RETENTION_DAYS, RECORD_KEPT_MS, Retention
from jobs.services import Services
from jobs.submission import Order
from jobs.webhooks import Delivery, HmacKey, Share
from storage.folder import FolderObjects
from storage.kv import MAX_PAGE, KeyValue, Unavailable
from storage.objects import Objects
from storage.sqlite import SqliteKeyValue
from tests.running import (
    DISPATCH_GRACE_MS,
    LEASE_MS,
    LOOPBACK,
    MAX_SOURCE_PIXELS,
    Clock,
    Hints,
    picture,
)
from tests.watched import WatchedStore

PRICE_CREDITS = 8
PUBLIC_URL = "https://enlarger.test"
PARAMS = UpscaleParams(
    model="topaz-image-upscale", slot="standard-v2", factor=2, output_format="png"
)
PICTURE = picture()
PICTURE_URI = f"data:image/png;base64,{b64encode(PICTURE).decode()}"
QUALITY = Quality(psnr_db=44.4, ssim=0.98, delta_e=0.2, seam_score=None)
PATIENCE_S = 20.0

SETTLED_BY = {
    Status.COMPLETED: EntryKind.CAPTURE,
    Status.FAILED: EntryKind.RELEASE,
    Status.CANCELLED: EntryKind.RELEASE,
}


class Crash(BaseException):
    """The process dies here."""


class Enlarged(NamedTuple):
    """What an engine returns."""

    width_px: int = 32
    height_px: int = 24
    network: str = "double"
    is_fallback: bool = True
    quality: Quality | None = QUALITY


@dataclass
class EngineDouble:
    """An engine without pixels: it does what a test wants, then writes `data`."""

    does: Callable[[Report], None] = lambda report: report(1, 1)
    data: bytes = b"an enlarged picture"
    calls: int = 0

    def upscale(
        self, source: bytes, params: UpscaleParams, *, sink: BinaryIO, progress: Report
    ) -> Enlarged:
        assert (source, params) == (PICTURE, PARAMS)
        self.calls += 1
        self.does(progress)
        sink.write(self.data)
        return Enlarged()


@dataclass(frozen=True)
class Machine:
    """The parts of a service; a test may replace any of them, and the others stand on the new."""

    kv: KeyValue
    objects: Objects
    clock: Clock
    hints: Hints
    engine: EngineDouble
    lease_ms: int = LEASE_MS
    outbound: Outbound = Outbound(allow=(LOOPBACK,))  # noqa: RUF009, it is shared by intent
    hmac_key: HmacKey = "raw"
    share: Share = lambda: 0.0
    retention_days: int = MAX_RETENTION_DAYS

    @cached_property
    def services(self) -> Services:
        return Services(
            kv=self.kv,
            objects=self.objects,
            outbound=self.outbound,
            dispatcher=self.hints,
            clock=self.clock,
            links=Links(PUBLIC_URL),
            prices=Prices(),
            models=frozenset({PARAMS.model}),
            max_source_pixels=MAX_SOURCE_PIXELS,
            dispatch_grace_ms=DISPATCH_GRACE_MS,
            lease_ms=self.lease_ms,
            retention_days=self.retention_days,
            webhook_hmac_key=self.hmac_key,
            share=self.share,
        )

    @property
    def leases(self) -> Leases:
        return self.services.leases

    @property
    def courier(self) -> Courier:
        return self.services.courier

    @property
    def retention(self) -> Retention:
        return self.services.retention

    def customer(self, *, credits: int = 100, max_in_flight: int = 100) -> Caller:
        """A new account, as its first key makes it known."""
        opened = open_account(
            self.kv, "test", credits=credits, now_ms=self.clock(), max_in_flight=max_in_flight
        )
        return authenticate(self.kv, opened.key.body, now_ms=self.clock())

    def order(self, caller: Caller, **changes: Any) -> Order:
        """An order of a small picture for 8 credits, but for the changes."""
        order = Order(
            caller=caller,
            source_url=PICTURE_URI,
            said={"upscale_factor": 2},
            terms=lambda _: Terms(PARAMS, PRICE_CREDITS),
        )
        return replace(order, **changes)

    def submit(self, caller: Caller, **changes: Any) -> Job:
        """The job that such an order makes."""
        return self.services.submissions.submit(self.order(caller, **changes)).job

    def work(self, job_id: UUID) -> None:
        """Have a worker look at the job."""
        self.services.worker(self.engine).work(job_id)

    def sweep(self) -> None:
        """Sweep once."""
        self.services.sweeper.sweep()

    def sweep_and_work(self) -> None:
        """Sweep once, and look at every job that there is a hint of."""
        self.sweep()
        waiting, self.hints.jobs = self.hints.jobs, []
        for job_id in waiting:
            self.work(job_id)

    def deliver(self) -> None:
        """Sweep once, and make every delivery that there is a hint of."""
        self.sweep()
        waiting, self.hints.deliveries = self.hints.deliveries, []
        for key in waiting:
            self.courier.deliver(key)

    def kept(self, job_id: UUID) -> Kept:
        """The job as it lies in the store."""
        kept = find_job(self.kv, job_id)
        assert kept is not None
        return kept

    def job(self, job_id: UUID) -> Job:
        """The job as it stands."""
        return self.kept(job_id).job

    def looked_at_ms(self, job_id: UUID) -> int | None:
        """When somebody must look at the job next."""
        due = self.kept(job_id).due
        return None if due is None else due.at_ms

    def balance(self, account_id: str) -> Balance:
        return find_account(self.kv, account_id)[1]

    def jobs(self, world: str) -> list[Job]:
        return list_jobs(self.kv, world, before=None, limit=MAX_PAGE)

    def outbox(self, job_id: UUID) -> dict[str, Delivery]:
        """The job's deliveries by their names."""
        rows = self.kv.query(f"deliveries#{job_id}")
        return {row.key.sort: Delivery.model_validate(row.value) for row in rows}

    def contradictions(self) -> list[str]:
        """What is wrong between jobs, ledger and outbox; nothing, at any moment."""
        wrong = [what for _, what in verify(self.kv)]
        for account_id in all_account_ids(self.kv):
            entries = dict(ledger.entries(self.kv, account_id))
            jobs = [job for world in worlds(account_id) for job in self.jobs(world)]
            holds = {name for name in entries if name.startswith("hold:")}
            recorded = {f"hold:{job.id}" for job in jobs}
            if not recorded <= holds:
                wrong.append("jobs without a hold")
            for name in holds - recorded:
                settle = entries.get(name.replace("hold:", "settle:"))
                if settle is None or self.clock() < settle.at_ms + RECORD_KEPT_MS:
                    wrong.append(
                        f"{name} has no job, and no time for it to be forgotten has passed"
                    )
            for job in jobs:
                settle = entries.get(f"settle:{job.id}")
                if (settle and settle.kind) != SETTLED_BY.get(job.status):
                    wrong.append(f"a {job.status} job has the settlement {settle}")
                if job.deleted_at_ms is None and self._ends(job) != sorted(
                    self.outbox(job.id).keys() & {"completed", "failed"}
                ):
                    wrong.append(f"a {job.status} job has the deliveries {self.outbox(job.id)}")
        return wrong

    def _ends(self, job: Job) -> list[str]:
        wanted = () if job.webhook is None else job.webhook.events
        end = "completed" if job.status is Status.COMPLETED else "failed"
        return [event for event in wanted if job.status.is_terminal and event == end]


def sandboxed(machine: Machine, caller: Caller, *, caps: Caps = Caps()) -> Caller:  # noqa: B008
    """The same account by a sandbox key."""
    powers = Powers(SANDBOX_SCOPES, caps, is_sandbox=True)
    issued = create_key(
        machine.kv, caller.account_id, name="tests", now_ms=machine.clock(), powers=powers
    )
    return authenticate(machine.kv, issued.body, now_ms=machine.clock())


def cut_off(machine: Machine) -> Machine:
    """The machine of a worker whose leases cannot be renewed; all else works."""

    def refuse(_: int) -> None:
        if threading.current_thread().name.startswith("lease-"):
            raise Unavailable

    return replace(machine, kv=WatchedStore(machine.kv, before=refuse), engine=EngineDouble())


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    """A new machine whose files are in that folder."""
    clock = Clock()
    kv = SqliteKeyValue(folder / "store.sqlite", clock=clock)
    try:
        yield Machine(kv, FolderObjects(folder / "objects"), clock, Hints(), EngineDouble())
    finally:
        kv.close()


def files_in(folder: Path) -> set[str]:
    """The names of all objects."""
    root = folder / "objects"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def told_at(url: str) -> Webhook:
    """Every event, to that address."""
    return Webhook(url=url, events=("progress", "completed", "failed"))
