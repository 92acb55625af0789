"""The services: everything that requests and workers need, built once from a few given parts."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import UUID

from billing.autotopup import AutoTopUps
from billing.key_use import KeyUse
from billing.payments import Payments
from billing.plans import SELF_HOSTED, Plans
from billing.pricing import Prices
from billing.rates import Rates
from inference.catalogue import WEIGHTS_FOLDER, has_faces
from inference.params import USUAL, USUAL_CREATION, CreativeOptions, Treatment
from inference.provenance import Weights
from jobs.attempts import Sender
from jobs.audit import Audit
from jobs.breaker import Breakers
from jobs.cancellation import Cancellations
from jobs.courier import Courier
from jobs.deletion import MAX_DELETIONS, Deletions
from jobs.dispatch import Dispatcher
from jobs.endings import Endings
from jobs.estimates import Estimates, measured_speeds
from jobs.ids import Clock, new_job_id, new_seed
from jobs.lease import Leases
from jobs.links import Links
from jobs.metrics import Metrics, any_shard
from jobs.orphans import Listed, Orphans
from jobs.outbound import Outbound
from jobs.queue_position import QueuePositions
from jobs.quotes import Quotes
from jobs.redelivery import Redeliveries
from jobs.rehearsal import MAX_REHEARSALS, Rehearsals
from jobs.retention import MAX_RETENTION_DAYS, Retention
from jobs.sources import Sources
from jobs.submission import Submissions
from jobs.sweeper import REHINT_MS, Sweeper
from jobs.ticker import Ticker, in_a_thread
from jobs.turns import Turns
from jobs.uploads import Uploads
from jobs.watcher import Watcher
from jobs.webhooks import HmacKey, Share, any_share
from jobs.worker import Engine, Worker
from storage.kv import KeyValue
from storage.objects import Objects

MAX_FETCHES = 64
MAX_FETCHES_EACH = 50
"""How many sources may be fetched at once, in all and for one account."""

MAX_ATTEMPTS_AT_ONCE = 64
MAX_ATTEMPTS_PER_ACCOUNT = 12
MAX_ATTEMPTS_PER_HOST = 4
"""How many webhooks may be on their way at once, in all, for one account, and to one receiver."""


@dataclass(frozen=True)
class Services:
    """The parts that are given; the properties are what is made of them.

    `models` are those that can be served; `weights_folder` has the weights that were pulled;
    `face_restorer` is the file among them that restores faces, if any is to; `creative` is how
    Clarity works; `treatment` is what every picture gets. `check_dispatch` raises if whoever works
    on the jobs cannot be hinted at; None where there is nobody to ask. `works_on` says which device
    works on a model's jobs, by the name that it was measured under; None if that is not known.
    `ticker` renews leases beside the work; `seconds` is a clock that never goes back; `share` is
    the chance in when webhooks are tried again. Results are kept `retention_days` at most.
    """

    kv: KeyValue
    objects: Objects
    outbound: Outbound
    dispatcher: Dispatcher
    links: Links
    clock: Clock
    prices: Prices
    models: Collection[str]
    max_source_pixels: int
    dispatch_grace_ms: int
    lease_ms: int
    rehint_ms: int = REHINT_MS
    retention_days: int = MAX_RETENTION_DAYS
    webhook_hmac_key: HmacKey = "raw"
    weights_folder: Path = WEIGHTS_FOLDER
    face_restorer: Weights | None = None
    creative: CreativeOptions = USUAL_CREATION
    treatment: Treatment = USUAL
    plans: Plans = SELF_HOSTED
    payments: Payments | None = None
    works_on: Callable[[str], str | None] = lambda _: None
    check_dispatch: Callable[[], None] | None = None
    new_job_id: Callable[[int], UUID] = new_job_id
    new_seed: Callable[[], int] = new_seed
    ticker: Ticker = in_a_thread
    metrics_shard: Callable[[], int] = any_shard
    share: Share = any_share
    seconds: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    @cached_property
    def submissions(self) -> Submissions:
        """Takes orders."""
        return Submissions(
            kv=self.kv,
            objects=self.objects,
            sources=self.sources,
            fetches=self.fetches,
            plans=self.plans,
            dispatcher=self.dispatcher,
            models=self.models,
            has_faces=self.has_faces,
            clock=self.clock,
            new_job_id=self.new_job_id,
            max_source_pixels=self.max_source_pixels,
            dispatch_grace_ms=self.dispatch_grace_ms,
            retention_days=self.retention_days,
        )

    @cached_property
    def quotes(self) -> Quotes:
        """Says what orders would cost."""
        return Quotes(
            kv=self.kv,
            sources=self.sources,
            fetches=self.fetches,
            models=self.models,
            has_faces=self.has_faces,
            plans=self.plans,
            estimates=self.estimates,
            works_on=self.works_on,
            clock=self.clock,
            max_source_pixels=self.max_source_pixels,
        )

    @cached_property
    def estimates(self) -> Estimates:
        """Says how long work takes."""
        return Estimates(measured_speeds(), self.weights_folder)

    @cached_property
    def watcher(self) -> Watcher:
        """Tells of jobs while they go on."""
        return Watcher(
            self.kv,
            positions=QueuePositions(
                self.kv, works_on=self.works_on, clock=self.clock, seconds=self.seconds
            ),
            remaining_s=lambda job: self.estimates.remaining_s(
                job,
                device=None if job.is_sandbox else self.works_on(job.params.model),
                now_ms=self.clock(),
            ),
            seconds=self.seconds,
            ticker=self.ticker,
        )

    @cached_property
    def rates(self) -> Rates:
        """Counts how fast keys ask."""
        return Rates(clock=self.clock)

    @cached_property
    def key_use(self) -> KeyUse:
        """Writes down which keys are used."""
        return KeyUse(self.kv, clock=self.clock)

    @cached_property
    def fetches(self) -> Turns:
        """Turns at fetching a source, which orders and quotes share."""
        return Turns(in_all=MAX_FETCHES, each=MAX_FETCHES_EACH)

    def has_faces(self) -> bool:
        """Whether face enhancement can be served now."""
        return has_faces(self.weights_folder, restorer=self.face_restorer)

    @cached_property
    def sources(self) -> Sources:
        """Turns addresses into bytes."""
        return Sources(
            self.kv, self.objects, self.uploads, self.outbound, self.links, clock=self.clock
        )

    @cached_property
    def uploads(self) -> Uploads:
        """Takes files in."""
        return Uploads(
            self.kv, self.objects, self.links, self.clock, max_pixels=self.max_source_pixels
        )

    @cached_property
    def leases(self) -> Leases:
        """Keeps running jobs apart."""
        return Leases(
            self.kv,
            self.dispatcher,
            self.links,
            self.clock,
            lease_ms=self.lease_ms,
            ticker=self.ticker,
        )

    @cached_property
    def endings(self) -> Endings:
        """Ends jobs."""
        return Endings(self.kv, self.dispatcher, self.links, self.clock, self.metrics)

    @cached_property
    def cancellations(self) -> Cancellations:
        """Ends jobs that nobody wants any more."""
        return Cancellations(self.kv, self.endings)

    @cached_property
    def deletions(self) -> Deletions:
        """Deletes jobs before their time."""
        turns = Turns(in_all=MAX_DELETIONS, each=MAX_DELETIONS)
        return Deletions(self.kv, self.cancellations, self.retention, self.clock, turns)

    @cached_property
    def courier(self) -> Courier:
        """Delivers webhooks."""
        return Courier(
            self.kv,
            self.sender,
            self.clock,
            self.metrics,
            Breakers(self.kv, self.clock, self.share),
            turns=Turns(in_all=MAX_ATTEMPTS_AT_ONCE, each=MAX_ATTEMPTS_PER_HOST),
            account_turns=Turns(in_all=MAX_ATTEMPTS_AT_ONCE, each=MAX_ATTEMPTS_PER_ACCOUNT),
            share=self.share,
        )

    @cached_property
    def sender(self) -> Sender:
        """Sends webhooks."""
        return Sender(self.outbound, self.clock, self.seconds, self.webhook_hmac_key)

    @cached_property
    def redeliveries(self) -> Redeliveries:
        """Shows deliveries, and makes them again."""
        return Redeliveries(self.kv, self.dispatcher, self.clock)

    @cached_property
    def rehearsals(self) -> Rehearsals:
        """Sends examples of webhooks."""
        turns = Turns(in_all=MAX_REHEARSALS, each=1)
        return Rehearsals(self.kv, self.sender, self.links, self.clock, turns)

    @cached_property
    def metrics(self) -> Metrics:
        """Counts."""
        return Metrics(self.kv, self.clock, self.metrics_shard)

    @cached_property
    def audit(self) -> Audit:
        """Verifies the ledger."""
        return Audit(self.kv, self.clock, self.payments)

    @cached_property
    def retention(self) -> Retention:
        """Deletes files in time."""
        return Retention(self.kv, self.objects, self.clock)

    @cached_property
    def orphans(self) -> Orphans | None:
        """Deletes what nobody knows of, where the object store does not do so by itself."""
        if not isinstance(self.objects, Listed):
            return None
        return Orphans(self.kv, self.objects, self.clock)

    @cached_property
    def sweeper(self) -> Sweeper:
        """Sees to what is due."""
        return Sweeper(
            kv=self.kv,
            dispatcher=self.dispatcher,
            endings=self.endings,
            retention=self.retention,
            uploads=self.uploads,
            clock=self.clock,
            rehint_ms=self.rehint_ms,
            auto_topups=self.auto_topups,
        )

    @cached_property
    def auto_topups(self) -> AutoTopUps | None:
        """Buys credits by itself, where any are sold."""
        return None if self.payments is None else AutoTopUps(self.kv, self.payments, self.clock)

    def worker(self, engine: Engine | None) -> Worker:
        """Works on jobs with that engine; without one, on those of the sandbox alone."""
        return Worker(
            self.kv,
            self.objects,
            engine,
            leases=self.leases,
            endings=self.endings,
            metrics=self.metrics,
            seconds=self.seconds,
            pause=self.pause,
        )
