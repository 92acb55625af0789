"""What is deployed on Modal: machines, limits, images, names. The one place for these numbers.

Modal itself checks GPU names, cron strings and the longest time-out no sooner than at a deploy, so
the tests hold this file to tables of theirs. `max_containers` of the tiers caps what can be spent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

APP_NAME = "enlarger"
WEB_LABEL = "enlarger"
"""The address is `https://<workspace>--<label>.modal.run`."""

SECRET_NAME = "enlarger"
REQUIRED_KEYS = ("ENLARGER_STORE_URL", "ENLARGER_OBJECTS_URL")
"""A deploy fails without these. The secret may hold any other setting, and AWS's credentials."""


@dataclass(frozen=True)
class Scale:
    """How many containers there may be, and how long an idle one is kept (and paid)."""

    max_containers: int
    min_containers: int = 0
    buffer_containers: int = 0
    scaledown_window_s: int = 60


@dataclass(frozen=True)
class Machine:
    """What one container has, and how long it may take. CPU is in physical cores.

    `timeout_s` bounds each call, `startup_timeout_s` what comes before; `max_inputs` calls
    run in a container at once, in threads.
    """

    cpu: float
    memory_mib: int
    timeout_s: int
    max_inputs: int = 1
    startup_timeout_s: int = 120
    gpu: tuple[str, ...] = ()
    """Cards by preference: Modal takes the next where the first is not to be had."""


@dataclass(frozen=True)
class Part:
    """A function, or a class of them."""

    machine: Machine
    scale: Scale


@dataclass(frozen=True)
class Tier(Part):
    """A class of workers, and the models that they serve."""

    name: str
    models: tuple[str, ...]


FAITHFUL = Tier(
    name="Faithful",
    models=("topaz-image-upscale",),
    machine=Machine(
        gpu=("L4", "A10", "L40S"),  # no T4: it has no bfloat16, in which some networks run
        cpu=4.0,  # decoding and encoding are half of a small job's time, and run on all cores
        memory_mib=16 * 1024,
        timeout_s=3600,  # a job's own deadline ends it no later
        startup_timeout_s=300,
        # One job's decoding and encoding overlap another's networks. More than that only queue for
        # the card, and each holds its picture in memory.
        max_inputs=3,
    ),
    scale=Scale(max_containers=10, scaledown_window_s=120),
)

CREATIVE = Tier(
    name="Creative",
    models=("clarity-upscale",),
    machine=Machine(
        gpu=("L40S", "A100-80GB", "H100"),
        cpu=4.0,
        memory_mib=32 * 1024,  # whole canvases of 16 bits
        timeout_s=3600,
        startup_timeout_s=600,
        # The denoiser keeps the card busy for nearly all of a job: a second one would only make
        # both late. Alone, a call also runs in the main thread, where preemption can interrupt it.
        max_inputs=1,
    ),
    scale=Scale(max_containers=4, scaledown_window_s=300),  # its networks take long to load
)

TIERS = (FAITHFUL, CREATIVE)

WEB = Part(
    Machine(
        cpu=1.0,
        memory_mib=2 * 1024,  # 64 sources of 25 MB may be on their way in
        timeout_s=150,  # Modal redirects a request that takes longer
        max_inputs=100,
    ),
    Scale(max_containers=20, scaledown_window_s=300),
)

COURIERS = Part(
    # A delivery mostly waits, 15 s at most; its container makes 4 at once to the same receiver.
    Machine(cpu=0.5, memory_mib=512, timeout_s=60, max_inputs=64),
    Scale(max_containers=5, scaledown_window_s=60),
)

SANDBOX_WORKERS = Part(
    # Small pictures on the processor alone; some jobs wait on purpose, so several fit at once.
    Machine(cpu=1.0, memory_mib=3 * 1024, timeout_s=900, max_inputs=6),
    Scale(max_containers=2, scaledown_window_s=60),
)
"""Who works in the sandbox, for nothing."""

SWEEPER = Part(
    # Never two at once. It starts anew each minute: that costs less than to keep it waiting.
    Machine(cpu=0.5, memory_mib=512, timeout_s=300),
    Scale(max_containers=1, scaledown_window_s=2),
)
SWEEP_CRON = "* * * * *"
DAILY_CRON = "23 3 * * *"
"""In UTC."""

FILLER = Part(Machine(cpu=2.0, memory_mib=2 * 1024, timeout_s=3600), Scale(max_containers=1))

DISPATCH_GRACE_MS = 60_000
"""How long after its submission the sweeper leaves a job to its hint; a cold start fits in."""

REHINT_MS = 110_000
"""How long the sweeper leaves a job to a hint of its own: every second sweep. While all containers
are busy each further one only makes Modal's queue longer."""

SETTLE_WITHIN_S = 10.0
"""How long a container that ends waits for its last hints."""

PYTHON_VERSION = "3.11"  # what the tests run on
UV_VERSION = "0.13.9"
APT_PACKAGES = ("build-essential",)  # Triton compiles its launchers with the C compiler it finds
WEB_EXTRAS = ("aws", "postgres", "stripe", "modal")
GPU_EXTRAS = (*WEB_EXTRAS, "engine")
"""The extras of `pyproject.toml` in each image, besides what Enlarger always needs."""

LOCAL_PACKAGES = ("handlers", "jobs", "billing", "inference", "storage", "deployment", "modal_app")
NOT_SOURCE = ("**/__pycache__", "**/*.pyc", "**/.*")
"""What of them stays here. Said outright: by default Modal takes `.py` files and nothing else, and
the networks that ship with the code are not such."""

WEIGHTS_VOLUME = "enlarger-weights"
WEIGHTS_PATH = "/weights"
CACHE_VOLUME = "enlarger-compile-cache"
CACHE_PATH = "/compile-cache"

EVERYWHERE_ENV: Mapping[str, str] = {
    # Modal's client retries a throttled call without end unless told otherwise, in seconds.
    "MODAL_MAX_THROTTLE_WAIT": "2",
    "ENLARGER_WEIGHTS": WEIGHTS_PATH,
    "ENLARGER_LOGS": "json",
}
GPU_ENV: Mapping[str, str] = {**EVERYWHERE_ENV, "ENLARGER_DEVICE": "cuda"}
CREATIVE_ENV: Mapping[str, str] = {
    **GPU_ENV,
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE_PATH}/inductor",
    "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
    "TRITON_CACHE_DIR": f"{CACHE_PATH}/triton",
}


def tier_of(model: str) -> Tier:
    """The tier that serves a model; `LookupError` if none does."""
    for tier in TIERS:
        if model in tier.models:
            return tier
    raise LookupError(f"no tier serves {model}")


def card_of(model: str) -> str | None:
    """The card that a model's tier prefers, as benchmarks name their results by it; None if no tier
    serves it, as may be with a newer release's model while two of them are deployed.
    """
    cards = (tier.machine.gpu[0].lower() for tier in TIERS if model in tier.models)
    return next(cards, None)


def requirements(pyproject: Mapping[str, Any], *, extras: Sequence[str]) -> list[str]:
    """The pinned distributions of the project and of some of its extras."""
    project = pyproject["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(each for extra in extras for each in optional[extra])]
