"""One machine: worker threads and a sweep timer, by default on SQLite and a folder. Wiring only."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from importlib.util import find_spec
from uuid import UUID

import uvicorn

from handlers.app import create_app
from handlers.cli import create_cli
from handlers.logs import configure
from handlers.settings import Settings, SettingsError
from handlers.wiring import load_engine, open_store, wired
from inference.catalogue import has_creative
from jobs.dispatch import HintThreads
from jobs.job import SANDBOX
from jobs.services import Services
from jobs.watcher import Watcher
from storage.kv import Key, KeyValue
from storage.objects import Objects

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
AUDIT_LOOK_EVERY_S = 60.0
"""How often it is seen whether a day has passed since the last audit."""
ORPHANS_LOOK_EVERY_S = 3600.0
DISPATCH_GRACE_MS = 1_000  # a hint within this process takes no time; a restart forgets them all
DELIVERY_THREADS = 16
SANDBOX_THREADS = 2
"""Beside the workers: a sandbox job may be made to last, and nobody who pays is to wait for it."""
STOP_WITHIN_S = 5


def serve(settings: Settings, kv: KeyValue, objects: Objects, *, host: str, port: int) -> None:
    """Serve until told to stop: the web app in this thread, the work in others."""
    if settings.workers and find_spec("torch") is None:
        raise SettingsError(
            "torch is missing: install 'enlarger[engine]', or set ENLARGER_WORKERS=0"
        )
    configure(settings.logs)
    if settings.clarity_checkpoint and not has_creative(
        settings.weights_path, options=settings.creative_options
    ):
        log.warning("clarity-upscale is not served: a file of those that it needs is not there")
    dispatcher = LocalDispatcher()
    services = wired(
        settings,
        kv=kv,
        objects=objects,
        dispatcher=dispatcher,
        public_url=settings.public_url_at(host, port),
        dispatch_grace_ms=DISPATCH_GRACE_MS,
    )
    server = Server(
        services.watcher,
        uvicorn.Config(
            create_app(services, metrics_token=settings.metrics_token),
            host=host,
            port=port,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        ),
    )

    def end() -> None:
        server.should_exit = True

    for each in (signal.SIGINT, signal.SIGTERM):  # uvicorn, once it has stopped, raises them anew
        signal.signal(each, _leave)
    background = Background(settings, services, dispatcher, end=end)
    background.start()
    try:
        server.run()
    finally:
        background.stop()
    if background.failure is not None:
        raise SettingsError(f"the engine cannot be loaded: {background.failure}")


def _leave(*_: object) -> None:
    raise SystemExit(0)


class Server(uvicorn.Server):
    """A server that is not kept from stopping by those who wait for jobs."""

    def __init__(self, watcher: Watcher, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._watcher = watcher

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let everybody go, then stop as ever."""
        self._watcher.stop()
        await super().shutdown(sockets)


class LocalDispatcher:
    """Hints to threads of this process. Before there are any, hints are left to the sweeper."""

    def __init__(self) -> None:
        self._jobs: HintThreads[UUID] | None = None
        self._sandbox_jobs: HintThreads[UUID] | None = None
        self._deliveries: HintThreads[Key] | None = None

    def work_with(self, work: Callable[[UUID], None], *, threads: int) -> None:
        """Have jobs worked on from now on."""
        self._jobs = HintThreads("worker", work, threads=threads)

    def work_in_sandbox_with(self, work: Callable[[UUID], None], *, threads: int) -> None:
        """Have the jobs of sandboxes worked on from now on."""
        self._sandbox_jobs = HintThreads("sandbox", work, threads=threads)

    def deliver_with(self, deliver: Callable[[Key], None], *, threads: int) -> None:
        """Have deliveries made from now on."""
        self._deliveries = HintThreads("delivery", deliver, threads=threads)

    def stop(self, *, within_s: float = STOP_WITHIN_S) -> None:
        """Start nothing more; what runs may end within moments, or when its lease has run out."""
        for threads in (self._jobs, self._sandbox_jobs, self._deliveries):
            if threads is not None:
                threads.stop(within_s=within_s)

    def job(self, job_id: UUID, *, model: str) -> None:
        """Let a worker thread look at the job; one engine has all models."""
        threads = self._sandbox_jobs if model == SANDBOX else self._jobs
        if threads is not None:
            threads.hint(job_id)

    def delivery(self, key: Key) -> None:
        """Let a delivery thread look at the delivery."""
        if self._deliveries is not None:
            self._deliveries.hint(key)


class Background:
    """What works beside the web app: couriers, workers and the sweeper.

    Without its engine a machine must not take orders: if that cannot be loaded, `end` is called,
    and `failure` says why.
    """

    def __init__(
        self,
        settings: Settings,
        services: Services,
        dispatcher: LocalDispatcher,
        *,
        end: Callable[[], None],
    ) -> None:
        self.failure: Exception | None = None
        self._settings = settings
        self._services = services
        self._dispatcher = dispatcher
        self._end = end
        self._stopping = threading.Event()
        # Beside the sweeper: large ledgers and folders take their time to be read.
        loops = {"sweeper": self._sweep, "auditor": self._audit, "cleaner": self._clean}
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True) for name, loop in loops.items()
        ]

    def start(self) -> None:
        """Begin; nothing here keeps the web app waiting."""
        self._dispatcher.deliver_with(self._services.courier.deliver, threads=DELIVERY_THREADS)
        work = self._services.worker(None).work  # that takes no engine, and no torch
        self._dispatcher.work_in_sandbox_with(work, threads=SANDBOX_THREADS)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sweeping and working."""
        self._stopping.set()
        self._dispatcher.stop(within_s=0)  # else a worker that is let go would take the next job
        self._services.leases.hand_over()  # so that a restart need not wait for leases to end
        self._dispatcher.stop()
        for thread in self._threads:
            thread.join(STOP_WITHIN_S)

    def _sweep(self) -> None:
        self._employ()  # no sweep before there are workers: a job rests after a hint, heard or not
        self._again(self._services.sweeper.sweep, every_s=SWEEP_EVERY_S)

    def _audit(self) -> None:
        self._again(self._services.audit.run_if_due, every_s=AUDIT_LOOK_EVERY_S)

    def _clean(self) -> None:
        if self._services.orphans is not None:
            self._again(self._services.orphans.delete, every_s=ORPHANS_LOOK_EVERY_S)

    def _employ(self) -> None:
        """Load the engine, which takes torch's seconds, and set the workers to work."""
        if not self._settings.workers:
            return
        try:
            worker = self._services.worker(load_engine(self._settings))
        except Exception as error:
            log.exception("the engine cannot be loaded")
            self.failure = error
            self._end()
        else:
            self._dispatcher.work_with(worker.work, threads=self._settings.workers)

    def _again(self, do: Callable[[], object], *, every_s: float) -> None:
        while not self._stopping.is_set():
            try:
                do()
            except Exception:
                log.exception("the %s failed, and tries again", threading.current_thread().name)
            self._stopping.wait(every_s)


def main() -> None:
    """The `enlarger` command."""
    cli = create_cli(
        environment=os.environ, open_store=open_store, load_engine=load_engine, serve=serve
    )
    cli()


if __name__ == "__main__":
    main()
