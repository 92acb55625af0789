"""The sandbox: who makes the jobs of sandbox keys, and the sources that make things happen.

Such a job goes the same way as any: probed, priced (at nothing), held, queued, leased, settled and
told of. Only its pixels are made by plain resampling, on no card, and it lies apart from others.
An address at `HOST` stands for a scene: something that seldom happens when one wants to see it.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from billing.errors import CapReached, InsufficientCredits, TooManyInFlight
from billing.keys import ApiKey
from inference import plain
from inference.errors import CorruptImage, NotANumber, OutOfMemory, OutputTooLarge
from inference.params import UpscaleParams
from jobs.address_guard import parsed
from jobs.errors import ModelUnavailable, SourceUnusable
from jobs.job import Job
from jobs.outbound import Unreachable

HOST = "sandbox.enlarger.invalid"
"""Nobody's, and nobody's ever: `invalid` is reserved (RFC 2606). It is not looked up."""

MAX_OUTPUT_PIXELS = 2**25
"""What costs nothing is kept small: a few hundred megabytes of memory, a few seconds."""

SLOW_S = 30
DEADLINE_S = 10
LATE_S = 60
REPEAT_AFTER_S = 1

_HANGS_S = 600
_STEP_S = 1.0
_NAME = re.compile(r"/([a-z-]{1,40})\.(?:png|jpg|jpeg|webp|tiff)(?:\?.*)?")


class Usual(NamedTuple):
    """What a refusal may want to name."""

    price_credits: int
    max_in_flight: int


Refuse = Callable[[Usual], Exception]


class Scene(NamedTuple):
    """What happens to a job of such a source, in words for the customer, and by which means.

    `refuse` makes what the submission is refused with; `content` takes the picture's place.
    `loses_source` has the file gone before the work; `breaks` is what the engine raises after
    `works_s` seconds of work, a step each. From `deadline_s` on the job is too late. The end is
    first told `told_after_s` late, and again `repeats` times though the receiver has accepted.
    """

    what: str
    refuse: Refuse | None = None
    content: bytes | None = None
    loses_source: bool = False
    breaks: Callable[[], Exception] | None = None
    works_s: int = 0
    deadline_s: int | None = None
    told_after_s: int = 0
    repeats: int = 0


SCENES: Mapping[str, Scene] = {
    "success": Scene("The job completes at once."),
    "slow": Scene(f"The job takes {SLOW_S} s, with progress; it can be cancelled.", works_s=SLOW_S),
    "unreachable": Scene(
        "Refused at submission, as an address that does not answer.", refuse=lambda _: Unreachable()
    ),
    "not-an-image": Scene(
        "Refused at submission, as a file that is no picture.", content=b"<!doctype html><p>Hello"
    ),
    "insufficient-credits": Scene(
        "Refused at submission with a 402, as if the balance were 0.",
        refuse=lambda usual: InsufficientCredits(required=usual.price_credits, available=0),
    ),
    "cap-reached": Scene(
        "Refused at submission with a 402, as if a cap of the key were reached.",
        refuse=lambda usual: CapReached(
            f"This job of {usual.price_credits} credits is over this key's cap of 0 credits a day"
        ),
    ),
    "too-many-jobs": Scene(
        "Refused at submission with a 429, as if too many jobs were unfinished.",
        refuse=lambda usual: TooManyInFlight(limit=usual.max_in_flight),
    ),
    "unavailable": Scene(
        "Refused at submission with a 503, as if the model could not be served.",
        refuse=lambda _: ModelUnavailable(),
    ),
    "corrupt-image": Scene(
        "The job fails with CORRUPT_IMAGE, which only decoding finds.", breaks=CorruptImage
    ),
    "processing-failed": Scene("The job fails with PROCESSING_FAILED.", breaks=NotANumber),
    "out-of-memory": Scene(
        "The job fails with PROCESSING_FAILED, for want of memory.", breaks=OutOfMemory
    ),
    "source-missing": Scene(
        "The job fails with SOURCE_MISSING: its file is gone.", loses_source=True
    ),
    "deadline-exceeded": Scene(
        f"The job fails with DEADLINE_EXCEEDED, after {DEADLINE_S} s instead of an hour, or with "
        "the next sweep.",
        works_s=_HANGS_S,
        deadline_s=DEADLINE_S,
    ),
    "duplicate-webhook": Scene(
        "The job completes, and its webhook arrives twice, with the same id.", repeats=1
    ),
    "late-webhook": Scene(
        f"The job completes, and its webhook is first sent {LATE_S} s later.", told_after_s=LATE_S
    ),
}
"""Every name there is."""

USUAL = SCENES["success"]


def name_of(url: str, key: ApiKey) -> str | None:
    """The name of the scene that an address stands for; None for other addresses.

    Raises `SourceUnusable` if there is no such scene, or the key is a live one.
    """
    target = parsed(url)
    if target is None or target.host != HOST:
        return None
    if not key.is_sandbox:
        raise SourceUnusable(f"https://{HOST}/ is for sandbox keys, which begin with afk_test_")
    match = _NAME.fullmatch(target.path)
    if match is None or match[1] not in SCENES:
        names = ", ".join(f"{name}.png" for name in SCENES)
        raise SourceUnusable(f"https://{HOST}/ has no such file; it has {names}")
    return match[1]


def content_of(name: str) -> bytes:
    """The file that takes the place of the address's."""
    content = SCENES[name].content
    return plain.sample() if content is None else content


def check(name: str | None, usual: Usual) -> None:
    """Raise what the scene refuses submissions with, if it does."""
    refuse = None if name is None else SCENES[name].refuse
    if refuse is not None:
        raise refuse(usual)


def check_size(width_px: int, height_px: int) -> None:
    """Raise `OutputTooLarge` if a sandbox job may not make a picture of that size."""
    if width_px * height_px > MAX_OUTPUT_PIXELS:
        raise OutputTooLarge(
            f"The output would have {width_px} x {height_px} pixels; "
            f"a sandbox key's may have {MAX_OUTPUT_PIXELS} at most"
        )


def scene_of(job: Job) -> Scene:
    """The scene that a job is in; a newer release's is none to this one."""
    return USUAL if job.scene is None else SCENES.get(job.scene, USUAL)


@dataclass(frozen=True)
class SandboxEngine:
    """The engine of a sandbox job: it does what the scene says. `pause` waits that many seconds."""

    scene: Scene
    pause: Callable[[float], None] = time.sleep

    def upscale(
        self,
        source: bytes,
        params: UpscaleParams,
        *,
        sink: BinaryIO,
        progress: Callable[[int, int], None],
    ) -> plain.Enlarged:
        """Work for as long as the scene says, then end as it says."""
        steps = self.scene.works_s + 1
        for step in range(self.scene.works_s):
            progress(step, steps)
            self.pause(_STEP_S)
        progress(steps - 1, steps)
        if self.scene.breaks is not None:
            raise self.scene.breaks()
        enlarged = plain.enlarge(source, params, sink=sink)
        progress(steps, steps)
        return enlarged
