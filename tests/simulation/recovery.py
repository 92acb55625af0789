"""Recovery: nothing fails any more, and time passes until nothing is left to do."""

from collections.abc import Collection, Iterator
from typing import TypeVar

from billing.promotions import PROMOTIONS
from jobs.job import Status
from jobs.records import JOBS, RETENTION, STRANDED
from jobs.uploads import UPLOADS_QUEUE
from jobs.webhooks import DELIVERIES
from tests.simulation.engine import Course, StagedEngine
from tests.simulation.invariants import (
    all_jobs,
    broken_after_sweep,
    broken_at,
    broken_when_old,
    broken_when_settled,
)
from tests.simulation.stage import Calm
from tests.simulation.world import World

T = TypeVar("T")

MAX_ROUNDS = 400
REST_S = 120
"""As long after the last fault whatever was put off because of it is tried again."""

ROUND_MS = 60_000
"""How often there is a sweep, at most."""

WORK = (JOBS, STRANDED, DELIVERIES)
KEPT = (*WORK, RETENTION, UPLOADS_QUEUE, PROMOTIONS)


def recovered(
    world: World, *, course: Course = Course.SUCCEEDS, ends: Status | None = None
) -> Iterator[str]:
    """Let the service finish what it has begun; what is wrong on the way and in the end.

    All work that is left takes that course; `ends` is what jobs must come to, if one knows.
    """
    yield from broken_at(world)
    world.clock.advance(seconds=REST_S)
    yield from _until_empty(world, queues=WORK, course=course)
    yield from broken_when_settled(world)
    if ends is not None:
        yield from (f"a job is {job.status}" for job in all_jobs(world) if job.status != ends)
    yield from aged(world)


def aged(world: World) -> Iterator[str]:
    """Let time pass until nothing is kept any more; what is wrong then."""
    yield from _until_empty(world, queues=KEPT, course=Course.SUCCEEDS)
    yield from broken_when_old(world)


def _until_empty(world: World, *, queues: Collection[str], course: Course) -> Iterator[str]:
    """Sweep, work and deliver whenever something is due, until nothing will be."""
    calm = Calm(world.clock)
    services = world.services(calm)
    worker = services.worker(StagedEngine(calm, world.random, courses={course: 1}))
    for _ in range(MAX_ROUNDS):
        services.sweeper.sweep()
        yield from broken_after_sweep(world)
        for job_id in _taken(world.hints.jobs):
            worker.work(job_id)
        for key in _taken(world.hints.deliveries):
            services.courier.deliver(key)
        moments_ms = [moment for queue in queues for moment in world.kv.moments_ms(queue)[:1]]
        if not moments_ms:
            return
        world.clock.now_ms = max(world.clock.now_ms, min(moments_ms)) + ROUND_MS
    yield f"after {MAX_ROUNDS} rounds not all of {queues} are empty: {world.kv.queues()}"


def _taken(hints: list[T]) -> list[T]:
    taken = list(dict.fromkeys(hints))
    hints.clear()
    return taken
