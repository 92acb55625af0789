"""What an operator commands about weights: `weights list`, `pull` and `verify`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from handlers.stores import Data, Stores, usable_files
from inference.catalogue import MODELS, Slot, needed, weights_path
from inference.downloads import Downloads, is_whole
from inference.errors import DownloadError, ModelUnknown
from inference.provenance import Weights
from inference.published import ALL

FACES_SLOT = "faces"
"""What stands for face enhancement's weights where slots are named."""

_FACE_ARCHITECTURES = ("yunet", "restoreformer")


def add_weights(cli: typer.Typer, stores: Stores, *, rows: Sequence[Weights] = ALL) -> None:
    """Add the group of commands, over those rows of the catalogue."""
    command = WeightsCommands(stores, rows)
    sub = typer.Typer(help="The networks' weights.", no_args_is_help=True)
    sub.command("list")(command.show)
    sub.command("pull")(command.pull)
    sub.command("verify")(command.verify)
    cli.add_typer(sub, name="weights")


@dataclass(frozen=True)
class WeightsCommands:
    """The commands, on the folder that the settings name.

    To the catalogue's rows comes the face restorer's once an operator states its hash.
    """

    stores: Stores
    rows: Sequence[Weights]

    def show(
        self,
        as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
        data: Data = None,
    ) -> None:
        """List the weights: licence, size, whether they are here, and what they are for."""
        folder = self.stores.settings(data).weights_path
        with usable_files():
            shown = [_shown(weights, folder) for weights in self._rows(data)]
        if as_json:
            typer.echo(json.dumps(shown, indent=2))
            return
        table = [("ID", "LICENCE", "SIZE", "STATE", "SLOTS")]
        for each in shown:
            size = f"{each['sizeBytes'] / 1e6:.1f} MB"
            slots = ", ".join(each["slots"]) or "-"
            table.append((each["id"], each["licence"], size, each["state"], slots))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            typer.echo(line.rstrip())

    def pull(
        self,
        names: Annotated[
            list[str] | None, typer.Argument(metavar="[NAME]...", help="Ids of weights, or slots.")
        ] = None,
        everything: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
        data: Data = None,
    ) -> None:
        """Download weights; what is there already is only verified. Exit 1 if any is not had."""
        if bool(names) == everything:
            raise ModelUnknown("Name weights or slots as `enlarger weights list` shows, or --all")
        rows = self._rows(data)
        wanted = rows if names is None else _named(names, rows)
        downloads = Downloads(self.stores.settings(data).weights_path)
        have_failed = False
        for weights in wanted:
            try:
                is_new = _pulled(downloads, weights)
            except DownloadError as error:
                typer.echo(f"{weights.id}: {error}", err=True)
                have_failed = True
            else:
                typer.echo(f"{weights.id}: {'pulled' if is_new else 'already here'}")
        if have_failed:
            raise typer.Exit(1)

    def verify(self, data: Data = None) -> None:
        """Read every file that is here, and exit 1 if one is not what the catalogue names."""
        folder = self.stores.settings(data).weights_path
        rows = self._rows(data)
        with usable_files():
            here = [each for each in rows if _is_expected(each, folder)]
            bad = [each for each in here if not is_whole(each, folder)]
        for weights in bad:
            path = weights_path(weights, folder)
            typer.echo(f"{weights.id}: {path} is not the file that the catalogue names")
        if bad:
            raise typer.Exit(1)
        typer.echo(f"{len(here)} of {len(rows)} files are here, and all of them verify")

    def _rows(self, data: Data) -> Sequence[Weights]:
        restorer = self.stores.settings(data).face_restorer
        return self.rows if restorer is None else [*self.rows, restorer]


def _named(names: Sequence[str], rows: Sequence[Weights]) -> Sequence[Weights]:
    """What the names stand for, twins included, each once."""
    by_name = {weights.id: [each.id for each in weights.files] for weights in rows}
    for name, slot in _slots():
        by_name[name] = [weights.id for weights in needed(slot)]
    by_name[FACES_SLOT] = [weights.id for weights in rows if _is_for_faces(weights)]
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ModelUnknown(f"There are no weights and no slot named {', '.join(unknown)}")
    wanted = {weights_id for name in names for weights_id in by_name[name]}
    return [weights for weights in rows if weights.id in wanted]


def _pulled(downloads: Downloads, weights: Weights) -> bool:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task(weights.id, total=weights.size_bytes)

        def report(done_bytes: int, of_bytes: int) -> None:
            progress.update(bar, completed=done_bytes, total=of_bytes)

        return downloads.pull(weights, progress=report)


def _shown(weights: Weights, folder: Path) -> dict[str, Any]:
    return {
        "id": weights.id,
        "licence": weights.licence,
        "sizeBytes": weights.size_bytes,
        "state": _state(weights, folder),
        "slots": _uses(weights),
        "file": weights.file,
        "source": weights.url,
        "sha256": weights.sha256,
    }


def _state(weights: Weights, folder: Path) -> str:
    """By the file's size alone: `verify` reads what is in it."""
    path = weights_path(weights, folder)
    if not path.exists():
        return "missing" if weights.url is None else "not pulled"
    if path.stat().st_size != weights.size_bytes:
        return "damaged"
    return "built in" if weights.url is None else "pulled"


def _uses(weights: Weights) -> Sequence[str]:
    """The slots that want this file, or fall back to it."""
    slots = [
        name
        for name, slot in _slots()
        if weights in needed(slot) or any(weights in each for each in slot.fallback.values())
    ]
    return [*slots, FACES_SLOT] if _is_for_faces(weights) else slots


def _is_for_faces(weights: Weights) -> bool:
    return weights.architecture in _FACE_ARCHITECTURES


def _slots() -> Iterator[tuple[str, Slot]]:
    """Each slot that weights can be had for."""
    for model in MODELS.values():
        yield from ((name, slot) for name, slot in model.slots.items() if slot.recipes)


def _is_expected(weights: Weights, folder: Path) -> bool:
    """Whether the file must verify: it is here, or it ships with the code."""
    return weights.url is None or weights_path(weights, folder).exists()
