"""Which networks serve a faithful request here; that a slot falls back is said once in the log."""

import logging
from pathlib import Path

from inference.catalogue import TOPAZ, Serving, Slot, serving
from inference.errors import ModelUnknown
from inference.params import UpscaleParams

log = logging.getLogger(__name__)


class Choice:
    """Chooses anew for each request, so that weights pulled meanwhile are used. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: set[tuple[str, str, bool]] = set()

    def of(self, params: UpscaleParams) -> Serving:
        """What serves these params; raises `ModelUnknown` if nothing does."""
        chosen = serving(_slot(params), params.factor, folder=self._folder)
        said = (params.model, params.slot, chosen.is_fallback)
        if said not in self._said:  # two threads may both say it: harmless
            self._said.add(said)
            names = ", ".join(weights.id for weights in chosen.weights)
            if chosen.is_fallback:
                log.warning(
                    "%s of %s is served by the fallback %s: its own weights are not in %s",
                    params.slot, params.model, names, self._folder,
                )  # fmt: skip
            else:
                log.info("%s of %s is served by %s", params.slot, params.model, names)
        return chosen


def _slot(params: UpscaleParams) -> Slot:
    slot = TOPAZ.slots.get(params.slot)
    if params.model != TOPAZ.id or slot is None:
        raise ModelUnknown(f"There is no faithful {params.model} with {params.slot}")
    return slot
