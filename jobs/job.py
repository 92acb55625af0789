"""The Job: what is known of one enlargement, and the transitions that are legal."""

from enum import StrEnum
from typing import Any, Literal, Self
from uuid import UUID

from billing.keys import world_of
from billing.ledger import Split
from billing.usage import Tally
from inference.params import OutputFormat, UpscaleParams
from inference.quality import Quality
from jobs.errors import IllegalTransition
from storage.record import Part, Record

SANDBOX = "sandbox"
"""What hints, and counts, call all jobs of sandboxes, in a model's place."""


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing comes after this status."""
        return not _NEXT[self]


_NEXT: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.PROCESSING, Status.FAILED, Status.CANCELLED}),
    Status.PROCESSING: frozenset(Status) - {Status.QUEUED},
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class Source(Part):
    """The bytes that were priced and will be processed; sizes are those displayed."""

    object_name: str
    format: OutputFormat
    width_px: int
    height_px: int
    size_bytes: int
    sha256: str


class Result(Part):
    """The finished picture. `network` names the weights that made it; `is_fallback` says that they
    took the place of the variant's own, which are not installed. `quality` is None where no report
    was wanted.
    """

    object_name: str
    format: OutputFormat
    width_px: int
    height_px: int
    size_bytes: int
    network: str
    is_fallback: bool = False
    quality: Quality | None = None


class Failure(Part):
    """Why a job has no result: a stable code, and a sentence for the customer."""

    code: str
    message: str


CANCELLED = Failure(code="CANCELLED", message="The job was cancelled")


WebhookEvent = Literal["progress", "completed", "failed"]
WebhookStatus = Literal["pending", "delivered", "failed"]


class Webhook(Part):
    """Where the customer wants to be told, and of what."""

    url: str
    events: tuple[WebhookEvent, ...]


class Job(Record):
    """One enlargement, from submission to the deletion of its files.

    Values never change; a transition returns the next job, or raises `IllegalTransition`. The
    `sequence` grows with everything that there is to tell of a job, so it orders what was told.
    `steps_done` of `steps_of` are the tiles, or other pieces, of the attempt under way. The result
    is kept `retention_days` from the end on; where that is 0, `handed_over_at_ms` is when the
    customer was first told of it, or fetched it.

    A sandbox job costs nothing and lies apart from the others; its `scene` is what its source
    stands for.
    """

    id: UUID
    account_id: str
    key_sha256: str
    params: UpscaleParams
    said: dict[str, Any]
    source: Source
    price_credits: int
    promo_credits: int = 0
    tally: Tally | None = None
    member_id: str | None = None
    is_sandbox: bool = False
    scene: str | None = None
    webhook: Webhook | None
    retention_days: int = 90
    created_at_ms: int

    status: Status = Status.QUEUED
    sequence: int = 0
    attempt: int = 0
    interruptions: int = 0
    progress: int = 0
    steps_done: int = 0
    steps_of: int = 0
    started_at_ms: int | None = None
    attempt_started_at_ms: int | None = None
    ended_at_ms: int | None = None
    result: Result | None = None
    failure: Failure | None = None
    webhook_status: WebhookStatus | None = None
    handed_over_at_ms: int | None = None
    deleted_at_ms: int | None = None

    @property
    def world(self) -> str:
        """What it is kept under: its account's, or the sandbox's of that."""
        return world_of(self.account_id, is_sandbox=self.is_sandbox)

    @property
    def ordered_by(self) -> str:
        """The id of the member whose key ordered it; of old jobs, of who opened the account."""
        return self.member_id or self.account_id

    @property
    def works_for(self) -> str:
        """Whom it waits for: whoever has its model, or whoever works in the sandbox."""
        return SANDBOX if self.is_sandbox else self.params.model

    @property
    def split(self) -> Split:
        """Which credits the job's hold is made of."""
        return Split(self.promo_credits, self.price_credits - self.promo_credits)

    @property
    def failed_attempts(self) -> int:
        """How many attempts have begun, but for those that were interrupted."""
        return self.attempt - self.interruptions

    @property
    def cost_credits(self) -> int:
        """What the job costs as things stand: nothing once its hold was given back."""
        refunded = self.status in (Status.FAILED, Status.CANCELLED)
        return 0 if refunded else self.price_credits

    def claimed(self, *, now_ms: int) -> Self:
        """A worker starts a further attempt."""
        return self._become(
            Status.PROCESSING,
            attempt=self.attempt + 1,
            started_at_ms=self.started_at_ms or now_ms,
            attempt_started_at_ms=now_ms,
            steps_done=0,
            steps_of=0,
        )

    def interrupted(self) -> Self:
        """The machine was taken from its worker, which is no fault of the job's."""
        return self.model_copy(update={"interruptions": self.interruptions + 1})

    def advanced(self, done: int, of: int) -> Self:
        """The worker has `done` so many steps `of` all; the progress in per cent is never less than
        before, and never 100."""
        progress = min(max(100 * done // max(of, 1), self.progress), 99)
        changes = {"progress": progress, "steps_done": done, "steps_of": of}
        advanced = self._become(Status.PROCESSING, **changes)
        is_news = any(changes[name] != getattr(self, name) for name in changes)
        return advanced if is_news else self

    def completed(self, result: Result, *, now_ms: int) -> Self:
        """The result is stored."""
        return self._become(
            Status.COMPLETED, result=result, progress=100, ended_at_ms=now_ms
        )._awaiting_webhook("completed")

    def failed(self, failure: Failure, *, now_ms: int) -> Self:
        """The job ends without a result, and its credits go back."""
        return self._become(Status.FAILED, failure=failure, ended_at_ms=now_ms)._awaiting_webhook(
            "failed"
        )

    def cancelled(self, *, now_ms: int) -> Self:
        """The customer wants no result any more, and the credits go back."""
        return self._become(
            Status.CANCELLED, failure=CANCELLED, ended_at_ms=now_ms
        )._awaiting_webhook("failed")

    def deleted(self, *, now_ms: int) -> Self:
        """The customer wants nothing kept: of what was said nothing is left, of what it cost all.

        Only a job at its end can be; there are no news of it.
        """
        if not self.status.is_terminal:
            raise IllegalTransition(f"a {self.status} job cannot be deleted")
        return self.model_copy(
            update={
                "deleted_at_ms": now_ms,
                "said": {},
                "webhook": None,
                "params": _speechless(self.params),
                "source": self.source.model_copy(update={"sha256": ""}),
            }
        )

    def wants(self, event: WebhookEvent) -> bool:
        """Whether the customer asked to be told of this event."""
        return self.webhook is not None and event in self.webhook.events

    def _awaiting_webhook(self, event: WebhookEvent) -> Self:
        return self.model_copy(update={"webhook_status": "pending"}) if self.wants(event) else self

    def _become(self, status: Status, **changes: Any) -> Self:
        if status not in _NEXT[self.status]:
            raise IllegalTransition(f"a {self.status} job cannot become {status}")
        told = {"status": status, "sequence": self.sequence + 1}
        return self.model_copy(update=told | changes)


def _speechless(params: UpscaleParams) -> UpscaleParams:
    if params.creative is None:
        return params
    silent = params.creative.model_copy(update={"prompt": "", "negative_prompt": ""})
    return params.model_copy(update={"creative": silent})
