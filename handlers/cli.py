"""The command line: `enlarger serve`, `upscale`, `accounts`, `keys`, `credits` and `ledger`."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from billing import keys, ledger
from billing.accounts import DEFAULT_DAILY_REQUESTS, DEFAULT_MAX_IN_FLIGHT, Balance, find_account
from billing.administration import (
    create_key,
    grant_credits,
    open_account,
    set_key_state,
)
from billing.errors import BillingError
from billing.keys import IssuedKey, KeyState
from handlers.settings import PREFIX, Settings, SettingsError
from handlers.terms import TOPAZ
from handlers.welcome import welcome
from inference.errors import InferenceError
from inference.params import UpscaleParams
from jobs.ids import system_clock
from jobs.worker import Engine
from storage.kv import KeyValue, StoreError
from storage.objects import ObjectsError

DEMO_CREDITS = 1000
_SUFFIXES = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}


class FileUnusable(Exception):
    """A file cannot be read or written; the message names it."""


_TOLD = (BillingError, FileUnusable, InferenceError, SettingsError, StoreError, ObjectsError)
"""What is told in a line; any other error is a defect, and shows where it comes from."""

OpenStore = Callable[[Settings], KeyValue]
LoadEngine = Callable[[], Engine]


class Serve(Protocol):
    """Serves until told to stop."""

    def __call__(self, settings: Settings, kv: KeyValue, *, host: str, port: int) -> None: ...


Data = Annotated[
    Path | None,
    typer.Option(help=f"The folder of everything that is kept. [env: {PREFIX}DATA]"),
]
AccountId = Annotated[str, typer.Option("--account", help="The account's id, acc_…")]
KeyId = Annotated[str, typer.Argument(help="The key's id, key_…")]


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
    command = Commands(environment, open_store, load_engine, serve)
    cli = typer.Typer(
        help="A self-hosted image upscaling service.", no_args_is_help=True, add_completion=False
    )
    cli.command("serve")(command.serve)
    cli.command("upscale")(command.upscale)
    groups: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
        ("accounts", "Who pays.", {"create": command.create_account}),
        (
            "keys",
            "API keys.",
            {
                "create": command.create_key,
                "list": command.list_keys,
                "revoke": command.revoke_key,
                "pause": command.pause_key,
                "resume": command.resume_key,
            },
        ),
        ("credits", "Balances.", {"grant": command.grant, "show": command.balance}),
        ("ledger", "The entries behind the balances.", {"verify": command.verify}),
    )
    for name, about, group in groups:
        sub = typer.Typer(help=about, no_args_is_help=True)
        for verb, do in group.items():
            sub.command(verb)(do)
        cli.add_typer(sub, name=name)
    return partial(_run, cli)


class Commands:
    """The commands, over what they need."""

    def __init__(
        self,
        environment: Mapping[str, str],
        open_store: OpenStore,
        load_engine: LoadEngine,
        serve: Serve,
    ) -> None:
        self._environment = environment
        self._open_store = open_store
        self._load_engine = load_engine
        self._serve = serve

    def serve(
        self,
        host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
        data: Data = None,
    ) -> None:
        """Serve both APIs. An empty folder gets a demo account, whose key is printed once."""
        settings = self._settings(data)
        with self._opened(settings) as kv:
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
        with _usable_files():
            data = source.read_bytes()
        engine = self._load_engine()
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task(f"{source.name}, {factor} times", total=None)

            def report(done: int, of: int) -> None:
                progress.update(bar, completed=done, total=of)

            enlarged = engine.upscale(data, params, progress=report)
        with _usable_files():
            target.write_bytes(enlarged.data)
        typer.echo(f"{target}: {enlarged.width_px} x {enlarged.height_px}, {enlarged.network}")

    def create_account(
        self,
        name: str,
        credits: Annotated[int, typer.Option(min=0, help="The opening balance.")] = 0,
        max_in_flight: Annotated[
            int, typer.Option(min=1, help="Unfinished jobs at a time.")
        ] = DEFAULT_MAX_IN_FLIGHT,
        daily_requests: Annotated[
            int, typer.Option(min=1, help="VicSee requests a day.")
        ] = DEFAULT_DAILY_REQUESTS,
        data: Data = None,
    ) -> None:
        """Open an account, and print it with its key, which is not shown again."""
        with self._opened(self._settings(data)) as kv:
            opened = open_account(
                kv,
                name,
                credits=credits,
                now_ms=system_clock(),
                max_in_flight=max_in_flight,
                daily_requests=daily_requests,
            )
        _print(
            {
                "account": {
                    "id": opened.account.id,
                    "name": opened.account.name,
                    "credits": credits,
                    "webhookSecret": opened.account.webhook_secret,
                },
                "key": _shown_once(opened.key),
            }
        )

    def create_key(self, account: AccountId, name: str = "default", data: Data = None) -> None:
        """Make a further key, and print it; it is not shown again."""
        with self._opened(self._settings(data)) as kv:
            key = create_key(kv, account, name=name, now_ms=system_clock())
        _print(_shown_once(key))

    def list_keys(self, account: AccountId, data: Data = None) -> None:
        """List an account's keys, without what opens anything."""
        with self._opened(self._settings(data)) as kv:
            find_account(kv, account)
            found = keys.keys_of(kv, account)
        _print([key.model_dump() for key in found])

    def revoke_key(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Revoke a key for good."""
        self._set_key_state(key, account, state=KeyState.REVOKED, data=data)

    def pause_key(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Let a key do nothing for now."""
        self._set_key_state(key, account, state=KeyState.INACTIVE, data=data)

    def resume_key(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Let a paused key work again."""
        self._set_key_state(key, account, state=KeyState.ACTIVE, data=data)

    def grant(
        self,
        account: Annotated[str, typer.Argument(help="The account's id, acc_…")],
        credits: Annotated[int, typer.Argument(min=1)],
        data: Data = None,
    ) -> None:
        """Give an account credits, and print its balance."""
        with self._opened(self._settings(data)) as kv:
            balance = grant_credits(kv, account, credits=credits, now_ms=system_clock())
        _print(_shown_balance(account, balance))

    def balance(
        self,
        account: Annotated[str, typer.Argument(help="The account's id, acc_…")],
        data: Data = None,
    ) -> None:
        """Print an account's balance."""
        with self._opened(self._settings(data)) as kv:
            _print(_shown_balance(account, find_account(kv, account)[1]))

    def verify(self, data: Data = None) -> None:
        """Check that the entries add up to the balances; print what does not, and exit 1."""
        with self._opened(self._settings(data)) as kv:
            found = list(ledger.verify(kv))
        for discrepancy in found:
            typer.echo(f"{discrepancy.account_id}: {discrepancy.what}")
        if found:
            raise typer.Exit(1)
        typer.echo("the ledger verifies")

    def _set_key_state(
        self, key_id: str, account_id: str, *, state: KeyState, data: Path | None
    ) -> None:
        with self._opened(self._settings(data)) as kv:
            set_key_state(kv, account_id, key_id=key_id, state=state)
        _print({"id": key_id, "state": state})

    def _opened(self, settings: Settings) -> closing[KeyValue]:
        with _usable_files():
            return closing(self._open_store(settings))

    def _settings(self, data: Path | None) -> Settings:
        settings = Settings.from_environment(self._environment)
        return settings if data is None else settings.model_copy(update={"data": data})


@contextmanager
def _usable_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileUnusable(str(error)) from error


def _params(target: Path, factor: int) -> UpscaleParams:
    format_ = _SUFFIXES.get(target.suffix.lower())
    if format_ is None:
        raise FileUnusable(f"OUT must end in one of {', '.join(_SUFFIXES)}, not be {target.name}")
    said = {"model": TOPAZ, "slot": "standard-v2", "factor": factor, "output_format": format_}
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


def _print(what: object) -> None:
    typer.echo(json.dumps(what, indent=2))


def _shown_once(key: IssuedKey) -> dict[str, str]:
    return {
        "id": key.key.id,
        "name": key.key.name,
        "apiframe": key.apiframe_spelling,
        "vicsee": key.vicsee_spelling,
    }


def _shown_balance(account_id: str, balance: Balance) -> dict[str, str | int]:
    return {"account": account_id, **balance.model_dump()}
