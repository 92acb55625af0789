"""The sandbox: every scene from submission to webhook, for nothing, on no card, and kept apart."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from billing import ledger, usage
from billing.accounts import account_key
from billing.caps import Caps
from billing.errors import (
    CapReached,
    InsufficientCredits,
    TooManyInFlight,
)
from billing.keys import Caller
from inference.errors import NotAnImage, OutputTooLarge
from inference.images import ImageInfo
from jobs import sandbox
from jobs.admission import Terms
from jobs.errors import JobUnknown, ModelUnavailable, SourceUnusable
from jobs.job import SANDBOX, Job, Status
from jobs.lease import DEADLINE_MS
from jobs.metrics import Counted, Total
from jobs.outbound import OutboundError, Unreachable
from jobs.quotes import Wanted
from jobs.records import find_own
from jobs.sandbox import DEADLINE_S, HOST, LATE_S, REPEAT_AFTER_S, SCENES, SLOW_S
from jobs.services import Services
from jobs.submission import RequestName
from jobs.ticker import Stop
from jobs.worker import Enlarged
from storage.kv import Add
from tests.jobs.machine import PARAMS, PRICE_CREDITS, Machine, files_in, sandboxed, told_at
from tests.running import Origin

REFUSED: dict[str, type[Exception]] = {
    "unreachable": Unreachable,
    "not-an-image": NotAnImage,
    "insufficient-credits": InsufficientCredits,
    "cap-reached": CapReached,
    "too-many-jobs": TooManyInFlight,
    "unavailable": ModelUnavailable,
}
FAILED = {
    "corrupt-image": "CORRUPT_IMAGE",
    "processing-failed": "PROCESSING_FAILED",
    "out-of-memory": "PROCESSING_FAILED",
    "source-missing": "SOURCE_MISSING",
    "deadline-exceeded": "DEADLINE_EXCEEDED",
}
COMPLETED = {"success", "slow", "duplicate-webhook", "late-webhook"}


class Untouchable:
    """The engine of those who pay."""

    def upscale(self, *_: Any, **__: Any) -> Enlarged:
        raise AssertionError("a sandbox job went to a card")


@dataclass
class Stage:
    """A machine on which to wait takes no time: meanwhile leases are renewed, and sweeps made."""

    machine: Machine
    meanwhile: Callable[[int], None] = lambda _: None
    waited_s: int = 0
    ticks: list[Callable[[], bool]] = field(default_factory=list)

    @cached_property
    def services(self) -> Services:
        return replace(self.machine.services, pause=self.pause, ticker=self.ticker)

    def pause(self, seconds: float) -> None:
        self.machine.clock.advance(seconds=seconds)
        self.waited_s += int(seconds)
        self.meanwhile(self.waited_s)
        self.ticks = [tick for tick in self.ticks if tick()]
        self.services.sweeper.sweep()

    def ticker(self, tick: Callable[[], bool], *, every_s: float, name: str) -> Stop:
        assert every_s
        assert name
        self.ticks.append(tick)

        def stop(*, within_s: float | None = None) -> None:
            assert within_s is None
            self.ticks.clear()

        return stop

    def submit(self, caller: Caller, name: str, **changes: Any) -> Job:
        """The job of an order with that scene for its source."""
        order = self.machine.order(caller, source_url=address(name), **changes)
        return self.services.submissions.submit(order).job

    def work(self, job: Job) -> Job:
        """The job after a worker has looked at it who works in both worlds."""
        self.services.worker(Untouchable()).work(job.id)
        return self.machine.job(job.id)


@pytest.fixture
def stage(machine: Machine) -> Stage:
    return Stage(machine)


@pytest.fixture
def poor(machine: Machine) -> Caller:
    """A sandbox key of an account without a credit."""
    return sandboxed(machine, machine.customer(credits=0))


def address(name: str) -> str:
    return f"https://{HOST}/{name}.png"


def nothing_was_spent(machine: Machine, caller: Caller) -> None:
    balance = machine.balance(caller.account_id)
    assert (balance.available, balance.held, balance.spent, balance.in_flight) == (0, 0, 0, 0)
    assert machine.contradictions() == []
    assert ledger.statement(machine.kv, caller.account_id, before=None, limit=9) == []
    assert list(usage.usage(machine.kv, caller.account_id, first_day=0, last_day=99_999)) == []


def test_every_scene_is_tested() -> None:
    assert REFUSED.keys() | FAILED.keys() | COMPLETED == SCENES.keys()


@pytest.mark.parametrize("name", sorted(COMPLETED))
def test_a_job_that_completes_costs_nothing_and_uses_no_card(
    machine: Machine, stage: Stage, poor: Caller, name: str
) -> None:
    job = stage.submit(poor, name)
    assert machine.hints.models == [SANDBOX]
    ended = stage.work(job)
    assert ended.result is not None
    assert (ended.status, ended.result.network) == (Status.COMPLETED, "sandbox")
    assert (ended.result.width_px, ended.result.height_px) == (128, 128)
    assert (ended.price_credits, ended.cost_credits, ended.is_sandbox) == (0, 0, True)
    nothing_was_spent(machine, poor)


@pytest.mark.parametrize("name", FAILED)
def test_a_job_that_fails_says_why_and_costs_nothing(
    machine: Machine, stage: Stage, poor: Caller, name: str
) -> None:
    job = stage.submit(poor, name)
    ended = stage.work(job)
    assert ended.failure is not None
    assert (ended.status, ended.failure.code) == (Status.FAILED, FAILED[name])
    nothing_was_spent(machine, poor)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_order_leaves_nothing_behind(
    machine: Machine, stage: Stage, poor: Caller, name: str, tmp_path: Path
) -> None:
    with pytest.raises(REFUSED[name]):
        stage.submit(poor, name)
    assert machine.jobs(poor.world) == []
    assert files_in(tmp_path) == set()
    nothing_was_spent(machine, poor)


def test_a_refusal_names_what_the_live_one_would(stage: Stage, poor: Caller) -> None:
    with pytest.raises(InsufficientCredits) as refused:
        stage.submit(poor, "insufficient-credits")
    assert (refused.value.required, refused.value.available) == (PRICE_CREDITS, 0)


def test_a_slow_job_takes_its_time_and_tells_of_it(
    machine: Machine, stage: Stage, poor: Caller, origin: Origin
) -> None:
    job = stage.submit(poor, "slow", webhook=told_at(f"{origin.url}/hook"))
    ended = stage.work(job)
    assert stage.waited_s == SLOW_S
    assert ended.ended_at_ms == job.created_at_ms + SLOW_S * 1000
    told = [each.name for each in machine.outbox(job.id).values() if each.event == "progress"]
    assert len(told) > SLOW_S // 3


def test_a_slow_job_can_be_cancelled_while_it_runs(
    machine: Machine, stage: Stage, poor: Caller
) -> None:
    job = stage.submit(poor, "slow")

    def cancel(waited_s: int) -> None:
        if waited_s == 5:
            stage.services.cancellations.cancel(poor.world, job.id)

    stage.meanwhile = cancel
    assert stage.work(job).status is Status.CANCELLED
    assert stage.waited_s < 10
    nothing_was_spent(machine, poor)


def test_a_deadline_comes_soon(stage: Stage, poor: Caller) -> None:
    job = stage.submit(poor, "deadline-exceeded")
    ended = stage.work(job)
    assert ended.ended_at_ms == job.created_at_ms + DEADLINE_S * 1000
    assert stage.waited_s < DEADLINE_S + 5


def test_a_duplicate_webhook_arrives_twice_with_one_id(
    machine: Machine, stage: Stage, poor: Caller, origin: Origin
) -> None:
    job = stage.submit(poor, "duplicate-webhook", webhook=told_at(f"{origin.url}/hook"))
    stage.work(job)
    machine.deliver()
    assert (len(origin.received), machine.job(job.id).webhook_status) == (1, "pending")
    machine.clock.advance(seconds=REPEAT_AFTER_S)
    machine.deliver()
    machine.clock.advance(seconds=DEADLINE_MS)
    machine.deliver()
    (first_headers, first), (headers, again) = origin.received
    assert (headers["webhook-id"], again) == (first_headers["webhook-id"], first)
    assert json.loads(again)["sandbox"] is True
    assert machine.job(job.id).webhook_status == "delivered"


def test_a_late_webhook_is_sent_late(
    machine: Machine, stage: Stage, poor: Caller, origin: Origin
) -> None:
    job = stage.submit(poor, "late-webhook", webhook=told_at(f"{origin.url}/hook"))
    stage.work(job)
    machine.clock.advance(seconds=LATE_S - 1)
    machine.deliver()
    assert origin.received == []
    machine.clock.advance(seconds=1)
    machine.deliver()
    assert len(origin.received) == 1


@pytest.mark.parametrize("name", ["failed", "", "../success", "Success"])
def test_a_name_that_there_is_not_is_told_with_those_that_there_are(
    stage: Stage, poor: Caller, name: str
) -> None:
    with pytest.raises(SourceUnusable) as refused:
        stage.submit(poor, name)
    assert all(f"{name}.png" in str(refused.value) for name in SCENES)


@pytest.mark.parametrize(
    "url", [f"http://{HOST}/slow.jpg", f"HTTPS://{HOST.upper()}/slow.webp?run=17"]
)
def test_an_address_may_be_spelled_otherwise(poor: Caller, url: str) -> None:
    assert sandbox.name_of(url, poor.key) == "slow"


def test_a_live_key_is_told_whose_the_addresses_are(caller: Caller) -> None:
    with pytest.raises(SourceUnusable, match="is for sandbox keys"):
        sandbox.name_of(address("slow"), caller.key)


def test_an_ordinary_source_is_enlarged_too(machine: Machine, stage: Stage, poor: Caller) -> None:
    job = machine.submit(poor)
    assert job.scene is None
    ended = stage.work(job)
    assert ended.result is not None
    assert (ended.result.width_px, ended.result.height_px) == (32, 24)


def test_a_sandbox_job_is_taken_while_credits_are_owed(machine: Machine, stage: Stage) -> None:
    owing = machine.customer(credits=0)
    machine.kv.commit(Add(account_key(owing.account_id), {"available": -5}))
    assert stage.work(stage.submit(sandboxed(machine, owing), "success")).result is not None


def test_the_limit_of_unfinished_jobs_holds_for_both_worlds_together(
    machine: Machine, stage: Stage
) -> None:
    live = machine.customer(max_in_flight=2)
    tests = sandboxed(machine, live)
    machine.submit(live)
    stage.submit(tests, "success")
    with pytest.raises(TooManyInFlight):
        machine.submit(live)
    with pytest.raises(TooManyInFlight):
        stage.submit(tests, "success")


def test_a_cap_of_jobs_holds_and_one_of_credits_is_no_matter(
    machine: Machine, stage: Stage, caller: Caller
) -> None:
    tests = sandboxed(machine, caller, caps=Caps(job_credits=1, day_credits=1, day_jobs=2))
    for _ in range(2):
        stage.work(stage.submit(tests, "processing-failed"))
    with pytest.raises(CapReached, match="2 jobs a day"):
        stage.submit(tests, "success")
    assert machine.contradictions() == []


def test_models_that_are_not_installed_can_be_tried(stage: Stage, poor: Caller) -> None:
    params = PARAMS.model_copy(update={"model": "clarity-upscale"})
    job = stage.submit(poor, "success", terms=lambda _: Terms(params, 3))
    assert stage.work(job).status is Status.COMPLETED


def test_what_is_too_large_for_nothing_is_refused(stage: Stage, poor: Caller) -> None:
    params = PARAMS.model_copy(update={"factor": 8})
    info = ImageInfo("png", 1000, 1000)
    quote = stage.services.quotes
    with pytest.raises(OutputTooLarge, match="sandbox"):
        quote.quote(Wanted(poor, info, terms=lambda _: Terms(params, PRICE_CREDITS)))


@pytest.mark.parametrize("name", sorted(SCENES.keys() - {"not-an-image"}))
def test_a_quote_is_of_nothing_and_says_what_a_submission_would(
    stage: Stage, poor: Caller, name: str
) -> None:
    wanted = Wanted(
        poor, address(name), terms=lambda _: Terms(PARAMS, PRICE_CREDITS), max_credits=1
    )
    try:
        quote = stage.services.quotes.quote(wanted)
    except OutboundError as error:
        assert type(error) is REFUSED[name]  # noqa: PT017
        return
    assert (quote.price_credits, quote.expected_s) == (0, None)
    refusal = None if quote.refusal is None else type(quote.refusal)
    assert refusal == REFUSED.get(name)


def test_the_worlds_know_nothing_of_each_other(
    machine: Machine, stage: Stage, caller: Caller
) -> None:
    tests = sandboxed(machine, caller)
    live, rehearsed = machine.submit(caller), stage.submit(tests, "slow")
    assert machine.jobs(caller.world) == [live]
    assert machine.jobs(tests.world) == [rehearsed]
    for world, job in ((caller.world, rehearsed), (tests.world, live)):
        with pytest.raises(JobUnknown) as unknown:
            find_own(machine.kv, world, job_id=job.id)
        assert type(unknown.value) is JobUnknown  # and nobody else's
        with pytest.raises(JobUnknown):
            stage.services.cancellations.cancel(world, job.id)
    assert machine.contradictions() == []


def test_an_idempotency_key_names_a_job_in_each_world(
    machine: Machine, stage: Stage, caller: Caller
) -> None:
    request = RequestName("POST /v2/images/upscale once", "fingerprint")
    tests = sandboxed(machine, caller)
    live = machine.submit(caller, request=request)
    rehearsed = stage.submit(tests, "success", request=request)
    assert (rehearsed.is_sandbox, live.is_sandbox) == (True, False)
    assert stage.submit(tests, "success", request=request).id == rehearsed.id


def test_a_worker_of_the_sandbox_leaves_live_jobs_alone(
    machine: Machine, stage: Stage, caller: Caller
) -> None:
    job = machine.submit(caller)
    stage.services.worker(None).work(job.id)
    assert machine.job(job.id) == job
    rehearsed = stage.submit(sandboxed(machine, caller), "success")
    stage.services.worker(None).work(rehearsed.id)
    assert machine.job(rehearsed.id).status is Status.COMPLETED


def test_what_is_counted_of_sandbox_jobs_is_told_apart(
    machine: Machine, stage: Stage, poor: Caller
) -> None:
    job = stage.submit(poor, "success")
    unfinished = stage.services.metrics.unfinished()
    assert not any(unfinished.by_status.values())
    stage.work(job)
    assert stage.services.metrics.totals() == {Total(Counted.JOBS_ENDED, (SANDBOX, "completed")): 1}
    assert machine.contradictions() == []


def test_a_scene_of_a_newer_release_is_none_to_this_one(stage: Stage, poor: Caller) -> None:
    job = stage.submit(poor, "slow").model_copy(update={"scene": "eclipse"})
    assert sandbox.scene_of(job) == SCENES["success"]


def test_a_hint_of_the_sweeper_goes_to_the_sandbox(
    machine: Machine, stage: Stage, poor: Caller
) -> None:
    stage.submit(poor, "success")
    machine.hints.models.clear()
    machine.clock.advance(seconds=60)
    machine.sweep()
    assert machine.hints.models == [SANDBOX]
