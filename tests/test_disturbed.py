"""The service while one call in three to its store is disturbed: each submission counts once."""

import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx2

from billing import ledger
from billing.accounts import find_account
from billing.ledger import EntryKind
from jobs.ids import system_clock
from jobs.records import list_jobs
from storage.addresses import DynamoAddress
from storage.dynamo import DynamoKeyValue
from storage.dynamo_table import create_table
from storage.kv import MAX_PAGE, KeyValue
from tests.faults import Fault, FaultProxy
from tests.handlers.clients import topaz_body
from tests.jobs.machine import PICTURE_URI
from tests.running import Customer, Running, running

SUBMISSIONS = 500
CLIENTS = 12
MAX_SENDS = 20
PRICE_CREDITS = 8
CREDITS = SUBMISSIONS * PRICE_CREDITS + 1000
READ_TIMEOUT_S = 0.4
LATE_S = 0.8
SEED = 20_261_121


class Answered(NamedTuple):
    """What one client was told in the end, and how often it had to ask."""

    idempotency_key: str
    job_id: str
    sends: int


def test_500_submissions_through_a_disturbed_store_make_500_jobs_and_charges(
    tmp_path: Path, aws_endpoint: str
) -> None:
    table = DynamoAddress(f"table-{secrets.token_hex(8)}", "us-east-1", aws_endpoint)
    create_table(table)
    direct = DynamoKeyValue(table, clock=system_clock)
    with FaultProxy(aws_endpoint, seed=SEED, late_s=LATE_S).serving() as proxy:
        store = DynamoKeyValue(
            table._replace(endpoint=proxy.url), clock=system_clock, read_timeout_s=READ_TIMEOUT_S
        )
        with running(tmp_path, kv=store) as service:
            customer = service.account(credits=CREDITS, max_in_flight=SUBMISSIONS)
            keys = [f"key-{n}" for n in range(SUBMISSIONS)]
            with ThreadPoolExecutor(CLIENTS) as pool:
                answers = list(pool.map(lambda key: _submitted(service, customer, key), keys))
            proxy.settle()
            again = [_submitted(service, customer, key) for key in keys[:5]]
        disturbed = sum(proxy.faults.values())
        assert disturbed > proxy.calls / 4
        assert set(proxy.faults) >= {fault for fault in Fault if fault.suits("GetItem")}
    _counted_once(direct, customer.id, answers)
    assert [answer.job_id for answer in again] == [answer.job_id for answer in answers[:5]]
    direct.close()


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
    assert len(set(told.values())) == SUBMISSIONS
    jobs = list_jobs(kv, account_id, before=None, limit=MAX_PAGE)
    assert sorted(str(job.id) for job in jobs) == sorted(told.values())
    entries = dict(ledger.entries(kv, account_id))
    kinds = Counter(entry.kind for entry in entries.values())
    assert kinds[EntryKind.HOLD] == SUBMISSIONS
    assert {name for name in entries if name.startswith("hold:")} == {
        f"hold:{job_id}" for job_id in told.values()
    }
    balance = find_account(kv, account_id)[1]
    assert balance.available == CREDITS - SUBMISSIONS * PRICE_CREDITS
    assert list(ledger.verify(kv)) == []
