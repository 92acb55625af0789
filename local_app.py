"""One machine: SQLite, a folder, worker threads and a sweep timer. Wiring only."""

import logging
import os
import threading
from collections.abc import Callable
from importlib.util import find_spec
from uuid import UUID

import uvicorn

from handlers.app import create_app
from handlers.cli import create_cli
from handlers.settings import Settings, SettingsError
from inference.catalogue import installed_models
from jobs.courier import Courier
from jobs.dispatch import HintThreads
from jobs.ids import system_clock
from jobs.lease import Leases
from jobs.outbound import Outbound
from jobs.retention import Retention
from jobs.services import Services, compose
from jobs.sweeper import Sweeper
from jobs.worker import Engine, Worker
from storage.folder import FolderObjects
from storage.kv import Key, KeyValue
from storage.sqlite import SqliteKeyValue

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
DISPATCH_GRACE_MS = 1_000  # a hint within this process takes no time; a restart forgets them all
DELIVERY_THREADS = 4
STOP_WITHIN_S = 5.0


def open_store(settings: Settings) -> KeyValue:
    """The key-value store that the settings name, its folder made."""
    settings.store_path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteKeyValue(settings.store_path, clock=system_clock)


def load_engine() -> Engine:
    """The engine, if its packages are installed; they take seconds to load."""
    try:
        from inference.engine import Engine as TorchEngine
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is missing: enlarging needs the package's extra, 'enlarger[engine]'"
        ) from error
    return TorchEngine()


def serve(settings: Settings, kv: KeyValue, *, host: str, port: int) -> None:
    """Serve until told to stop: the web app in this thread, the work in others."""
    if settings.workers and find_spec("torch") is None:
        raise SettingsError(
            "torch is missing: install 'enlarger[engine]', or set ENLARGER_WORKERS=0"
        )
    dispatcher = LocalDispatcher()
    settings.objects_path.mkdir(parents=True, exist_ok=True)
    services = compose(
        kv=kv,
        objects=FolderObjects(settings.objects_path),
        outbound=Outbound(allow=settings.outbound_allow),
        dispatcher=dispatcher,
        clock=system_clock,
        public_url=settings.public_url_at(host, port),
        prices=settings.prices,
        models=installed_models(),
        max_source_pixels=settings.max_source_megapixels * 1_000_000,
        dispatch_grace_ms=DISPATCH_GRACE_MS,
    )
    background = Background(settings, services, dispatcher)
    background.start()
    try:
        uvicorn.run(create_app(services), host=host, port=port, access_log=False)
    finally:
        background.stop()


class LocalDispatcher:
    """Hints to threads of this process. Before there are any, hints are left to the sweeper."""

    def __init__(self) -> None:
        self._jobs: HintThreads[UUID] | None = None
        self._deliveries: HintThreads[Key] | None = None

    def work_with(self, work: Callable[[UUID], None], *, threads: int) -> None:
        """Have jobs worked on from now on."""
        self._jobs = HintThreads("worker", work, threads=threads)

    def deliver_with(self, deliver: Callable[[Key], None], *, threads: int) -> None:
        """Have deliveries made from now on."""
        self._deliveries = HintThreads("delivery", deliver, threads=threads)

    def stop(self) -> None:
        """Start nothing more; what runs may end within moments, or when its lease has run out."""
        for threads in (self._jobs, self._deliveries):
            if threads is not None:
                threads.stop(within_s=STOP_WITHIN_S)

    def job(self, job_id: UUID) -> None:
        """Let a worker thread look at the job."""
        if self._jobs is not None:
            self._jobs.hint(job_id)

    def delivery(self, key: Key) -> None:
        """Let a delivery thread look at the delivery."""
        if self._deliveries is not None:
            self._deliveries.hint(key)


class Background:
    """What works beside the web app: couriers, workers and the sweeper."""

    def __init__(self, settings: Settings, services: Services, dispatcher: LocalDispatcher) -> None:
        self._settings = settings
        self._services = services
        self._dispatcher = dispatcher
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin. Torch takes seconds to load, so the web app does not wait for the workers."""
        parts = self._services
        courier = Courier(
            parts.kv, parts.outbound, parts.clock, hmac_key=self._settings.webhook_hmac_key
        )
        self._dispatcher.deliver_with(courier.deliver, threads=DELIVERY_THREADS)
        self._thread.start()

    def stop(self) -> None:
        """Stop sweeping and working."""
        self._stopping.set()
        self._dispatcher.stop()
        self._thread.join(STOP_WITHIN_S)

    def _run(self) -> None:
        if self._settings.workers:
            self._dispatcher.work_with(self._worker().work, threads=self._settings.workers)
        sweeper = self._sweeper()
        while not self._stopping.is_set():
            try:
                sweeper.sweep()
            except Exception:
                log.exception("a sweep failed; the next one follows")
            self._stopping.wait(SWEEP_EVERY_S)

    def _worker(self) -> Worker:
        parts = self._services
        lease_ms = int(self._settings.lease_s * 1000)
        return Worker(
            kv=parts.kv,
            objects=parts.objects,
            engine=load_engine(),
            leases=Leases(parts.kv, self._dispatcher, parts.links, parts.clock, lease_ms),
            dispatcher=self._dispatcher,
            links=parts.links,
            clock=parts.clock,
        )

    def _sweeper(self) -> Sweeper:
        parts = self._services
        return Sweeper(
            kv=parts.kv,
            dispatcher=self._dispatcher,
            retention=Retention(parts.kv, parts.objects, parts.clock),
            uploads=parts.uploads,
            clock=parts.clock,
        )


def main() -> None:
    """The `enlarger` command."""
    cli = create_cli(
        environment=os.environ, open_store=open_store, load_engine=load_engine, serve=serve
    )
    cli()


if __name__ == "__main__":
    main()
