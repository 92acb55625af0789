"""Flows: what the service does in one go. Each is tried with every fault at every of its calls."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from billing import ledger
from billing.administration import grant_promotion
from billing.keys import Caller
from jobs.endings import MAX_ATTEMPTS
from jobs.job import Job, Status, Webhook
from jobs.lease import DEADLINE_MS
from jobs.records import find_job
from jobs.retention import DAY_MS, RECORD_KEPT_MS
from jobs.services import Services
from jobs.webhooks import delivery_key
from storage.kv import Conflict
from tests.running import DISPATCH_GRACE_MS, LEASE_MS
from tests.simulation.actors import EVENTS
from tests.simulation.engine import Course, StagedEngine
from tests.simulation.network import PICTURE_URL, Manner, receiver
from tests.simulation.stage import Calm, Stage
from tests.simulation.witness import Accepted
from tests.simulation.world import World

CREDITS = 100


@dataclass
class Scene:
    """A world with one customer and, mostly, one job of his."""

    manner: Manner = Manner.ACCEPTS
    world: World = field(default_factory=lambda: World(Random(1)))

    def __post_init__(self) -> None:
        self.calm = Calm(self.world.clock)
        self.caller: Caller = self.world.customer(0, credits=CREDITS, max_in_flight=5)
        self.services: Services = self.world.services(self.calm)
        self.ordered: Job | None = None

    @property
    def job(self) -> Job:
        """The job as it is now."""
        assert self.ordered is not None
        kept = find_job(self.world.kv, self.ordered.id)
        assert kept is not None
        return kept.job

    def order(
        self, services: Services, *, request: str | None = None, retention_days: int | None = None
    ) -> Job:
        """Order, and remember that it was accepted."""
        webhook = Webhook(url=receiver(self.manner, "hook"), events=EVENTS)
        order = self.world.order(
            self.caller,
            request=request,
            source_url=PICTURE_URL,
            webhook=webhook,
            retention_days=retention_days,
        )
        job = services.submissions.submit(order).job
        self.world.witness.accepted.append(
            Accepted(job.id, self.caller.account_id, request is not None)
        )
        return job

    def work(self, stage: Stage, *, course: Course) -> None:
        """Have a worker on that stage look at the job."""
        engine = StagedEngine(stage, self.world.random, courses={course: 1})
        self.world.services(stage).worker(engine).work(self.job.id)

    def take(self) -> None:
        """A worker claims the job, and is never heard of again."""
        kept = find_job(self.world.kv, self.job.id)
        assert kept is not None
        assert self.services.leases.take(kept) is not None

    def pass_ms(self, ms: int) -> None:
        self.world.clock.now_ms += ms


Act = Callable[[Scene, Stage], None]


@dataclass(frozen=True)
class Flow:
    """`act` is what faults befall; `prepare` comes before it, and `again`, what a user does who was
    not answered, after it. `course` is that of all work; `ends` is what the job comes to. `is_old`
    says that the record of the job goes, so that there is nothing to hold the rest against.
    """

    name: str
    act: Act
    prepare: Callable[[Scene], None] = lambda _: None
    again: Callable[[Scene], None] = lambda _: None
    course: Course = Course.SUCCEEDS
    ends: Status | None = Status.COMPLETED
    manner: Manner = Manner.ACCEPTS
    is_old: bool = False


def _order(scene: Scene) -> None:
    scene.ordered = scene.order(scene.services)


def _complete(scene: Scene) -> None:
    _order(scene)
    scene.work(scene.calm, course=Course.SUCCEEDS)


def _deliver_all(scene: Scene) -> None:
    _complete(scene)
    for key in scene.world.hints.deliveries:
        scene.services.courier.deliver(key)


def _be_forgotten(scene: Scene) -> None:
    _order(scene)
    scene.pass_ms(DISPATCH_GRACE_MS)


def _take(scene: Scene) -> None:
    _order(scene)
    scene.take()


def _exhaust(scene: Scene) -> None:
    _order(scene)
    for _ in range(MAX_ATTEMPTS):
        scene.take()
        scene.pass_ms(LEASE_MS)


def _miss_deadline(scene: Scene) -> None:
    _order(scene)
    scene.pass_ms(DEADLINE_MS)


def _refuse_once(scene: Scene) -> None:
    _deliver_all(scene)
    scene.pass_ms(DAY_MS)


def _expire(scene: Scene) -> None:
    scene.ordered = scene.order(scene.services, retention_days=1)
    scene.work(scene.calm, course=Course.SUCCEEDS)
    scene.services.sweeper.sweep()
    scene.pass_ms(DAY_MS)


def _grow_old(scene: Scene) -> None:
    _expire(scene)
    scene.services.sweeper.sweep()
    scene.pass_ms(RECORD_KEPT_MS)


def _promote(scene: Scene) -> None:
    now_ms, account_id = scene.world.clock(), scene.caller.account_id
    grant_promotion(
        scene.world.kv, account_id, credits=5, expires_at_ms=now_ms + 1000, now_ms=now_ms
    )
    scene.pass_ms(1000)


def _submit(request: str | None) -> Act:
    def act(scene: Scene, stage: Stage) -> None:
        scene.order(scene.world.services(stage), request=request)

    return act


def _work(course: Course) -> Act:
    return lambda scene, stage: scene.work(stage, course=course)


def _sweep(scene: Scene, stage: Stage) -> None:
    scene.world.services(stage).sweeper.sweep()


def _cancel(scene: Scene, stage: Stage) -> None:
    scene.world.services(stage).cancellations.cancel(scene.caller.account_id, scene.job.id)
    scene.world.witness.cancelled.append(scene.job.id)


def _delete(scene: Scene, stage: Stage) -> None:
    scene.world.services(stage).deletions.delete(scene.caller.account_id, scene.job.id)
    scene.world.witness.deleted.append(scene.job.id)


def _deliver(scene: Scene, stage: Stage) -> None:
    end = "completed" if scene.job.status is Status.COMPLETED else "failed"
    scene.world.services(stage).courier.deliver(delivery_key(scene.job.id, end))


def _redeliver(scene: Scene, stage: Stage) -> None:
    redeliveries = scene.world.services(stage).redeliveries
    redeliveries.redeliver(scene.caller.account_id, scene.job.id, "completed")


def _grant(scene: Scene, stage: Stage) -> None:
    account_id, now_ms = scene.caller.account_id, scene.world.clock()
    grant = ledger.grant(account_id, "gift", credits=5, now_ms=now_ms)
    with suppress(Conflict):  # it had been committed
        scene.world.services(stage).kv.commit(*grant)
    scene.world.witness.granted.append((account_id, "grant:gift"))


def _once_more(act: Act) -> Callable[[Scene], None]:
    return lambda scene: act(scene, scene.calm)


FLOWS = (
    Flow("submit", _submit(None), ends=None),
    Flow("submit by name", _submit("same"), again=_once_more(_submit("same")), ends=None),
    Flow("work to success", _work(Course.SUCCEEDS), _order),
    Flow(
        "work to failure",
        _work(Course.DISLIKES),
        _order,
        course=Course.DISLIKES,
        ends=Status.FAILED,
    ),
    Flow(
        "work that breaks", _work(Course.BREAKS), _order, course=Course.BREAKS, ends=Status.FAILED
    ),
    Flow("work for longer than a lease", _work(Course.IS_SLOW), _order, course=Course.IS_SLOW),
    Flow("cancel a queued job", _cancel, _order, _once_more(_cancel), ends=Status.CANCELLED),
    Flow("cancel a running job", _cancel, _take, _once_more(_cancel), ends=Status.CANCELLED),
    Flow("give up after the attempts", _sweep, _exhaust, ends=Status.FAILED),
    Flow("give up at the deadline", _sweep, _miss_deadline, ends=Status.FAILED),
    Flow("hint again", _sweep, _be_forgotten),
    Flow("deliver", _deliver, _complete),
    Flow("deliver to who hangs", _deliver, _complete, manner=Manner.HANGS),
    Flow("deliver to who has gone", _deliver, _complete, manner=Manner.GONE),
    Flow("retry a delivery", _deliver, _refuse_once, manner=Manner.REFUSES),
    Flow("redeliver", _redeliver, _deliver_all, _once_more(_redeliver)),
    Flow("tidy", _sweep, _deliver_all),
    Flow("expire a result", _sweep, _expire),
    Flow("forget a job", _sweep, _grow_old, is_old=True),
    Flow("delete a finished job", _delete, _deliver_all, _once_more(_delete)),
    Flow("delete a queued job", _delete, _order, _once_more(_delete), ends=Status.CANCELLED),
    Flow("grant", _grant, again=_once_more(_grant), ends=None),
    Flow("expire a promotion", _sweep, _promote, ends=None),
)
