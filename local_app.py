"""One machine: SQLite, a folder, worker threads and a sweep timer. Wiring only."""

import logging
import os
import threading
from collections.abc import Callable
from uuid import UUID

import uvicorn
from inference.catalogue import installed_models

from handlers.app import create_app
from handlers.cli import create_cli
from handlers.settings import Settings
from jobs.courier import Courier
from jobs.dispatch import HintThreads
from jobs.ids import system_clock
from jobs.lease import Leases
from jobs.outbound import Outbound
from jobs.retention import Retention
from jobs.services import Services, compose
from jobs.sweeper import Sweeper
from jobs.worker import Worker
from storage.folder import FolderObjects
from storage.kv import Key, KeyValue
from storage.sqlite import SqliteKeyValue

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
DELIVERY_THREADS = 4
STOP_WITHIN_S = 5.0


def open_store(settings: Settings) -> KeyValue:
    """The key-value store that the settings name, its folder made."""
    settings.store_path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteKeyValue(settings.store_path, clock=system_clock)


def serve(settings: Settings, kv: KeyValue, *, host: str, port: int) -> None:
    """Serve until told to stop: the web app in this thread, the work in others."""
    dispatcher = LocalDispatcher()
    settings.objects_path.mkdir(parents=True, exist_ok=True)
    services = compose(
        kv=kv,
        objects=FolderObjects(settings.objects_path),
        outbound=Outbound(allow=settings.outbound_allow),
        dispatcher=dispatcher,
        clock=system_clock,
        public_url=settings.public_url or f"http://{host}:{port}",
        prices=settings.prices,
        models=installed_models(),
        max_source_pixels=settings.max_source_megapixels * 1_000_000,
    )
    background = Background(settings, services, dispatcher)
    background.start()
    try:
        uvicorn.run(create_app(services), host=host, port=port, access_log=False)
    finally:
        background.stop()


class LocalDispatcher:
    """Hints to threads of this process; before they run, hints are left to the sweeper."""

    def __init__(self) -> None:
        self._jobs: HintThreads[UUID] | None = None
        self._deliveries: HintThreads[Key] | None = None

    def start(
        self, work: Callable[[UUID], None], deliver: Callable[[Key], None], *, workers: int
    ) -> None:
        """Handle hints from now on."""
        self._deliveries = HintThreads("delivery", deliver, threads=DELIVERY_THREADS)
        self._jobs = HintThreads("worker", work, threads=workers)

    def stop(self) -> None:
        """Start nothing more; what runs may end in a moment, else its lease will."""
        for threads in (self._jobs, self._deliveries):
            if threads is not None:
                threads.stop(within_s=STOP_WITHIN_S)

    def job(self, job_id: UUID) -> None:
        if self._jobs is not None:
            self._jobs.hint(job_id)

    def delivery(self, key: Key) -> None:
        if self._deliveries is not None:
            self._deliveries.hint(key)


class Background:
    """What works beside the web app. Torch is loaded here, so that serving starts at once."""

    def __init__(self, settings: Settings, services: Services, dispatcher: LocalDispatcher) -> None:
        self._settings = settings
        self._services = services
        self._dispatcher = dispatcher
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Load the engine, then work and sweep until stopped."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sweeping and working."""
        self._stopping.set()
        self._dispatcher.stop()
        self._thread.join()

    def _run(self) -> None:
        sweeper = self._started()
        while not self._stopping.wait(SWEEP_EVERY_S):
            try:
                sweeper.sweep()
            except Exception:
                log.exception("a sweep failed; the next one follows")

    def _started(self) -> Sweeper:
        from inference.engine import Engine

        parts = self._services
        kv, objects, links, clock = parts.kv, parts.objects, parts.links, parts.clock
        lease_ms = int(self._settings.lease_s * 1000)
        worker = Worker(
            kv=kv,
            objects=objects,
            engine=Engine(),
            leases=Leases(kv, self._dispatcher, links, clock, lease_ms),
            dispatcher=self._dispatcher,
            links=links,
            clock=clock,
        )
        courier = Courier(kv, parts.outbound, clock, self._settings.webhook_hmac_key)
        self._dispatcher.start(worker.work, courier.deliver, workers=self._settings.workers)
        return Sweeper(
            kv=kv,
            dispatcher=self._dispatcher,
            retention=Retention(kv, objects, clock),
            uploads=parts.uploads,
            clock=clock,
        )


def main() -> None:
    """The `enlarger` command."""
    create_cli(environment=os.environ, open_store=open_store, serve=serve)()
