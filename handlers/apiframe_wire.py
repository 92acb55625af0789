"""What the Apiframe dialect says on the wire: requests as they come in, answers as they go out."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel

from handlers.limits import MAX_IMAGE_CHARS
from handlers.quality_wire import Reported, shown_quality
from jobs.address_guard import MAX_URL_CHARS
from jobs.ids import iso_utc
from jobs.job import Job, Status, WebhookEvent
from jobs.links import Links
from jobs.retention import MAX_RETENTION_DAYS, is_expired

MAX_PROMPT_CHARS = 2000
MAX_SEED = 2**53 - 1
MAX_CREDITS = 2**53 - 1

Topaz = Literal["topaz-image-upscale"]
Clarity = Literal["clarity-upscale"]


def _number(value: object) -> object:
    """A factor as the integer it means: Apiframe's own quick start sends `"2"`, and 2.0 is 2."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 1:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None if isinstance(value, bool) else value  # True would pass for the literal 1


class _Said(BaseModel):
    # Strict: "true" is not a boolean and 1 is not a string. Unknown members are errors.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Image = Annotated[
    str,
    Field(
        max_length=MAX_IMAGE_CHARS,
        pattern=r"^(https?://|data:image/)",
        json_schema_extra={"format": "uri"},
        description="An http(s) address, an uploaded file's, or a data: URI of up to 10 MB",
    ),
]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]
Seed = Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)]
TopazFactor = Annotated[Literal[1, 2, 4, 6], BeforeValidator(_number)]
ClarityFactor = Annotated[Literal[1, 2, 4, 8], BeforeValidator(_number)]


MaxCredits = Annotated[
    int | None,
    Field(ge=1, le=MAX_CREDITS, description="Above this price the request is refused with a 402"),
]


class TopazKnobs(_Said):
    """How the faithful enlargement is to be made."""

    upscale_factor: TopazFactor = 2
    model_type: Literal[
        "standard-v2", "low-res-v2", "cgi", "high-fidelity-v2", "text-refine", "redefine"
    ] = "standard-v2"
    face_enhance: bool = False
    face_enhance_creativity: float = Field(default=0.0, ge=0, le=1)
    face_enhance_strength: float = Field(default=0.8, ge=0, le=1)
    output_format: Literal["jpg", "png"] = "jpg"
    seed: Seed | None = None


class TopazParams(TopazKnobs):
    """`topazUpscaleParams`: the faithful enlargement."""

    image: Image


class ClarityKnobs(_Said):
    """How the creative enlargement is to be made."""

    prompt: Prompt = "masterpiece, best quality, highres"
    negative_prompt: Prompt = "worst quality, low quality, normal quality"
    scale_factor: ClarityFactor = 2
    creativity: float = Field(default=0.35, ge=0, le=1)
    resemblance: float = Field(default=0.6, ge=0, le=3)
    dynamic: float = Field(default=6.0, ge=1, le=50)
    num_inference_steps: int = Field(default=18, ge=1, le=100)
    sharpen: float = Field(default=0.0, ge=0, le=10)
    output_format: Literal["png", "jpg", "webp"] = "png"
    seed: Seed | None = None


class ClarityParams(ClarityKnobs):
    """`clarityUpscaleParams`: the creative enlargement."""

    image: Image


RetentionDays = Annotated[
    int | None,
    Field(
        ge=0,
        le=MAX_RETENTION_DAYS,
        description="How many days the result is kept; 0: an hour after it was fetched or told of",
    ),
]


class Wishes(_Said):
    """What is said beside the params."""

    maxCredits: MaxCredits = None
    retentionDays: RetentionDays = None
    webhookUrl: Annotated[str, Field(max_length=MAX_URL_CHARS)] | None = None
    webhookEvents: Annotated[list[WebhookEvent], Field(min_length=1, max_length=20)] | None = None


class TopazUpscale(Wishes):
    """A faithful enlargement."""

    model: Topaz
    topazUpscaleParams: TopazParams


class ClarityUpscale(Wishes):
    """A creative enlargement."""

    model: Clarity
    clarityUpscaleParams: ClarityParams


class UpscaleRequest(RootModel[TopazUpscale | ClarityUpscale]):
    """The body of `POST /v2/images/upscale`; `model` says which of the two it is."""

    root: TopazUpscale | ClarityUpscale = Field(discriminator="model")


InSandbox = Annotated[bool, Field(exclude_if=lambda value: not value)]
"""Said of what is in the sandbox, and only of that: the dialect does not know it."""


class Submitted(BaseModel):
    """The answer to a submission."""

    jobId: str
    status: str


class JobResult(BaseModel):
    """The finished picture's address; in a job by itself, how faithful it is, and by which seed."""

    images: list[str]
    quality: Reported = None
    seed: int | None = Field(default=None, exclude_if=lambda value: value is None)


class JobSummary(BaseModel):
    """A job in a list."""

    id: str
    status: str
    model: str
    progress: int | None
    result: JobResult | None
    error: str | None
    creditCost: int | None
    webhookStatus: str | None
    createdAt: str
    completedAt: str | None
    expired: bool
    sandbox: InSandbox = False


class JobDetails(JobSummary):
    """A job by itself, with the request's params."""

    input: dict[str, Any]


class ModelInfo(BaseModel):
    """One model on offer, or whose weights could be installed."""

    id: str
    label: str
    modality: str
    description: str
    costMin: int
    costMax: int
    pricingMode: str


class Models(BaseModel):
    """The models."""

    models: list[ModelInfo]


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobSummary]
    nextCursor: str | None
    hasMore: bool
    models: list[ModelInfo] | None = Field(default=None, exclude_if=lambda value: value is None)


class User(BaseModel):
    """Who uses the key."""

    id: str
    email: str
    role: str


class Team(BaseModel):
    """Who pays: the account."""

    id: str
    name: str
    plan: str
    credits: int
    maxConcurrentJobs: int
    customerId: str | None


class KeyInfo(BaseModel):
    """The key that asks."""

    id: str
    name: str
    prefix: str
    sandbox: InSandbox = False


class Me(BaseModel):
    """The answer of `GET /v2/me`."""

    user: User
    team: Team
    apiKey: KeyInfo


class UploadInfo(BaseModel):
    """A file that was taken in."""

    id: str
    url: str
    kind: Literal["image"] = "image"
    contentType: str
    byteSize: int
    expiresAt: str


class Problem(BaseModel):
    """Every refusal."""

    error: str
    details: dict[str, list[str]] | None = None
    creditsRequired: int | None = None
    creditsAvailable: int | None = None


def submitted(job: Job) -> Submitted:
    """A job as its submission is answered."""
    return Submitted(jobId=str(job.id), status=job.status.upper())


def summary(job: Job, *, links: Links, now_ms: int) -> JobSummary:
    """A job as a list shows it."""
    return JobSummary.model_construct(**_summary(job, links=links, now_ms=now_ms))


def details(job: Job, *, links: Links, now_ms: int) -> JobDetails:
    """A job as it is shown by itself."""
    fields = _summary(job, links=links, now_ms=now_ms)
    if job.result is not None:
        creative = job.params.creative
        said = {
            "quality": shown_quality(job.result.quality),
            "seed": None if creative is None else creative.seed,
        }
        fields["result"] = fields["result"].model_copy(update=said)
    return JobDetails.model_construct(**fields, input=job.said)


def _summary(job: Job, *, links: Links, now_ms: int) -> dict[str, Any]:
    result = JobResult(images=[links.of(job.result.object_name)]) if job.result else None
    return {
        "id": str(job.id),
        "status": job.status.upper(),
        "model": job.params.model,
        "progress": None if job.status is Status.QUEUED else job.progress,
        "result": result,
        "error": job.failure.message if job.failure else None,
        "creditCost": job.cost_credits,
        "webhookStatus": job.webhook_status,
        "createdAt": iso_utc(job.created_at_ms),
        "completedAt": None if job.ended_at_ms is None else iso_utc(job.ended_at_ms),
        "expired": is_expired(job, now_ms=now_ms),
        "sandbox": job.is_sandbox,
    }
