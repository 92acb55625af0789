"""The command line: `serve`, and what `upscaling`, `administration` and `weights` add to it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Protocol

import typer

from billing.administration import open_account
from billing.errors import BillingError
from handlers.administration import add_administration
from handlers.settings import Settings, SettingsError
from handlers.store_commands import add_stores
from handlers.stores import Data, FileUnusable, OpenStore, Stores
from handlers.stripe_commands import add_stripe
from handlers.upscaling import LoadEngine, UpscaleCommand
from handlers.weights import add_weights
from handlers.welcome import welcome
from handlers.wiring import open_files
from inference.errors import InferenceError
from jobs.errors import SecretRotating
from jobs.ids import system_clock
from storage.kv import KeyValue, StoreError
from storage.objects import Objects, ObjectsError

DEMO_CREDITS = 1000

_TOLD = (
    BillingError,
    FileUnusable,
    InferenceError,
    SecretRotating,
    SettingsError,
    StoreError,
    ObjectsError,
)
"""What is told in a line; any other error is a defect, and shows where it comes from."""


class Serve(Protocol):
    """Serves until told to stop."""

    def __call__(
        self, settings: Settings, kv: KeyValue, objects: Objects, *, host: str, port: int
    ) -> None: ...


def create_cli(
    *,
    environment: Mapping[str, str],
    open_store: OpenStore,
    load_engine: LoadEngine,
    serve: Serve,
) -> Callable[..., None]:
    """The `enlarger` command over the given stores and server; it takes words, else `sys.argv`'s.

    What is wrong with the operator's input is one line on standard error and exit status 2.
    """
    stores = Stores(environment, open_store)
    cli = typer.Typer(
        help="A self-hosted image upscaling service.", no_args_is_help=True, add_completion=False
    )
    cli.command("serve")(ServeCommand(stores, serve).serve)
    cli.command("upscale")(UpscaleCommand(stores, load_engine).upscale)
    add_stores(cli, stores)
    add_administration(cli, stores)
    add_weights(cli, stores)
    add_stripe(cli, stores)
    return partial(_run, cli)


class ServeCommand:
    """The command that runs the service."""

    def __init__(self, stores: Stores, serve: Serve) -> None:
        self._stores = stores
        self._serve = serve

    def serve(
        self,
        host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
        data: Data = None,
    ) -> None:
        """Serve both APIs. An empty folder gets a demo account, whose key is printed once."""
        settings = self._stores.settings(data)
        with self._stores.opened(settings, may_create=True) as kv:
            objects = open_files(settings)  # before anything is written
            if not kv.query("accounts", limit=1):
                opened = open_account(kv, "demo", credits=DEMO_CREDITS, now_ms=system_clock())
                public_url = settings.public_url_at(host, port)
                typer.echo(welcome(opened, credits=DEMO_CREDITS, public_url=public_url))
            self._serve(settings, kv, objects, host=host, port=port)


def _run(cli: typer.Typer, words: Sequence[str] | None = None) -> None:
    try:
        cli(words)
    except _TOLD as error:
        typer.echo(f"enlarger: {error}", err=True)
        raise SystemExit(2) from None
