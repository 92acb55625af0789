"""How long a job should take, by what was measured; nothing where nothing was.

`speeds.json` comes out of `benchmarks.estimates`. A queue's length, cold starts and other machines
than the one that was measured on are not in it.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from inference.catalogue import TOPAZ, serving
from inference.errors import ModelUnknown
from inference.images import ImageInfo
from inference.params import UpscaleParams

SPEEDS_FILE = Path(__file__).with_name("speeds.json")


class Speed(BaseModel):
    """How many megapixels a second networks of one shape make on a device.

    `is_whole` says that the way from file to file was measured, at a factor of `scale`. Otherwise
    it was the network alone: decoding and encoding, little beside it, come on top.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    machine: str
    date: str
    weights: tuple[str, ...]
    scale: int = Field(ge=1)
    is_whole: bool
    megapixels_a_second: float = Field(gt=0)


class Speeds(BaseModel):
    """All that was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speeds: tuple[Speed, ...]

    def of(self, weights: str, *, device: str) -> Speed | None:
        """The speed of those weights on that device; None if it was not measured."""
        for speed in self.speeds:
            if speed.device == device and weights in speed.weights:
                return speed
        return None


@cache
def measured_speeds() -> Speeds:
    """The speeds beside the code."""
    return Speeds.model_validate_json(SPEEDS_FILE.read_bytes())


class Estimates(NamedTuple):
    """Expected times of work on a device, with the weights that `weights_folder` has."""

    speeds: Speeds
    weights_folder: Path

    def expected_s(
        self, params: UpscaleParams, info: ImageInfo, *, device: str | None
    ) -> float | None:
        """Seconds of work on such a picture; None where some of that work was not measured."""
        if device is None or _is_more(params):
            return None
        try:
            weights = serving(
                TOPAZ.slots[params.slot], params.factor, folder=self.weights_folder
            ).weights
        except ModelUnknown:
            return None
        speed = self.speeds.of(weights[0].id, device=device)
        if len(weights) != 1 or speed is None:
            return None
        if speed.is_whole and params.factor != speed.scale:
            return None
        # A network makes its own scale of any source; a lower factor is reduced from that.
        made_pixels = info.width_px * info.height_px * speed.scale**2
        return made_pixels / 1e6 / speed.megapixels_a_second


def _is_more(params: UpscaleParams) -> bool:
    """Whether more is wanted than enlarging, or another way of it, which no speed here tells."""
    return params.slot not in TOPAZ.slots or params.faces is not None or params.is_guarded
