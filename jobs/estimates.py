"""How long a job should take, by what was measured; nothing where nothing was.

`speeds.json` comes out of `benchmarks.estimates`. A queue's length, cold starts and other machines
than the one that was measured on are not in it.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from inference.catalogue import TOPAZ, serving
from inference.errors import ModelUnknown
from inference.params import UpscaleParams
from jobs.job import Job, Status

SPEEDS_FILE = Path(__file__).with_name("speeds.json")

MIN_SHARE_DONE = 0.05
"""How much of a job must be done before its own pace says more than what was measured."""


class Sized(Protocol):
    """A picture, as far as it matters how much work it makes."""

    @property
    def width_px(self) -> int: ...
    @property
    def height_px(self) -> int: ...


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

    def expected_s(self, params: UpscaleParams, info: Sized, *, device: str | None) -> float | None:
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

    def remaining_s(self, job: Job, *, device: str | None, now_ms: int) -> float | None:
        """Seconds until a job at work is done; while it waits, all of its own work and no more.

        By its own pace once some of it is done, else by what was measured; None where neither says
        anything, and for a job at its end.
        """
        if job.status is Status.QUEUED:
            return self.expected_s(job.params, job.source, device=device)
        if job.status is not Status.PROCESSING or job.attempt_started_at_ms is None:
            return None
        passed_s = max(now_ms - job.attempt_started_at_ms, 0) / 1000
        if job.steps_done and job.steps_done >= MIN_SHARE_DONE * job.steps_of:
            return passed_s * (job.steps_of - job.steps_done) / job.steps_done
        expected_s = self.expected_s(job.params, job.source, device=device)
        return None if expected_s is None or expected_s <= passed_s else expected_s - passed_s


def _is_more(params: UpscaleParams) -> bool:
    """Whether more is wanted than enlarging, or another way of it, which no speed here tells."""
    return params.slot not in TOPAZ.slots or params.faces is not None or params.is_guarded
