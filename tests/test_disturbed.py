"""The service while one call in three to its store is disturbed: each submission counts once."""

import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from billing import ledger
from billing.accounts import find_account
from billing.administration import open_account
from billing.ledger import EntryKind
from billing.verification import verify
from jobs.ids import system_clock
from jobs.records import list_jobs
from storage.addresses import DynamoAddress
from storage.dynamo import DynamoKeyValue
from storage.dynamo_client import PATIENCE_S, Pace
from storage.dynamo_table import create_table
from storage.kv import MAX_PAGE, KeyValue
from tests.faults import Fault, FaultProxy, one_in
from tests.handlers.clients import topaz_body
from tests.jobs.machine import PICTURE_URI
from tests.running import Customer, Running, running

CLIENTS = 12
MAX_SENDS = 60
PRICE_CREDITS = 8
CREDITS = 5000
READ_TIMEOUT_S = 0.4
LATE_S = 0.8
EVERY = 3
SEED = 20_261_121
EVERYWHERE = {fault for fault in Fault if fault.suits("GetItem")}


class Answered(NamedTuple):
    """What one client was told in the end, and how often it had to ask."""

    idempotency_key: str
    job_id: str
    sends: int


@pytest.fixture
def table(aws_endpoint: str) -> DynamoAddress:
    address = DynamoAddress(f"table-{secrets.token_hex(8)}", "us-east-1", aws_endpoint)
    create_table(address)
    return address


@pytest.fixture
def direct(table: DynamoAddress) -> Iterator[DynamoKeyValue]:
    """The store with nothing between."""
    store = DynamoKeyValue(table, clock=system_clock)
    yield store
    store.close()


@pytest.fixture
def customer(direct: DynamoKeyValue) -> Customer:
    opened = open_account(
        direct, "test", credits=CREDITS, now_ms=system_clock(), max_in_flight=CREDITS
    )
    return Customer(opened)


@pytest.fixture
def proxy(aws_endpoint: str) -> Iterator[FaultProxy]:
    with FaultProxy(aws_endpoint, late_s=LATE_S).serving() as proxy:
        yield proxy


def disturbed(table: DynamoAddress, proxy: FaultProxy, *, pace: Pace | None = None) -> KeyValue:
    """The store through the proxy, which begins to disturb once the store is open."""
    address = table._replace(endpoint=proxy.url)
    store = DynamoKeyValue(
        address, clock=system_clock, read_timeout_s=READ_TIMEOUT_S, pace=pace or Pace()
    )
    proxy.disturb = one_in(EVERY, seed=SEED)
    return store


def test_500_submissions_through_a_disturbed_store_make_500_jobs_and_charges(
    tmp_path: Path,
    table: DynamoAddress,
    direct: DynamoKeyValue,
    customer: Customer,
    proxy: FaultProxy,
) -> None:
    with running(tmp_path, kv=disturbed(table, proxy)) as service:
        answers = _all_submitted(service, customer, 500)
        again = [_submitted(service, customer, answer.idempotency_key) for answer in answers[:5]]
    proxy.settle()
    assert sum(proxy.faults.values()) > proxy.calls / 4
    assert set(proxy.faults) >= {*EVERYWHERE, Fault.CONFLICT}
    _counted_once(direct, customer.id, answers)
    assert [answer.job_id for answer in again] == [answer.job_id for answer in answers[:5]]


def test_clients_that_repeat_are_charged_once_where_the_store_tries_nothing_again(
    tmp_path: Path,
    table: DynamoAddress,
    direct: DynamoKeyValue,
    customer: Customer,
    proxy: FaultProxy,
) -> None:
    hours_pass = Pace(now_s=count(0.0, PATIENCE_S + 1).__next__, sleep=lambda _: None)
    with running(tmp_path, kv=disturbed(table, proxy, pace=hours_pass)) as service:
        answers = _all_submitted(service, customer, 60)
    proxy.settle()
    assert sum(answer.sends for answer in answers) > 2 * len(answers)
    _counted_once(direct, customer.id, answers)


def _all_submitted(service: Running, customer: Customer, submissions: int) -> list[Answered]:
    keys = [f"key-{n}" for n in range(submissions)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda key: _submitted(service, customer, key), keys))


def _submitted(service: Running, customer: Customer, key: str) -> Answered:
    """Send until there is an answer, always with the same key."""
    headers = customer.apiframe | {"Idempotency-Key": key}
    for sends in range(1, MAX_SENDS + 1):
        answer = service.http.post(
            "/v2/images/upscale", json=topaz_body(PICTURE_URI), headers=headers
        )
        if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
            assert answer.status_code == 202, answer.text
            return Answered(key, answer.json()["jobId"], sends)
    raise AssertionError(f"{key} was never answered")


def _counted_once(kv: KeyValue, account_id: str, answers: list[Answered]) -> None:
    """Every key has its one job, every job its one hold, and the sums agree."""
    told = {answer.idempotency_key: answer.job_id for answer in answers}
    assert len(set(told.values())) == len(answers)
    jobs = list_jobs(kv, account_id, before=None, limit=MAX_PAGE)
    assert sorted(str(job.id) for job in jobs) == sorted(told.values())
    entries = dict(ledger.entries(kv, account_id))
    kinds = Counter(entry.kind for entry in entries.values())
    assert kinds[EntryKind.HOLD] == len(answers)
    assert {name for name in entries if name.startswith("hold:")} == {
        f"hold:{job_id}" for job_id in told.values()
    }
    balance = find_account(kv, account_id)[1]
    assert balance.available == CREDITS - len(answers) * PRICE_CREDITS
    assert list(verify(kv)) == []
