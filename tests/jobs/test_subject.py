"""What runs knows which job it is about, in every thread that works on the job."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from billing.keys import Caller
from jobs import subject
from jobs.job import Job
from jobs.lease import Report
from tests.jobs.machine import PATIENCE_S, PICTURE, EngineDouble, Machine, told_at
from tests.jobs.test_courier import deliver
from tests.running import Origin
from tests.watched import WatchedStore


@pytest.fixture
def job(machine: Machine, caller: Caller, origin: Origin) -> Job:
    return machine.submit(caller, webhook=told_at(f"{origin.url}/hook"))


def subjects(machine: Machine, run: Callable[[Machine], None]) -> list[str | None]:
    """What the calls of the store were about while that ran."""
    heard: list[str | None] = []
    watched = WatchedStore(machine.kv, before=lambda _: heard.append(subject.job_id.get()))
    run(replace(machine, kv=watched))
    assert subject.job_id.get() is None
    return heard


def test_a_worker_is_about_its_job(machine: Machine, job: Job) -> None:
    assert set(subjects(machine, lambda machine: machine.work(job.id))) == {str(job.id)}


def test_the_thread_that_renews_a_lease_is_about_its_job(machine: Machine, job: Job) -> None:
    renewed = threading.Event()
    heard: list[tuple[bool, str | None]] = []

    def hear(_: int) -> None:
        is_renewing = threading.current_thread().name.startswith("lease-")
        heard.append((is_renewing, subject.job_id.get()))
        if is_renewing:
            renewed.set()

    def work(_: Report) -> None:
        assert renewed.wait(PATIENCE_S)

    watched = WatchedStore(machine.kv, before=hear)
    replace(machine, kv=watched, lease_ms=30, engine=EngineDouble(work)).work(job.id)
    assert {about for is_renewing, about in heard if is_renewing} == {str(job.id)}


def test_a_courier_is_about_the_job_that_it_tells_of(machine: Machine, job: Job) -> None:
    machine.work(job.id)
    read, *others = subjects(machine, lambda machine: deliver(machine, job))
    assert read is None  # by the delivery it learns of the job
    assert set(others) == {str(job.id)}


def test_a_sweep_is_about_each_item_while_it_sees_to_it(
    machine: Machine, caller: Caller, job: Job
) -> None:
    upload = machine.services.uploads.receive(caller.account_id, PICTURE)
    machine.clock.now_ms = upload.expires_at_ms
    heard = subjects(machine, lambda machine: machine.sweep())
    assert set(heard) == {None, str(job.id)}
    assert heard[0] is heard[-1] is None
