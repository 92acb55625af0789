"""One machine: SQLite, a folder, worker threads and a sweep timer. Wiring only."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from uuid import UUID

import uvicorn

from handlers.app import create_app
from handlers.cli import create_cli
from handlers.settings import Settings, SettingsError
from inference.catalogue import has_creative, installed_models
from jobs.dispatch import HintThreads
from jobs.ids import system_clock
from jobs.links import Links
from jobs.outbound import Outbound
from jobs.services import Services
from jobs.worker import Engine
from storage.folder import FolderObjects
from storage.kv import Key, KeyValue
from storage.sqlite import SqliteKeyValue

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
DISPATCH_GRACE_MS = 1_000  # a hint within this process takes no time; a restart forgets them all
DELIVERY_THREADS = 16
STOP_WITHIN_S = 5
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def open_store(settings: Settings, *, may_create: bool) -> KeyValue:
    """The key-value store that the settings name; made with its folder, if it may be."""
    if may_create:
        settings.store_path.parent.mkdir(parents=True, exist_ok=True)
    elif not settings.store_path.is_file():
        place = settings.data if settings.store_url is None else settings.store_path
        raise SettingsError(f"there is no Enlarger data in {place}")
    return SqliteKeyValue(settings.store_path, clock=system_clock)


def load_engine(settings: Settings) -> Engine:
    """The engine, if its packages are installed; they take seconds to load."""
    try:
        from inference.creation import load_pipeline
        from inference.engine import Engine as TorchEngine
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is missing: enlarging needs the package's extra, 'enlarger[engine]'"
        ) from error
    return TorchEngine(
        device=settings.device,
        weights_folder=settings.weights_path,
        max_source_pixels=settings.max_source_pixels,
        face_restorer=settings.face_restorer,
        load_pipeline=partial(load_pipeline, options=settings.creative_options),
    )


def serve(settings: Settings, kv: KeyValue, *, host: str, port: int) -> None:
    """Serve until told to stop: the web app in this thread, the work in others."""
    if settings.workers and find_spec("torch") is None:
        raise SettingsError(
            "torch is missing: install 'enlarger[engine]', or set ENLARGER_WORKERS=0"
        )
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    if settings.clarity_checkpoint and not has_creative(
        settings.weights_path, options=settings.creative_options
    ):
        log.warning("clarity-upscale is not served: a file of those that it needs is not there")
    dispatcher = LocalDispatcher()
    services = wired(settings, kv, dispatcher, public_url=settings.public_url_at(host, port))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(services),
            host=host,
            port=port,
            access_log=False,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
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


def wired(
    settings: Settings, kv: KeyValue, dispatcher: "LocalDispatcher", *, public_url: str
) -> Services:
    """The services of one machine."""
    return Services(
        kv=kv,
        objects=FolderObjects(settings.objects_path),
        outbound=Outbound(allow=settings.outbound_allow),
        dispatcher=dispatcher,
        links=Links(public_url),
        clock=system_clock,
        prices=settings.prices,
        treatment=settings.treatment,
        models=installed_models(settings.weights_path, creative=settings.creative_options),
        weights_folder=settings.weights_path,
        face_restorer=settings.face_restorer,
        creative=settings.creative_options,
        max_source_pixels=settings.max_source_pixels,
        dispatch_grace_ms=DISPATCH_GRACE_MS,
        lease_ms=int(settings.lease_s * 1000),
        webhook_hmac_key=settings.webhook_hmac_key,
    )


def _leave(*_: object) -> None:
    raise SystemExit(0)


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
        self._threads = [
            threading.Thread(target=self._sweep, name="sweeper", daemon=True),
            threading.Thread(target=self._employ, name="engine", daemon=True),
        ]

    def start(self) -> None:
        """Begin; nothing here keeps the web app waiting."""
        self._dispatcher.deliver_with(self._services.courier.deliver, threads=DELIVERY_THREADS)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sweeping and working."""
        self._stopping.set()
        self._dispatcher.stop()
        for thread in self._threads:
            thread.join(STOP_WITHIN_S)

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

    def _sweep(self) -> None:
        while not self._stopping.is_set():
            try:
                self._services.sweeper.sweep()
            except Exception:
                log.exception("a sweep failed; the next one follows")
            self._stopping.wait(SWEEP_EVERY_S)


def main() -> None:
    """The `enlarger` command."""
    cli = create_cli(
        environment=os.environ, open_store=open_store, load_engine=load_engine, serve=serve
    )
    cli()


if __name__ == "__main__":
    main()
