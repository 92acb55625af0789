"""The `upscale` command: one file, enlarged here, with no server."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from handlers.quality_wire import shown_quality
from handlers.settings import Settings, SettingsError
from handlers.stores import FileUnusable, Stores, usable_files
from inference.catalogue import TOPAZ
from inference.params import DeviceName, MetadataPolicy, UpscaleParams
from inference.quality import Quality
from jobs.worker import Engine

_SUFFIXES = {
    ".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff",
    ".avif": "avif",
}  # fmt: skip

LoadEngine = Callable[[Settings], Engine]


@dataclass(frozen=True)
class UpscaleCommand:
    """The command, with the engine that the settings ask for."""

    stores: Stores
    load_engine: LoadEngine

    def upscale(
        self,
        source: Annotated[Path, typer.Argument(metavar="IN", help="The picture's file.")],
        target: Annotated[Path, typer.Argument(metavar="OUT", help="Its suffix says the format.")],
        factor: Annotated[int, typer.Option(help="1, 2, 4, 6 or 8.")] = 4,
        slot: Annotated[
            str, typer.Option("--model-type", "--slot", help=f"One of {', '.join(TOPAZ.slots)}.")
        ] = "standard-v2",
        device: Annotated[DeviceName | None, typer.Option(help="Where to compute.")] = None,
        metadata: Annotated[
            MetadataPolicy | None, typer.Option(help="What of EXIF and XMP to take along.")
        ] = None,
        guard: Annotated[
            bool | None,
            typer.Option(help="Correct the result until, reduced, it matches the source."),
        ] = None,
    ) -> None:
        """Enlarge one file, here, with no server. What is not said is as the settings have it."""
        settings = self.stores.settings()
        if device is not None:
            settings = settings.model_copy(update={"device": device})
        said = {"metadata": metadata, "is_guarded": guard}
        decided = {name: value for name, value in said.items() if value is not None}
        treatment = settings.treatment.model_dump() | decided
        params = _params(target, treatment, factor=factor, slot=slot)
        with usable_files():
            data = source.read_bytes()
        engine = self.load_engine(settings)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task(f"{source.name}, {factor} times", total=None)

            def report(done: int, of: int) -> None:
                progress.update(bar, completed=done, total=of)

            with _replacing(target) as sink:
                made = engine.upscale(data, params, sink=sink, progress=report)
        instead = ", which stands in for this variant's own network" if made.is_fallback else ""
        typer.echo(f"{target}: {made.width_px} x {made.height_px}, by {made.network}{instead}")
        if made.quality is not None:
            typer.echo(_told(made.quality))


def _params(target: Path, treatment: dict[str, Any], *, factor: int, slot: str) -> UpscaleParams:
    format_ = _SUFFIXES.get(target.suffix.lower())
    if format_ is None:
        raise FileUnusable(f"OUT must end in one of {', '.join(_SUFFIXES)}, not be {target.name}")
    if slot not in TOPAZ.slots:
        raise SettingsError(f"--model-type must be one of {', '.join(TOPAZ.slots)}, not {slot}")
    chosen = {"model": TOPAZ.id, "slot": slot, "factor": factor, "output_format": format_}
    try:
        return UpscaleParams.model_validate(treatment | chosen)
    except ValidationError:
        raise SettingsError(f"--factor must be 1, 2, 4, 6 or 8, not {factor}") from None


def _told(quality: Quality) -> str:
    """The report in a line."""
    report = shown_quality(quality)
    assert report is not None
    seams = "" if report.seamScore is None else f", seams {report.seamScore:g}"
    return (
        f"reduced again, against the source: PSNR {report.psnrDb:g} dB, SSIM {report.ssim:g}, "
        f"colour drift {report.deltaE:g}{seams}"
    )


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file beside `target` that takes its place at the end; after an error nothing stays."""
    path = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    with usable_files():
        try:
            with path.open("xb+") as file:
                yield file
            path.replace(target)
        finally:
            path.unlink(missing_ok=True)
