"""The store that a command works on: from the operator's words to an open one."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import typer

from handlers.settings import PREFIX, Settings
from storage.kv import KeyValue

Data = Annotated[
    Path | None,
    typer.Option(help=f"The folder of everything that is kept. [env: {PREFIX}DATA]"),
]


class FileUnusable(Exception):
    """A file cannot be read or written; the message names it."""


class OpenStore(Protocol):
    """Opens the store that the settings name; a `SettingsError` if it is not there.

    With `may_create` it is made then.
    """

    def __call__(self, settings: Settings, *, may_create: bool) -> KeyValue: ...


@dataclass(frozen=True)
class Stores:
    """The environment's settings, and the stores that they name."""

    environment: Mapping[str, str]
    open_store: OpenStore

    def settings(self, data: Path | None = None) -> Settings:
        """The environment's settings, where the `--data` option does not win over them."""
        settings = Settings.from_environment(self.environment)
        return settings if data is None else settings.model_copy(update={"data": data})

    def opened(self, settings: Settings, *, may_create: bool) -> closing[KeyValue]:
        """The store, closed at the end of the block."""
        with usable_files():
            return closing(self.open_store(settings, may_create=may_create))

    def existing(self, data: Path | None) -> closing[KeyValue]:
        """The store of a service that has been set up."""
        return self.opened(self.settings(data), may_create=False)


@contextmanager
def usable_files() -> Iterator[None]:
    """What the file system has against a file is `FileUnusable`."""
    try:
        yield
    except OSError as error:
        raise FileUnusable(str(error)) from error
