"""An engine whose diffusion is a tiny model of the real classes, loaded from disk."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import torch

from inference.creative.diffusion import Tuning
from inference.creative.modules import Modules, load_modules
from inference.creative.pipeline import Pipeline
from inference.devices import Sizes
from inference.engine import Engine
from inference.tiling import Windows
from tests.inference.creative import tiny

Change = Callable[[Modules], None]


class Model(NamedTuple):
    """Where a tiny model lies."""

    folder: Path

    @classmethod
    def written(cls, folder: Path) -> Self:
        """Write one."""
        tiny.write_checkpoint(folder / "checkpoint")
        tiny.write_controlnet(folder / "controlnet")
        return cls(folder)

    def engine(self, *, batch_tiles: int = 1, change: Change | None = None) -> Engine:
        """An engine that has it, with small windows; `change` does something to its networks."""

        def load(device: torch.device, *, folder: Path) -> Pipeline:  # noqa: ARG001
            modules = load_modules(
                self.folder / "checkpoint", controlnet=self.folder / "controlnet", tokenizer=None
            )
            if change is not None:
                change(modules)
            tuning = Tuning(sizes=Sizes(Windows(56, 56), batch_tiles))
            return Pipeline.of(modules, device, name="tiny", tuning=tuning)

        return Engine(device="cpu", load_pipeline=load)
