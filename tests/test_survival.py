"""kill -9 of a serving machine under load: what was acknowledged is done, paid once, and told."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2
import pytest

from jobs.courier import LEASE_MS
from storage.postgres_schema import SCHEMA, create_items, drop_items
from tests.running import Origin, picture
from tests.serving import Server, eventually

log = logging.getLogger(__name__)

CLIENTS = 4
DEMO_CREDITS = 1000
GRANTED_CREDITS = 100_000
PRICE_CREDITS = 8
JOBS_BEFORE_KILL = 6
SETTINGS = {"lease_s": "1", "outbound_allow": "127.0.0.1/32"}


class Customers:
    """Threads that submit without pause, each order until it is acknowledged, and note its job."""

    def __init__(self, url: str, key: str, *, source: str, hook: str) -> None:
        self.accepted: list[str] = []
        self.replays = 0
        self._enough = threading.Condition()
        self._is_over = threading.Event()
        self._http = httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=10)
        self._body = {
            "model": "topaz-image-upscale",
            "topazUpscaleParams": {"image": source},
            "webhookUrl": hook,
        }
        self._threads = [threading.Thread(target=self._submit) for _ in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        """Return when so many submissions have been accepted."""
        with self._enough:
            assert self._enough.wait_for(lambda: len(self.accepted) >= count, timeout=60)

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._http.close()

    def _submit(self) -> None:
        while not self._is_over.is_set():
            name = uuid4().hex
            eventually(lambda name=name: self._is_accepted(name), what="an answer")

    def _is_accepted(self, name: str) -> bool:
        """Send a submission, once more or for the first time; whether it is acknowledged."""
        headers = {"Idempotency-Key": name}
        try:
            answer = self._http.post("/v2/images/upscale", json=self._body, headers=headers)
        except httpx2.TransportError:
            return False  # the server is down; it will be back
        assert answer.status_code in (202, 429, 503), answer.text
        if answer.status_code != 202:  # enough are unfinished: the engine is slower to start
            return False
        with self._enough:
            self.accepted.append(answer.json()["jobId"])
            self.replays += answer.headers.get("Idempotent-Replayed") == "true"
            self._enough.notify_all()
        return True


@pytest.fixture
def postgres_settings(postgres_url: str) -> Iterator[dict[str, str]]:
    """The settings of a service that keeps everything in PostgreSQL."""
    create_items(postgres_url)
    yield {"store_url": postgres_url}
    drop_items(postgres_url, schema=SCHEMA)


class Outlived(NamedTuple):
    """What came of it: jobs, the acknowledgements that were lost at first, and the webhooks."""

    kills: int
    jobs: int
    replays: int
    webhooks: int
    duplicates: int


def test_every_accepted_job_outlives_kill_9_and_the_ledger_verifies(
    tmp_path: Path, kills: int
) -> None:
    log.info("%s", outlive(Server(tmp_path / "data", **SETTINGS), kills=kills))


def test_every_accepted_job_outlives_kill_9_on_postgresql(
    tmp_path: Path, kills: int, postgres_settings: dict[str, str]
) -> None:
    server = Server(tmp_path / "data", **SETTINGS, **postgres_settings)
    log.info("%s", outlive(server, kills=kills))


def outlive(server: Server, *, kills: int) -> Outlived:
    """Kill a server under load, again and again: every accepted job is done, paid once, and told
    of to a receiver that outlives it all.
    """
    with Origin({}).serving() as receiver, server.running():
        key = server.demo_key
        headers = {"X-API-Key": key}
        account_id = httpx2.get(f"{server.url}/v2/me", headers=headers).json()["team"]["id"]
        server.command("credits", "grant", account_id, GRANTED_CREDITS)
        upload = httpx2.post(
            f"{server.url}/v2/uploads", headers=headers, files={"file": picture(24, 16)}
        )
        hook = f"{receiver.url}/hook"
        customers = Customers(server.url, key, source=upload.json()["url"], hook=hook)
        customers.start()
        for kill in range(1, kills + 1):
            customers.wait_for(kill * JOBS_BEFORE_KILL)
            server.kill()
            server.start()
        customers.stop()

        for job_id in customers.accepted:
            eventually(lambda job_id=job_id: is_over(server, headers, job_id), what=job_id)

        me = httpx2.get(f"{server.url}/v2/me", headers=headers).json()
        jobs = all_jobs(server, headers)
        assert sorted(customers.accepted) == sorted(job["id"] for job in jobs)
        assert {job["status"] for job in jobs} == {"COMPLETED"}
        paid = PRICE_CREDITS * len(jobs)
        assert me["team"]["credits"] == DEMO_CREDITS + GRANTED_CREDITS - paid
        for job in jobs:
            assert httpx2.get(job["result"]["images"][0]).status_code == 200

        ends = {f"msg_{job['id']}_completed" for job in jobs}
        # An attempt that a kill cut short is made again when its lease is over.
        eventually(
            lambda: ends <= set(told(receiver)), what="every webhook", within_s=2 * LEASE_MS / 1000
        )
        assert set(told(receiver)) == ends
    assert server.command("ledger", "verify").returncode == 0
    count = len(told(receiver))
    return Outlived(kills, len(jobs), customers.replays, count, count - len(ends))


def told(receiver: Origin) -> list[str]:
    """The ids of the events that the receiver was told in full, as often as it was."""
    whole = [
        headers
        for headers, body in list(receiver.received)
        if len(body) == int(headers["Content-Length"])
    ]
    return [headers["webhook-id"] for headers in whole]


def is_over(server: Server, headers: dict[str, str], job_id: str) -> bool:
    job = httpx2.get(f"{server.url}/v2/jobs/{job_id}", headers=headers).json()
    return job["status"] in ("COMPLETED", "FAILED")


def all_jobs(server: Server, headers: dict[str, str]) -> list[dict[str, Any]]:
    query = {"limit": "100"}
    page = httpx2.get(f"{server.url}/v2/jobs", params=query, headers=headers).json()
    jobs = list(page["jobs"])
    while page["hasMore"]:
        query["cursor"] = page["nextCursor"]
        page = httpx2.get(f"{server.url}/v2/jobs", params=query, headers=headers).json()
        jobs += page["jobs"]
    return jobs
