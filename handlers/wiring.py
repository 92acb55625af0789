"""From settings to services: what every way of running Enlarger has in common."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from billing.payments import Payments
from billing.stripe_client import Stripe
from handlers.settings import PREFIX, Settings, SettingsError
from inference.catalogue import installed_models
from jobs.dispatch import Dispatcher
from jobs.ids import system_clock
from jobs.links import Links
from jobs.outbound import Outbound
from jobs.services import Services
from jobs.sweeper import REHINT_MS
from jobs.worker import Engine
from storage.addresses import SqliteAddress
from storage.kv import KeyValue, StoreError
from storage.objects import Objects, ObjectsError
from storage.opening import LibraryMissing, open_key_value, open_objects, prepare_key_value

CARD = Path("/dev/nvidiactl")
"""What is there where a CUDA card can be used."""


def open_store(settings: Settings, *, may_create: bool) -> KeyValue:
    """The key-value store that the settings name; a local file is made, if it may be.

    Raises `SettingsError` that names the setting and says what is wrong.
    """
    address = settings.store_address
    with blamed_on("STORE_URL"):
        if isinstance(address, SqliteAddress):
            if may_create:
                prepare_key_value(address)
            elif not address.path.is_file():
                place = settings.data if settings.store_url is None else address.path
                raise SettingsError(f"there is no Enlarger data in {place}")
        return open_key_value(address, clock=system_clock)


def open_files(settings: Settings) -> Objects:
    """The object store that the settings name; raises `SettingsError` as `open_store` does."""
    with blamed_on("OBJECTS_URL"):
        return open_objects(settings.objects_address)


@contextmanager
def blamed_on(setting: Literal["STORE_URL", "OBJECTS_URL"]) -> Iterator[None]:
    """What a store has against being opened is a `SettingsError` that names the setting."""
    try:
        yield
    except (StoreError, ObjectsError, LibraryMissing) as error:
        raise SettingsError(f"{PREFIX}{setting}: {error}") from error


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


def device_here(settings: Settings) -> str | None:
    """What the jobs are worked on with, as far as can be told without torch; None if elsewhere."""
    if not settings.workers:
        return None
    if settings.device != "auto":
        return settings.device
    return "cuda" if CARD.exists() else "cpu"


def payments_over(kv: KeyValue, settings: Settings) -> Payments | None:
    """Who takes payments, if the settings have Stripe's key."""
    if settings.stripe_key is None:
        return None
    if find_spec("stripe") is None:
        raise SettingsError(f"{PREFIX}STRIPE_KEY: stripe is missing: install 'enlarger[stripe]'")
    stripe = Stripe(
        settings.stripe_key,
        webhook_secret=settings.stripe_webhook_secret,
        api=settings.stripe_api,
    )
    return Payments(kv, stripe, clock=system_clock, packs=settings.packs, plans=settings.plans)


def wired(
    settings: Settings,
    *,
    kv: KeyValue,
    objects: Objects,
    dispatcher: Dispatcher,
    public_url: str,
    dispatch_grace_ms: int,
    rehint_ms: int = REHINT_MS,
    works_on: Callable[[str], str | None] | None = None,
) -> Services:
    """The services over those stores. By default this machine works on the jobs, if it may."""
    return Services(
        kv=kv,
        objects=objects,
        outbound=Outbound(allow=settings.outbound_allow),
        dispatcher=dispatcher,
        links=Links(public_url),
        clock=system_clock,
        prices=settings.prices,
        plans=settings.plans,
        payments=payments_over(kv, settings),
        works_on=works_on or (lambda _: device_here(settings)),
        treatment=settings.treatment,
        models=installed_models(settings.weights_path, creative=settings.creative_options),
        weights_folder=settings.weights_path,
        face_restorer=settings.face_restorer,
        creative=settings.creative_options,
        max_source_pixels=settings.max_source_pixels,
        dispatch_grace_ms=dispatch_grace_ms,
        rehint_ms=rehint_ms,
        lease_ms=int(settings.lease_s * 1000),
        retention_days=settings.retention_days,
        webhook_hmac_key=settings.webhook_hmac_key,
    )
