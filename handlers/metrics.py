"""`/metrics`: what `jobs.metrics` counts, in Prometheus' text form, for the operator alone.

To show something more, give it a family: a counter from `totals`, or a gauge from wherever its
state is kept.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException

from jobs.audit import Audit, Audited
from jobs.metrics import (
    LONGER,
    MAX_LOOKED_AT,
    WAIT_BOUNDS_MS,
    Attempt,
    Counted,
    Metrics,
    Total,
    Unfinished,
)

Totals = Mapping[Total, int]


def metrics_routes(metrics: Metrics, *, token: str) -> APIRouter:
    """`/metrics`, for whoever presents that token as a Bearer token."""
    registry = CollectorRegistry()
    registry.register(_Families(metrics))
    routes = APIRouter()

    @routes.get("/metrics")
    def shown(request: Request) -> Response:
        """All families; 503 while the store cannot be read."""
        if not _is_operator(request.headers.get("authorization", ""), token=token):
            raise HTTPException(
                401, "The operator's token is required", {"WWW-Authenticate": "Bearer"}
            )
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes


def _is_operator(authorization: str, *, token: str) -> bool:
    scheme, _, presented = authorization.partition(" ")
    # Of equal length, so that the comparison takes as long for every token.
    digests = [hashlib.sha256(each.encode()).digest() for each in (presented.strip(), token)]
    return hmac.compare_digest(*digests) and scheme.lower() == "bearer"


class _Families(Collector):
    """Reads the store anew at every scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        totals = self._metrics.totals()
        yield _jobs_ended(totals)
        yield _queue_wait(totals)
        yield _engine_seconds(totals)
        yield _webhook_attempts(totals)
        yield from _unfinished(self._metrics.unfinished())
        yield from _audited(Audit(self._metrics.kv, self._metrics.clock).last())


def _jobs_ended(totals: Totals) -> Metric:
    family = CounterMetricFamily(
        "enlarger_jobs_ended", "Jobs that were brought to an end.", labels=["model", "status"]
    )
    return _with_all(family, Counted.JOBS_ENDED, totals)


def _queue_wait(totals: Totals) -> Metric:
    buckets, waited = [], 0
    for bound_ms in WAIT_BOUNDS_MS:
        waited += totals.get(Total(Counted.QUEUE_WAITS, (str(bound_ms),)), 0)
        buckets.append((f"{bound_ms / 1000:g}", waited))
    waited += totals.get(Total(Counted.QUEUE_WAITS, (LONGER,)), 0)
    family = HistogramMetricFamily(
        "enlarger_queue_wait_seconds",
        "From submission until a worker first took the job, of jobs that ended; "
        "to its end, of a job that none took.",
    )
    sum_s = totals.get(Total(Counted.QUEUE_WAIT_MS), 0) / 1000
    family.add_metric([], [*buckets, ("+Inf", waited)], sum_value=sum_s)
    return family


def _engine_seconds(totals: Totals) -> Metric:
    family = CounterMetricFamily(
        "enlarger_engine_seconds",
        "What the engine worked on pictures, attempts in vain included.",
        labels=["model"],
    )
    return _with_all(family, Counted.ENGINE_MS, totals, unit=1000)


def _webhook_attempts(totals: Totals) -> Metric:
    family = CounterMetricFamily(
        "enlarger_webhook_attempts",
        "Attempts to deliver a webhook, by what the receiver answered: 2xx, 410 (gone), "
        "anything else (refused), nothing (unreachable).",
        labels=["result"],
    )
    for attempt in Attempt:
        made = totals.get(Total(Counted.WEBHOOK_ATTEMPTS, (attempt.value,)), 0)
        family.add_metric([attempt.value], made)
    return family


def _unfinished(unfinished: Unfinished) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "enlarger_jobs_unfinished",
        f"Jobs that wait or are worked on, counted to {MAX_LOOKED_AT} a queue.",
        labels=["status"],
    )
    for status, number in unfinished.by_status.items():
        family.add_metric([status.value], number)
    yield family
    yield GaugeMetricFamily(
        "enlarger_oldest_waiting_job_age_seconds",
        "Since the submission of the oldest job that no worker has taken; 0 without one. Among "
        f"the {MAX_LOOKED_AT} jobs that are to be looked at first.",
        unfinished.oldest_ms / 1000,
    )


def _audited(audited: Audited | None) -> Iterator[Metric]:
    """Nothing before the first audit."""
    if audited is None:
        return
    yield GaugeMetricFamily(
        "enlarger_ledger_discrepancies",
        "What the last audit of the ledger found to be off; anything but 0 is an alarm.",
        audited.discrepancies,
    )
    yield GaugeMetricFamily(
        "enlarger_ledger_audit_timestamp_seconds",
        "When the last audit of the ledger ended.",
        audited.ended_at_ms / 1000,
    )


def _with_all(
    family: CounterMetricFamily, counted: Counted, totals: Totals, *, unit: int = 1
) -> Metric:
    for total, number in sorted(totals.items()):
        if total.counted is counted:
            family.add_metric(total.labels, number / unit)
    return family
