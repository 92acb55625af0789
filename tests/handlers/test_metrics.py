"""`/metrics`: shown to the operator alone, and what it says of jobs and webhooks."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from billing.accounts import account_key
from storage.kv import Add, Unavailable
from storage.sqlite import SqliteKeyValue
from tests.handlers.clients import TOPAZ, Apiframe, kept_job
from tests.handlers.working import complete, fail, start
from tests.running import Clock, Origin, Running, running
from tests.watched import WatchedStore

TOKEN = "the-operator's-own-token"
JOB = {"model": TOPAZ}


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[Running]:
    """A service whose operator has a token."""
    models = frozenset({TOPAZ})
    with running(tmp_path, clock=clock, models=models, metrics_token=TOKEN) as service:
        yield service


def scrape(service: Running, *, authorization: str = f"Bearer {TOKEN}") -> httpx2.Response:
    return service.http.get("/metrics", headers={"Authorization": authorization})


def sample(service: Running, name: str, **labels: str) -> float | None:
    """The value that an independent parser finds; None if there is none."""
    families = text_string_to_metric_families(scrape(service).text)
    found = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found[0] if found else None


def test_what_an_audit_of_the_ledger_found_is_shown_once_there_was_one(
    service: Running, clock: Clock
) -> None:
    account = service.account()
    assert sample(service, "enlarger_ledger_discrepancies") is None
    service.services.audit.run()
    assert sample(service, "enlarger_ledger_discrepancies") == 0
    service.services.kv.commit(Add(account_key(account.id), {"available": 1}))
    service.services.audit.run()
    assert sample(service, "enlarger_ledger_discrepancies") == 1
    ended_s = sample(service, "enlarger_ledger_audit_timestamp_seconds")
    assert ended_s == clock() / 1000


def test_without_a_token_of_the_operators_there_is_no_such_page(
    tmp_path: Path, clock: Clock
) -> None:
    with running(tmp_path, clock=clock) as service:
        answer = scrape(service)
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN],
)
def test_nobody_else_sees_it(service: Running, authorization: str) -> None:
    answer = scrape(service, authorization=authorization)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert list(answer.json()) == ["error"]


def test_who_presents_nothing_sees_nothing(service: Running) -> None:
    assert service.http.get("/metrics").status_code == 401


def test_it_has_prometheus_media_type(service: Running) -> None:
    assert scrape(service).headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_ended_jobs_are_shown_by_model_and_status(service: Running, photo: str) -> None:
    apiframe = Apiframe(service, service.account())
    for end in (complete, complete, fail):
        end(service, apiframe.submitted(photo))
    assert sample(service, "enlarger_jobs_ended_total", **JOB, status="completed") == 2
    assert sample(service, "enlarger_jobs_ended_total", **JOB, status="failed") == 1


def test_waits_are_shown_in_buckets_that_include_the_shorter(
    service: Running, photo: str, clock: Clock
) -> None:
    apiframe = Apiframe(service, service.account())
    for waited_ms in (400, 1_500, 3_700_000):
        job_id = apiframe.submitted(photo)
        clock.now_ms += waited_ms
        complete(service, job_id)
    name = "enlarger_queue_wait_seconds"
    buckets = {
        bound: sample(service, f"{name}_bucket", le=bound) for bound in ("0.5", "2", "3600", "+Inf")
    }
    assert buckets == {"0.5": 1, "2": 2, "3600": 2, "+Inf": 3}
    assert sample(service, f"{name}_count") == 3
    assert sample(service, f"{name}_sum") == 3_701.9


def test_engine_time_is_shown_in_seconds(service: Running, photo: str) -> None:
    job_id = Apiframe(service, service.account()).submitted(photo)
    service.services.metrics.engine_worked(kept_job(service, job_id), engine_ms=1_500)
    assert sample(service, "enlarger_engine_seconds_total", **JOB) == 1.5


def test_webhook_attempts_are_shown_by_result(service: Running, origin: Origin, photo: str) -> None:
    apiframe = Apiframe(service, service.account())
    answer = apiframe.post(
        "/images/upscale",
        json={
            "model": TOPAZ,
            "topazUpscaleParams": {"image": photo},
            "webhookUrl": f"{origin.url}/hook",
        },
    )
    complete(service, answer.json()["jobId"])
    origin.answers.append(500)
    for key in service.services.dispatcher.deliveries:  # type: ignore[attr-defined]
        service.services.courier.deliver(key)
    made = {
        result: sample(service, "enlarger_webhook_attempts_total", result=result)
        for result in ("delivered", "refused", "unreachable", "gone")
    }
    assert made == {"delivered": 0, "refused": 1, "unreachable": 0, "gone": 0}


def test_what_waits_and_for_how_long_is_shown(service: Running, photo: str, clock: Clock) -> None:
    apiframe = Apiframe(service, service.account())
    first, second = apiframe.submitted(photo), apiframe.submitted(photo)
    start(service, first)
    clock.now_ms += 12_500
    assert second != first
    assert sample(service, "enlarger_jobs_unfinished", status="queued") == 1
    assert sample(service, "enlarger_jobs_unfinished", status="processing") == 1
    assert sample(service, "enlarger_oldest_waiting_job_age_seconds") == 12.5


def test_how_many_are_looked_at_is_said(service: Running) -> None:
    helped = [line for line in scrape(service).text.splitlines() if line.startswith("# HELP")]
    assert [line for line in helped if "1000" in line and "unfinished" in line]
    assert [line for line in helped if "1000" in line and "oldest" in line]


def test_while_the_store_is_down_nothing_is_made_up(tmp_path: Path, clock: Clock) -> None:
    def refuse(_: int) -> None:
        raise Unavailable("db.internal is down")

    store = SqliteKeyValue(tmp_path / "store.sqlite", clock=clock)
    broken = WatchedStore(store, before=refuse)
    with running(tmp_path, kv=broken, clock=clock, metrics_token=TOKEN) as service:
        answer = scrape(service)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "db.internal" not in answer.text
