"""A key's caps and an account's limits hold however many submissions arrive at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.caps import Caps
from billing.errors import BillingError, CapReached
from billing.keyring import Keyring
from billing.keys import Caller, authenticate, read_again
from billing.usage import UsageRow, usage
from inference.errors import NotANumber
from jobs.admission import Terms
from jobs.job import Status
from jobs.lease import Report
from storage.kv import Key, Put
from tests.jobs.machine import PARAMS, Machine
from tests.running import Clock

DAY_S = 86_400
COST_CREDITS = 20
AT_ONCE = 100


def capped(machine: Machine, **caps: object) -> Caller:
    """A customer with plenty of credits, whose key has those caps."""
    caller = machine.customer(credits=10_000, max_in_flight=1000)
    item = machine.kv.get(Key(f"key#{caller.key_sha256}", "key"))
    assert item is not None
    value = {**item.value, "caps": Caps.model_validate(caps).model_dump(mode="json")}
    machine.kv.commit(Put(item.key, value, replaces=item.version))
    return read_again(machine.kv, caller)


def accepted(machine: Machine, caller: Caller, *, credits: int = COST_CREDITS) -> bool:
    try:
        machine.submit(caller, terms=lambda _: Terms(PARAMS, credits))
    except BillingError:
        return False
    return True


def at_once(machine: Machine, caller: Caller) -> int:
    """How many of `AT_ONCE` submissions are accepted that arrive at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(lambda _: accepted(machine, caller), range(AT_ONCE)))


def break_down(_: Report) -> None:
    raise NotANumber


def day_of(machine: Machine) -> int:
    return machine.clock() // 1000 // DAY_S


def used(machine: Machine, caller: Caller) -> list[UsageRow]:
    return list(usage(machine.kv, caller.account_id, first_day=0, last_day=99_999))


def test_of_a_hundred_at_once_ten_are_in_flight(machine: Machine) -> None:
    caller = machine.customer(credits=10_000, max_in_flight=10)
    assert at_once(machine, caller) == 10
    assert machine.contradictions() == []


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        ({"day_credits": 100}, 5),
        ({"day_jobs": 7}, 7),
        ({"month_credits": 119}, 5),
        ({"month_jobs": 3}, 3),
        ({"day_credits": 100, "month_jobs": 4}, 4),
    ],
)
def test_of_a_hundred_at_once_so_many_are_accepted_as_the_cap_allows(
    machine: Machine, caps: dict[str, int], expected: int
) -> None:
    caller = capped(machine, **caps)
    assert at_once(machine, caller) == expected
    (row,) = used(machine, caller)
    assert (row.jobs, row.credits) == (expected, expected * COST_CREDITS)
    assert machine.contradictions() == []


def test_the_refusal_names_the_cap(machine: Machine) -> None:
    caller = capped(machine, day_credits=30)
    assert accepted(machine, caller)
    with pytest.raises(CapReached, match="30 credits a day"):
        machine.submit(caller, terms=lambda _: Terms(PARAMS, COST_CREDITS))


@pytest.mark.parametrize("caps", [{"job_credits": 19}, {"day_credits": 19}, {"models": ["other"]}])
def test_a_first_job_over_a_cap_leaves_nothing(machine: Machine, caps: dict[str, object]) -> None:
    caller = capped(machine, **caps)
    assert not accepted(machine, caller)
    assert machine.jobs(caller.account_id) == []
    assert used(machine, caller) == []


def test_another_day_and_another_month_begin_anew(machine: Machine, clock: Clock) -> None:
    caller = capped(machine, day_jobs=1, month_jobs=2)
    assert [accepted(machine, caller) for _ in range(2)] == [True, False]
    clock.advance(seconds=DAY_S)
    assert [accepted(machine, caller) for _ in range(2)] == [True, False]
    clock.advance(seconds=DAY_S)
    assert not accepted(machine, caller)
    clock.advance(seconds=31 * DAY_S)
    assert accepted(machine, caller)


def test_a_failed_jobs_credits_may_be_spent_again_that_day(machine: Machine) -> None:
    caller = capped(machine, day_credits=COST_CREDITS, day_jobs=2)
    machine.engine.does = break_down
    job = machine.submit(caller, terms=lambda _: Terms(PARAMS, COST_CREDITS))
    assert not accepted(machine, caller)
    machine.work(job.id)
    assert machine.job(job.id).status is Status.FAILED
    assert accepted(machine, caller)
    assert not accepted(machine, caller)
    (row,) = used(machine, caller)
    assert row == UsageRow(
        day=day_of(machine),
        key_id=caller.key.id,
        model=PARAMS.model,
        jobs=2,
        credits=2 * COST_CREDITS,
        refunded_jobs=1,
        refunded_credits=COST_CREDITS,
    )
    assert machine.contradictions() == []


def test_a_cap_that_was_lowered_in_between_holds(machine: Machine) -> None:
    before = capped(machine, day_credits=1000)
    assert accepted(machine, before)
    item = machine.kv.get(Key(f"key#{before.key_sha256}", "key"))
    assert item is not None
    lowered = {**item.value, "caps": Caps(day_credits=30).model_dump(mode="json")}
    machine.kv.commit(Put(item.key, lowered, replaces=item.version))
    assert not accepted(machine, before)  # though it was let in under the old one


def test_a_replaced_key_goes_on_where_the_old_one_was(machine: Machine) -> None:
    first = capped(machine, day_jobs=2)
    assert accepted(machine, first)
    for _ in range(2):
        keyring = Keyring(machine.kv, first.account_id)
        replacement = keyring.rotate(first.key.id, now_ms=machine.clock())
        body = replacement.issued.body
        second = authenticate(machine.kv, body, now_ms=machine.clock())
        first = second
    assert accepted(machine, second)
    assert not accepted(machine, second)
    assert {row.key_id for row in used(machine, first)} >= {second.key.id}
