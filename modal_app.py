"""Modal: images, volumes, the web app, one class of workers per tier, schedules. Wiring only.

`modal deploy modal_app.py` deploys it; `deployment.py` says how large everything is.
"""

import logging
import os
import random
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import modal
from modal import exception as modal_errors

import deployment
from deployment import COURIERS, CREATIVE, FAITHFUL, FILLER, SANDBOX_WORKERS, SWEEPER, WEB, Part
from handlers.logs import configure
from handlers.settings import Settings, SettingsError
from handlers.startup import uncollected
from handlers.wiring import load_engine, open_files, open_store, wired
from jobs.job import SANDBOX
from jobs.services import Services
from jobs.spawning import JobHint, SpawnDispatcher
from storage.kv import Key

if TYPE_CHECKING:  # the workers' image has no use for it
    from fastapi import FastAPI

log = logging.getLogger(__name__)

TEMPORARY = (
    modal_errors.ResourceExhaustedError,
    modal_errors.ServiceError,
    modal_errors.InternalError,
    modal_errors.ConnectionError,
    modal_errors.TimeoutError,
    modal_errors.ClientClosed,
    ConnectionError,
    TimeoutError,
)
"""How a call that could not be made now fails, besides a bare `Exception`: as measured."""


def requirements(*extras: str) -> list[str]:
    """What an image gets, as the project pins it; inside a container, images are made already."""
    if not modal.is_local():
        return []
    text = Path(__file__).with_name("pyproject.toml").read_text()
    return deployment.requirements(tomllib.loads(text), extras=extras)


def image(*extras: str, apt: tuple[str, ...] = ()) -> modal.Image:
    """An image with those extras. Our own code comes last: to change it rebuilds nothing."""
    return (
        modal.Image.debian_slim(python_version=deployment.PYTHON_VERSION)
        .apt_install(*apt)
        .uv_pip_install(*requirements(*extras), uv_version=deployment.UV_VERSION)
        .add_local_python_source(
            *deployment.LOCAL_PACKAGES, ignore=modal.FilePatternMatcher(*deployment.NOT_SOURCE)
        )
    )


web_image = image(*deployment.WEB_EXTRAS)
gpu_image = image(*deployment.GPU_EXTRAS, apt=deployment.APT_PACKAGES)

app = modal.App(deployment.APP_NAME, include_source=False)  # the images have it, with its data
secret = modal.Secret.from_name(
    deployment.SECRET_NAME, required_keys=list(deployment.REQUIRED_KEYS)
)
weights = modal.Volume.from_name(deployment.WEIGHTS_VOLUME, create_if_missing=True)
compiled = modal.Volume.from_name(deployment.CACHE_VOLUME, create_if_missing=True)
weights_mount: Any = {deployment.WEIGHTS_PATH: weights.with_mount_options(read_only=True)}


def sized(part: Part) -> dict[str, Any]:
    """What Modal is told of a part's machine and scale."""
    machine, scale = part.machine, part.scale
    return {
        "cpu": machine.cpu,
        "memory": machine.memory_mib,
        "gpu": list(machine.gpu) or None,
        "timeout": machine.timeout_s,
        "startup_timeout": machine.startup_timeout_s,
        "min_containers": scale.min_containers,
        "max_containers": scale.max_containers,
        "buffer_containers": scale.buffer_containers,
        "scaledown_window": scale.scaledown_window_s,
        "secrets": [secret],
    }


class Wired(NamedTuple):
    """The services of a container, and how they hint at the others."""

    settings: Settings
    services: Services
    dispatcher: SpawnDispatcher

    def close(self) -> None:
        """Give back what is underway, see the last hints through, and close the store."""
        self.services.leases.hand_over()
        if not self.dispatcher.settle(within_s=deployment.SETTLE_WITHIN_S):
            log.warning("hints that have not gone out by now are left to the sweeper")
        self.dispatcher.stop(within_s=0)
        self.services.kv.close()


def wire() -> Wired:
    """The services as the environment sets them. Raises `SettingsError`."""
    settings = Settings.from_environment(os.environ)
    if not modal.is_local():
        configure(settings.logs)  # elsewhere the log is whoever's process it is
    kv = open_store(settings, may_create=False)
    dispatcher = SpawnDispatcher(
        spawn_job=_spawn_job, spawn_delivery=_spawn_delivery, temporary=TEMPORARY
    )
    services = wired(
        settings,
        kv=kv,
        objects=open_files(settings),
        dispatcher=dispatcher,
        public_url=_public_url(settings),
        dispatch_grace_ms=deployment.DISPATCH_GRACE_MS,
        rehint_ms=deployment.REHINT_MS,
        works_on=deployment.card_of,
    )
    return Wired(settings, services, dispatcher)


@contextmanager
def wiring() -> Iterator[Services]:
    """The services for the length of a block."""
    parts = wire()
    try:
        yield parts.services
    finally:
        parts.close()


@app.function(
    image=web_image, volumes=weights_mount, env={**deployment.EVERYWHERE_ENV}, **sized(WEB)
)
@modal.concurrent(max_inputs=WEB.machine.max_inputs)
@modal.asgi_app(label=deployment.WEB_LABEL)
def web() -> "FastAPI":
    """Both APIs."""
    with uncollected():
        from handlers.app import create_app

        parts = wire()
        return create_app(parts.services, metrics_token=parts.settings.metrics_token)


class Upscaler:
    """A worker on a card. Its engine, with the networks that it has loaded, stays between jobs."""

    @modal.enter(snap=True)
    def load_code(self) -> None:
        """What a memory snapshot keeps: torch and our code, seconds of imports.

        Not the networks: which of them are wanted is known by the first job, and a snapshot would
        be read from a disk as they are. No card is there yet; even to ask for one breaks it later.
        """
        import inference.creation
        import inference.engine

        assert inference.engine
        assert inference.creation

    @modal.enter(snap=False)
    def start(self) -> None:
        """Open the stores, and the engine on its card."""
        random.seed()  # every restored snapshot has the same state
        self.parts = wire()
        self.worker = self.parts.services.worker(load_engine(self.parts.settings))

    @modal.method()
    def upscale(self, job_id: str) -> None:
        """Bring a job to its end, or do nothing if somebody else does."""
        self.worker.work(UUID(job_id))

    @modal.exit()
    def stop(self) -> None:
        """The container ends, maybe by preemption: Modal starts its calls anew elsewhere."""
        self.parts.close()


@app.cls(
    image=gpu_image,
    volumes=weights_mount,
    env={**deployment.GPU_ENV},
    enable_memory_snapshot=True,
    **sized(FAITHFUL),
)
@modal.concurrent(max_inputs=FAITHFUL.machine.max_inputs)
class Faithful(Upscaler):
    """Restores, on a small card."""


@app.cls(
    image=gpu_image,
    volumes={**weights_mount, deployment.CACHE_PATH: compiled},
    env={**deployment.CREATIVE_ENV},
    enable_memory_snapshot=True,
    **sized(CREATIVE),
)
@modal.concurrent(max_inputs=CREATIVE.machine.max_inputs)
class Creative(Upscaler):
    """Invents, on a large card."""

    @modal.enter(snap=True)
    def load_diffusion_code(self) -> None:
        """The libraries that only diffusion needs."""
        import inference.creative.diffusion
        import inference.creative.modules
        import inference.creative.pipeline

        assert inference.creative.pipeline


@app.cls(image=web_image, env={**deployment.EVERYWHERE_ENV}, **sized(COURIERS))
@modal.concurrent(max_inputs=COURIERS.machine.max_inputs)
class Couriers:
    """Webhooks out: many at once, for they mostly wait."""

    @modal.enter()
    def start(self) -> None:
        """Open the store."""
        self.parts = wire()

    @modal.method()
    def deliver(self, partition: str, sort: str) -> None:
        """Make the next attempt of a delivery, if one is due."""
        self.parts.services.courier.deliver(Key(partition, sort))

    @modal.exit()
    def stop(self) -> None:
        """Close the store."""
        self.parts.close()


@app.cls(image=web_image, env={**deployment.EVERYWHERE_ENV}, **sized(SANDBOX_WORKERS))
@modal.concurrent(max_inputs=SANDBOX_WORKERS.machine.max_inputs)
class SandboxWorkers:
    """Works in the sandbox: on no card, and on no other jobs."""

    @modal.enter()
    def start(self) -> None:
        """Open the stores."""
        self.parts = wire()
        self.worker = self.parts.services.worker(None)

    @modal.method()
    def work(self, job_id: str) -> None:
        """Bring a sandbox job to its end, or do nothing if somebody else does."""
        self.worker.work(UUID(job_id))

    @modal.exit()
    def stop(self) -> None:
        """Give back what is underway, and close the store."""
        self.parts.close()


@app.function(
    image=web_image,
    volumes=weights_mount,
    env={**deployment.EVERYWHERE_ENV},
    schedule=modal.Cron(deployment.SWEEP_CRON),
    **sized(SWEEPER),
)
def sweep() -> None:
    """Each minute: see to all that is due, so that no hint need arrive."""
    with wiring() as services:
        services.sweeper.sweep()


@app.function(
    image=web_image,
    volumes=weights_mount,
    env={**deployment.EVERYWHERE_ENV},
    schedule=modal.Cron(deployment.DAILY_CRON),
    **sized(SWEEPER),
)
def daily() -> None:
    """Each day: verify the ledger, and delete all that is past its time."""
    with wiring() as services:
        services.audit.run()
        services.sweeper.tidy_all()


@app.function(
    image=web_image,
    volumes={deployment.WEIGHTS_PATH: weights},
    env={**deployment.EVERYWHERE_ENV},
    **sized(FILLER),
)
def fill_weights(names: str) -> None:
    """Pull weights into the volume, by ids or slots with commas between; each hash is verified.

    `modal run modal_app.py::fill_weights --names standard-v2,clarity`. Raises if any is not had.
    """
    from handlers.stores import Stores
    from handlers.weights import WeightsCommands
    from inference.published import ALL

    try:
        commands = WeightsCommands(Stores(os.environ, open_store), ALL)
        commands.pull(names.replace(",", " ").split())
    finally:
        if not modal.is_local():
            weights.commit()  # what did arrive need not come again


TIERS = {FAITHFUL.name: Faithful, CREATIVE.name: Creative}


def _spawn_job(hint: JobHint) -> None:
    if hint.model == SANDBOX:  # that wakes no card
        SandboxWorkers().work.spawn(str(hint.job_id))
    else:
        TIERS[deployment.tier_of(hint.model).name]().upscale.spawn(str(hint.job_id))


def _spawn_delivery(key: Key) -> None:
    Couriers().deliver.spawn(key.partition, key.sort)


def _public_url(settings: Settings) -> str:
    url = settings.public_url or web.get_web_url()
    if url is None:
        raise SettingsError("ENLARGER_PUBLIC_URL is not set, and Modal knows no address of the app")
    return url
