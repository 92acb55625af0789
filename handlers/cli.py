"""The command line: `serve`, `upscale`, and what `administration` and `weights` add to it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from billing.administration import open_account
from billing.errors import BillingError
from handlers.administration import add_administration
from handlers.settings import Settings, SettingsError
from handlers.stores import Data, FileUnusable, OpenStore, Stores, usable_files
from handlers.weights import add_weights
from handlers.welcome import welcome
from inference.catalogue import TOPAZ
from inference.errors import InferenceError
from inference.params import UpscaleParams
from jobs.ids import system_clock
from jobs.worker import Engine
from storage.kv import KeyValue, StoreError
from storage.objects import ObjectsError

DEMO_CREDITS = 1000
_SUFFIXES = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}

_TOLD = (BillingError, FileUnusable, InferenceError, SettingsError, StoreError, ObjectsError)
"""What is told in a line; any other error is a defect, and shows where it comes from."""

LoadEngine = Callable[[Settings], Engine]


class Serve(Protocol):
    """Serves until told to stop."""

    def __call__(self, settings: Settings, kv: KeyValue, *, host: str, port: int) -> None: ...


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
    command = Commands(stores, load_engine, serve)
    cli = typer.Typer(
        help="A self-hosted image upscaling service.", no_args_is_help=True, add_completion=False
    )
    cli.command("serve")(command.serve)
    cli.command("upscale")(command.upscale)
    add_administration(cli, stores)
    add_weights(cli, stores)
    return partial(_run, cli)


class Commands:
    """The two commands that do the service's own work."""

    def __init__(self, stores: Stores, load_engine: LoadEngine, serve: Serve) -> None:
        self._stores = stores
        self._load_engine = load_engine
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
            if not kv.query("accounts", limit=1):
                opened = open_account(kv, "demo", credits=DEMO_CREDITS, now_ms=system_clock())
                public_url = settings.public_url_at(host, port)
                typer.echo(welcome(opened, credits=DEMO_CREDITS, public_url=public_url))
            self._serve(settings, kv, host=host, port=port)

    def upscale(
        self,
        source: Annotated[Path, typer.Argument(metavar="IN", help="A JPEG, PNG or WebP file.")],
        target: Annotated[Path, typer.Argument(metavar="OUT", help="Its suffix says the format.")],
        factor: Annotated[int, typer.Option(help="1, 2, 4, 6 or 8.")] = 4,
    ) -> None:
        """Enlarge one file, here, with no server."""
        params = _params(target, factor)
        with usable_files():
            data = source.read_bytes()
        engine = self._load_engine(self._stores.settings())
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task(f"{source.name}, {factor} times", total=None)

            def report(done: int, of: int) -> None:
                progress.update(bar, completed=done, total=of)

            enlarged = engine.upscale(data, params, progress=report)
        with usable_files():
            target.write_bytes(enlarged.data)
        typer.echo(f"{target}: {enlarged.width_px} x {enlarged.height_px}, {enlarged.network}")


def _params(target: Path, factor: int) -> UpscaleParams:
    format_ = _SUFFIXES.get(target.suffix.lower())
    if format_ is None:
        raise FileUnusable(f"OUT must end in one of {', '.join(_SUFFIXES)}, not be {target.name}")
    said = {"model": TOPAZ.id, "slot": "standard-v2", "factor": factor, "output_format": format_}
    try:
        return UpscaleParams.model_validate(said)
    except ValidationError:
        raise SettingsError(f"--factor must be 1, 2, 4, 6 or 8, not {factor}") from None


def _run(cli: typer.Typer, words: Sequence[str] | None = None) -> None:
    try:
        cli(words)
    except _TOLD as error:
        typer.echo(f"enlarger: {error}", err=True)
        raise SystemExit(2) from None
