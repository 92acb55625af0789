"""What must hold of every history, whatever befell it: each check yields what is wrong.

They have numbers: the balance is its entries (I1), never below zero
(I2), and nothing gets lost (I3); one hold a job and one settlement (I4) of the right kind (I5);
held is the price of live jobs (I6); one job for each Idempotency-Key (I7); no live job past its
deadline (I9); no end without its webhook (I10). I8 is about payments, which nobody makes here.
"""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from billing.accounts import all_account_ids, find_account
from billing.ledger import Entry, entries
from billing.verification import verify
from jobs.courier import RESTING
from jobs.job import Job, Status
from jobs.lease import deadline_ms
from jobs.records import list_jobs, worlds
from jobs.retention import SECOND_LOOK_MS, is_expired
from jobs.webhooks import RETRY_DELAYS_S, Delivery, DeliveryState, delivery_key
from storage.kv import MAX_PAGE
from tests.simulation.network import Received
from tests.simulation.world import NAMED_PRICE_CREDITS, World

ENDS = ("completed", "failed")


def broken_at(world: World) -> Iterator[str]:
    """What must hold at any moment."""
    yield from world.custody.broken
    yield from world.machine().contradictions()
    for account_id in all_account_ids(world.kv):
        _, balance = find_account(world.kv, account_id)
        live = [job for job in _jobs(world, account_id) if not job.status.is_terminal]
        if balance.held != sum(job.price_credits for job in live):
            yield f"I6: {account_id} holds {balance.held} credits for {len(live)} live jobs"


def broken_after_sweep(world: World) -> Iterator[str]:
    """What must hold just after a sweep that met no fault."""
    now_ms = world.clock()
    files = world.objects.names()
    for job in all_jobs(world):
        if not job.status.is_terminal:
            if now_ms >= deadline_ms(job):
                yield f"I9: job {job.id} is {job.status} past its deadline"
        elif job.source.object_name in files and now_ms >= _ended_ms(job) + SECOND_LOOK_MS:
            yield f"the source of job {job.id} outlived its job by a day"
        elif is_expired(job, now_ms=now_ms) and job.result and job.result.object_name in files:
            yield f"the result of job {job.id} outlived its time"


def broken_when_settled(world: World) -> Iterator[str]:
    """What must hold once there is nothing left to do, but for what grows old."""
    yield from broken_at(world)
    jobs = {job.id: job for job in all_jobs(world)}
    files, now_ms = world.objects.names(), world.clock()
    for job in jobs.values():
        if not job.status.is_terminal:
            yield f"job {job.id} is still {job.status}"
        elif (
            job.result is not None
            and not is_expired(job, now_ms=now_ms)
            and job.result.object_name not in files
        ):
            yield f"job {job.id} has lost its result"
        yield from _broken_end(world, job)
    yield from _broken_requests(jobs)
    yield from _broken_promises(world, jobs)
    yield from _broken_order(world.network.received)


def broken_when_old(world: World) -> Iterator[str]:
    """What must hold when all that is kept for a time is over."""
    yield from (what for _, what in verify(world.kv))
    if queues := world.kv.queues():
        yield f"something waits for ever in {queues}"
    known = {UUID(entry.job_id) for entry in _entries(world) if entry.job_id is not None}
    for name in sorted(world.objects.names()):
        if any(str(job_id) in name for job_id in known):
            yield f"{name} is there for ever"


def _broken_end(world: World, job: Job) -> Iterator[str]:
    """I10: the end was delivered at least once, or its webhook is shown as failed."""
    event = "completed" if job.status is Status.COMPLETED else "failed"
    if not job.wants(event):  # type: ignore[arg-type]  # mypy takes it for any text
        return
    item = world.kv.get(delivery_key(job.id, event))
    if item is None:
        yield f"I10: job {job.id} is {job.status} and nobody is told"
        return
    delivery = Delivery.model_validate(item.value)
    attempts = [one for one in world.network.received if one.webhook_id == delivery.webhook_id]
    if len(attempts) > delivery.attempts:
        yield f"of {len(attempts)} attempts to tell the end of job {job.id} not all are counted"
    match job.webhook_status:
        case "delivered":
            if not any(one.is_accepted for one in attempts):
                yield f"the end of job {job.id} was delivered to nobody"
        case "failed":
            is_tried = delivery.attempts - delivery.attempts_before > len(RETRY_DELAYS_S)
            is_gone = any(one.status == 410 for one in attempts)
            if not (is_gone or is_tried or delivery.log[-1].error == RESTING):
                yield f"the end of job {job.id} was given up after {delivery.attempts} attempts"
    # What has once arrived is shown so, even if it was sent again and did not arrive then.
    is_over = delivery.state is not DeliveryState.PENDING
    if not is_over or job.webhook_status not in ("delivered", delivery.state):
        yield f"the end of job {job.id} is {delivery.state}, shown as {job.webhook_status}"


def _broken_requests(jobs: dict[UUID, Job]) -> Iterator[str]:
    """I7: what an account names by an Idempotency-Key makes one job; no history outlasts a key."""
    named = [job.account_id for job in jobs.values() if is_named(job)]
    for account_id, count in Counter(named).items():
        if count > 1:
            yield f"I7: one order of {account_id} has made {count} jobs"


def _broken_promises(world: World, jobs: dict[UUID, Job]) -> Iterator[str]:
    """What was said to a customer or an operator is so."""
    for accepted in world.witness.accepted:
        job = jobs.get(accepted.job_id)
        if job is None or job.account_id != accepted.account_id:
            yield f"the accepted job {accepted.job_id} is lost"
        elif is_named(job) != accepted.is_named:
            yield f"job {job.id} is not what was ordered"
    for job_id in world.witness.cancelled:
        if jobs[job_id].status is not Status.CANCELLED:
            yield f"job {job_id} was cancelled, and is {jobs[job_id].status}"
    for job_id in world.witness.finished:
        if jobs[job_id].status not in (Status.COMPLETED, Status.FAILED):
            yield f"job {job_id} had an end, and is {jobs[job_id].status}"
    for job_id in world.witness.deleted:
        if jobs[job_id].deleted_at_ms is None:
            yield f"job {job_id} was deleted, and is as it was"
    for account_id, name in world.witness.granted:
        if name not in dict(entries(world.kv, account_id)):
            yield f"{name} was given to {account_id}, and is not there"


def _broken_order(received: list[Received]) -> Iterator[str]:
    """Attempts of one event are alike, and no progress comes after the end has been accepted."""
    bodies: dict[str, bytes] = {}
    ended: set[str] = set()
    for one in received:
        if bodies.setdefault(one.webhook_id, one.body) != one.body:
            yield f"{one.webhook_id} has changed its body"
        if one.event in ENDS and one.is_accepted:
            ended.add(one.job_id)
        elif one.event == "progress" and one.job_id in ended and not one.is_held_up:
            yield f"{one.webhook_id} came after the end of job {one.job_id}"


def is_named(job: Job) -> bool:
    """Whether the order of a job had an Idempotency-Key."""
    return job.price_credits == NAMED_PRICE_CREDITS


def all_jobs(world: World) -> list[Job]:
    """Every job of every account."""
    return [job for owner in all_account_ids(world.kv) for job in _jobs(world, owner)]


def _jobs(world: World, account_id: str) -> list[Job]:
    return [
        job
        for each in worlds(account_id)
        for job in list_jobs(world.kv, each, before=None, limit=MAX_PAGE)
    ]


def _entries(world: World) -> Iterator[Entry]:
    for account_id in all_account_ids(world.kv):
        yield from (entry for _, entry in entries(world.kv, account_id))


def _ended_ms(job: Job) -> int:
    assert job.ended_at_ms is not None
    return job.ended_at_ms
