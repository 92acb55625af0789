"""What an operator commands about stores: `store init` and `store check`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from handlers.settings import Settings, SettingsError
from handlers.stores import Data, Stores, usable_files
from handlers.wiring import blamed_on, open_files, open_store
from storage.addresses import DynamoAddress, FolderAddress, PostgresAddress, S3Address
from storage.opening import prepare_key_value, prepare_objects


def add_stores(cli: typer.Typer, stores: Stores) -> None:
    """Add the group of commands."""
    command = StoreCommands(stores)
    sub = typer.Typer(help="Where everything is kept.", no_args_is_help=True)
    sub.command("init")(command.prepare)
    sub.command("check")(command.check)
    cli.add_typer(sub, name="store")


@dataclass(frozen=True)
class StoreCommands:
    """The commands, on the stores that the settings name."""

    stores: Stores

    def prepare(self, data: Data = None) -> None:
        """Make what the stores need, and leave alone what is there already."""
        settings = self.stores.settings(data)
        with usable_files(), blamed_on("STORE_URL"):
            prepare_key_value(settings.store_address)
        typer.echo(f"the key-value store is ready: {_store_named(settings)}")
        with usable_files(), blamed_on("OBJECTS_URL"):
            prepare_objects(settings.objects_address)
        typer.echo(f"the object store is ready: {_objects_named(settings)}")

    def check(
        self,
        only: Annotated[str, typer.Option(help="Some of the cases: pytest's -k.")] = "",
        data: Data = None,
    ) -> None:
        """Hold the stores to everything that is expected of one, in a scratch place; exit 1 if
        anything is amiss."""
        settings = self.stores.settings(data)
        with usable_files():
            open_store(settings, may_create=False).close()
            open_files(settings)
        try:
            from storage.contract.check import holds
        except ModuleNotFoundError as error:
            raise SettingsError(f"{error.name} is missing: install 'enlarger[check]'") from error
        if not holds(settings.store_address, settings.objects_address, only=only):
            raise typer.Exit(1)
        typer.echo("both stores hold to their contracts")


def _store_named(settings: Settings) -> str:
    match address := settings.store_address:
        case DynamoAddress():
            return f"the DynamoDB table {address.table}"
        case PostgresAddress():
            return "the schema enlarger in PostgreSQL"
        case _:
            return f"{address.path}"


def _objects_named(settings: Settings) -> str:
    match address := settings.objects_address:
        case S3Address():
            return f"the bucket {address.bucket}"
        case FolderAddress():
            return f"{address.path}"
