"""What the VicSee dialect says on the wire: camelCase, but snake_case within `input`."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from handlers.apiframe_wire import InSandbox, MaxCredits, RetentionDays
from handlers.limits import MAX_IMAGE_CHARS
from handlers.quality_wire import Reported, shown_quality
from jobs.ids import iso_utc
from jobs.job import Job, Status
from jobs.links import Links
from jobs.retention import is_expired
from jobs.submission import Accepted

MAX_UPLOAD_BYTES = 20 * 1024 * 1024
OUTPUT_TIERS = {1: "2k", 2: "2k", 4: "4k", 8: "8k"}

T = TypeVar("T")


def _factor(value: object) -> object:
    """`"4"`, the documented form, or the integer 4."""
    if isinstance(value, str) and value in {"1", "2", "4", "8"}:
        return int(value)
    return value if type(value) is int else None  # True and 1.0 would pass for the literal 1


UpscaleFactor = Annotated[Literal[1, 2, 4, 8], BeforeValidator(_factor)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class UpscaleRequest(_Said):
    """The body of `POST /tools/upscale-image`, and `input` of `/generate`."""

    image_url: Annotated[str, Field(min_length=1, max_length=MAX_IMAGE_CHARS)]
    upscale_factor: UpscaleFactor = 2
    max_credits: MaxCredits = None
    retention_days: RetentionDays = None


class GenerateRequest(_Said):
    """The body of `POST /generate`."""

    model: Literal["topaz-image-upscale"]
    input: UpscaleRequest


class UploadRequest(_Said):
    """The body of `POST /upload`."""

    contentType: Literal["image/jpeg", "image/png", "image/webp", "image/tiff"]
    sizeBytes: Annotated[int, Field(ge=1, le=MAX_UPLOAD_BYTES)]


class Envelope(BaseModel, Generic[T]):
    """Every success."""

    success: Literal[True] = True
    data: T


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str


class Failed(BaseModel):
    """Every refusal."""

    success: Literal[False] = False
    error: ErrorBody


class CreatedInput(BaseModel):
    """The input as understood."""

    image_url: str
    upscale_factor: str
    detected_dimensions: str
    output_tier: str


class Generated(BaseModel):
    """A new task, as `/generate` shows it."""

    id: str
    model: str
    status: str
    creditsUsed: int
    creditsRemaining: int
    createdAt: str


class Created(Generated):
    """A new task, as `/tools/upscale-image` shows it."""

    input: CreatedInput


class TaskResult(BaseModel):
    """The finished picture's address, and how faithful it is."""

    url: str
    type: Literal["image"] = "image"
    quality: Reported = None


class TaskError(BaseModel):
    """Why a task failed."""

    code: str
    key: str
    message: str


class Task(BaseModel):
    """A task."""

    id: str
    model: str
    status: str
    mediaType: Literal["image"] = "image"
    prompt: None = None
    createdAt: str
    result: TaskResult | None
    error: TaskError | None
    expired: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    sandbox: InSandbox = False


class Download(BaseModel):
    """Where the finished picture can be had, and until when."""

    url: str
    type: Literal["image"] = "image"
    expiresAt: str


class Credits(BaseModel):
    """The balance."""

    credits: int


class ModelInfo(BaseModel):
    """One model on offer."""

    id: str
    name: str
    type: Literal["image"] = "image"
    description: str
    capabilities: dict[str, Any]
    credits: dict[str, int]


class Models(BaseModel):
    """The models."""

    models: list[ModelInfo]


class UploadPlace(BaseModel):
    """Where to PUT a file, and where it can be read afterwards."""

    uploadUrl: str
    publicUrl: str
    key: str
    expiresAt: str


_STATUSES = {
    Status.QUEUED: "pending",
    Status.PROCESSING: "processing",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}


def task_id(job: Job) -> str:
    """A job's id in this dialect."""
    return f"task_{job.id.hex}"


def generated(accepted: Accepted) -> Generated:
    """A new task."""
    job = accepted.job
    return Generated(
        id=task_id(job),
        model=job.params.model,
        status=_STATUSES[job.status],
        creditsUsed=job.price_credits,
        creditsRemaining=accepted.credits_left,
        createdAt=iso_utc(job.created_at_ms),
    )


def created(accepted: Accepted) -> Created:
    """A new task with its input."""
    job = accepted.job
    source, factor = job.source, job.params.factor
    return Created(
        **dict(generated(accepted)),
        input=CreatedInput(
            image_url=job.said.get("image_url", ""),
            upscale_factor=str(factor),
            detected_dimensions=f"{source.width_px}\u00d7{source.height_px}",
            output_tier=OUTPUT_TIERS[factor],
        ),
    )


def task(job: Job, *, links: Links, now_ms: int) -> Task:
    """A task as it stands. Only of one whose result is gone it says `expired`: the dialect does
    not know it.
    """
    return Task(
        id=task_id(job),
        model=job.params.model,
        status=_STATUSES[job.status],
        createdAt=iso_utc(job.created_at_ms),
        result=_result(job, links),
        error=_error(job),
        expired=is_expired(job, now_ms=now_ms),
        sandbox=job.is_sandbox,
    )


def _result(job: Job, links: Links) -> TaskResult | None:
    if job.result is None:
        return None
    return TaskResult(
        url=links.of(job.result.object_name), quality=shown_quality(job.result.quality)
    )


def _error(job: Job) -> TaskError | None:
    if job.failure is None:
        return None
    code = job.failure.code
    return TaskError(code=code, key=code.lower(), message=job.failure.message)
