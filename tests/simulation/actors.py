"""The actors of a history: each is what one process of the service, or one of its users, does.

An actor's process may die at any of its calls; `history` then starts another in its place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from billing import ledger
from billing.errors import BillingError
from billing.keys import Caller
from billing.promotions import Promotion, promoted
from inference.errors import ImageError
from jobs.dispatch import Dispatcher
from jobs.errors import (
    DeliveryOver,
    DeliveryUnknown,
    IdempotencyMismatch,
    JobFinished,
    JobUnknown,
    LeaseLost,
    ModelUnavailable,
    ResultMissing,
    TooManyAtOnce,
)
from jobs.job import Job, Webhook, WebhookEvent
from jobs.outbound import OutboundError
from jobs.records import find_own, list_jobs
from jobs.sandbox import HOST, SCENES
from jobs.services import Services
from storage.kv import Change, Conflict, StoreError
from storage.objects import ObjectsError
from tests.jobs.machine import PICTURE_URI
from tests.simulation.network import PICTURE_URL, Manner, receiver
from tests.simulation.stage import Together
from tests.simulation.witness import Accepted
from tests.simulation.world import World

T = TypeVar("T")

MAX_TRIES = 4
MANNERS = {
    Manner.ACCEPTS: 6,
    Manner.RECOVERS: 3,
    Manner.BUSY: 2,
    Manner.GONE: 1,
    Manner.REFUSES: 0.5,
    Manner.HANGS: 0.5,
}
"""How often a receiver is of each kind; those that never accept are tried again for days."""

EVENTS: tuple[WebhookEvent, ...] = ("progress", "completed", "failed")
REFUSALS = (
    StoreError,
    ObjectsError,
    OutboundError,
    BillingError,
    ImageError,
    DeliveryOver,
    DeliveryUnknown,
    IdempotencyMismatch,
    JobFinished,
    JobUnknown,
    LeaseLost,
    ModelUnavailable,
    ResultMissing,
    TooManyAtOnce,
)
"""What a caller of the service must reckon with; anything else is a defect."""


@dataclass
class Actors:
    """What they all share: a stage, a world, and its chance."""

    world: World
    stage: Together
    random: Random
    dispatcher: Dispatcher

    def client(self, caller: Caller, *, orders: int, request: str | None) -> Callable[[], None]:
        """Orders again and again; a named order is the same each time."""

        def act() -> None:
            submissions = self.world.services(self.stage, dispatcher=self.dispatcher).submissions
            for _ in range(orders):
                order = self.world.order(
                    caller,
                    request=request,
                    source_url=self._source_url(caller),
                    webhook=self._webhook(),
                    retention_days=self.random.choice((None, None, 1, 0)),
                )
                try:
                    job = submissions.submit(order).job
                    accepted = Accepted(job.id, caller.account_id, request is not None)
                    self.world.witness.accepted.append(accepted)
                except REFUSALS:
                    pass  # refused or unheard; with a name it may be sent again
                self.stage.wait(self.random.random() * 20)

        return act

    def worker(self) -> None:
        """Works on whatever there is a hint of."""
        worker = self.world.worker(self.stage, dispatcher=self.dispatcher)
        self._follow(lambda: self.world.hints.jobs, worker.work, rest_s=1)

    def sweeper(self) -> None:
        """Sweeps, now and then."""
        sweeper = self.world.services(self.stage, dispatcher=self.dispatcher).sweeper
        while True:
            self.stage.wait(self.random.random() * 40)
            try:
                sweeper.sweep()
            except REFUSALS:
                continue

    def courier(self) -> None:
        """Makes whatever delivery there is a hint of."""
        courier = self.world.services(self.stage, dispatcher=self.dispatcher).courier
        self._follow(lambda: self.world.hints.deliveries, courier.deliver, rest_s=0.1)

    def _follow(
        self, hints_now: Callable[[], list[T]], see_to: Callable[[T], None], *, rest_s: float
    ) -> None:
        """See to one hint after another, in any order; doze while there is none."""
        while True:
            hints = hints_now()
            if not hints:
                self.stage.scheduler.doze()
                continue
            hint = hints.pop(self.random.randrange(len(hints)))
            try:
                see_to(hint)
            except REFUSALS:
                self.stage.wait(rest_s)

    def fickle(self, caller: Caller) -> None:
        """A customer who cancels, deletes, fetches or has repeated what he hits upon."""
        services = self.world.services(self.stage, dispatcher=self.dispatcher)
        for _ in range(MAX_TRIES):
            self.stage.wait(self.random.random() * 30)
            act = self.random.choice((self._cancel, self._delete, self._fetch, self._repeat))
            try:
                jobs = list_jobs(services.kv, caller.world, before=None, limit=100)
                if jobs:
                    act(services, caller, self.random.choice(jobs))
            except REFUSALS:
                continue

    def _cancel(self, services: Services, caller: Caller, job: Job) -> None:
        try:
            services.cancellations.cancel(caller.world, job.id)
            self.world.witness.cancelled.append(job.id)
        except JobFinished:
            self.world.witness.finished.append(job.id)

    def _delete(self, services: Services, caller: Caller, job: Job) -> None:
        services.deletions.delete(caller.world, job.id)
        self.world.witness.deleted.append(job.id)

    def _fetch(self, services: Services, caller: Caller, job: Job) -> None:
        kept = find_own(services.kv, caller.world, job_id=job.id)
        if kept.job.result is not None:
            services.retention.note_fetched(kept)

    def _repeat(self, services: Services, caller: Caller, job: Job) -> None:
        sent = services.redeliveries.of_job(caller.world, job.id)
        if sent:
            name = self.random.choice(sent).delivery.name
            services.redeliveries.redeliver(caller.world, job.id, name)

    def operator(self, caller: Caller, *, cause: str) -> None:
        """Grants credits, and promotional ones that expire; tries again until each is heard of."""
        kv = self.world.services(self.stage).kv
        now_ms, account_id = self.world.clock(), caller.account_id
        promotion = Promotion(
            account_id=account_id, cause=cause, credits=5, expires_at_ms=now_ms + 300_000
        )
        gifts: dict[str, tuple[Change, ...]] = {
            f"grant:{cause}": ledger.grant(account_id, cause, credits=9, now_ms=now_ms),
            f"promo:{cause}": promoted(promotion, now_ms=now_ms),
        }
        for name, changes in gifts.items():
            for _ in range(MAX_TRIES):
                self.stage.wait(self.random.random() * 10)
                try:
                    kv.commit(*changes)
                except Conflict:
                    pass  # it had been committed
                except StoreError:
                    continue
                self.world.witness.granted.append((account_id, name))
                break

    def _source_url(self, caller: Caller) -> str:
        if caller.key.is_sandbox:
            return f"https://{HOST}/{self.random.choice(tuple(SCENES))}.png"
        return self.random.choice((PICTURE_URI, PICTURE_URI, PICTURE_URL))

    def _webhook(self) -> Webhook | None:
        if self.random.random() < 0.2:
            return None
        (manner,) = self.random.choices(tuple(MANNERS), weights=tuple(MANNERS.values()))
        events = EVENTS if self.random.random() < 0.7 else EVENTS[1:]
        return Webhook(url=receiver(manner, "hook"), events=events)
