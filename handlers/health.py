"""Health: whether this process lives, and whether it can reach what it stands on.

`/healthz` asks nobody. `/readyz` asks the store, the objects, the weights and, where there is
somebody to ask, who is hinted at: side by side, each for `BOUND_S` at most, and all together no
more often than every `CACHED_MS`. It says in a word and a sentence what is wrong; the details,
which may name hosts, are for the log.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import NamedTuple

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from handlers.errors import RETRY_AFTER_S
from inference.catalogue import installed_models
from jobs.ids import Clock
from jobs.services import Services
from storage.kv import Key, StoreError, Unsuitable
from storage.objects import ObjectsError, ObjectsUnsuitable

log = logging.getLogger(__name__)

BOUND_S = 5.0
CACHED_MS = 3_000

ABSENT_KEY = Key("health", "absent")
ABSENT_OBJECT = "health/absent"

Check = Callable[[], object]
"""Raises if what it asks cannot be used."""


class Finding(NamedTuple):
    """How one part is: `ok`, or in a word and a sentence what is wrong."""

    status: str
    message: str | None = None

    def as_json(self) -> dict[str, str]:
        """What the answer says of the part."""
        said = {"status": self.status}
        return said if self.message is None else said | {"message": self.message}


class WeightsMissing(Exception):
    """A file that a served model needs is not there"""


class WeightsUnreadable(Exception):
    """The folder of weights cannot be read"""


OK = Finding("ok")
SILENT = Finding("silent", f"It has not answered within {BOUND_S:.0f} seconds")
FAILING = Finding("failing", "The check failed; the log says how")

WRONG: Mapping[type[Exception], Finding] = {
    Unsuitable: Finding("unsuitable", "It is not as this release needs it"),
    StoreError: Finding("unreachable", "It cannot be reached"),
    ObjectsUnsuitable: Finding("unsuitable", "It is not as this release needs it"),
    ObjectsError: Finding("unreachable", "It cannot be reached"),
    WeightsMissing: Finding("missing", WeightsMissing.__doc__),
    WeightsUnreadable: Finding("unreadable", WeightsUnreadable.__doc__),
    Exception: FAILING,
}


def health_routes(services: Services) -> APIRouter:
    """`/healthz` and `/readyz`."""
    readiness = Readiness(checks_of(services), clock=services.clock)
    routes = APIRouter()

    @routes.get("/healthz")
    async def alive() -> dict[str, str]:
        """The process serves."""
        return {"status": "ok"}

    @routes.get("/readyz")
    def ready() -> JSONResponse:
        """How every part is; 503 unless all are well."""
        findings = readiness.findings()
        body = {name: finding.as_json() for name, finding in findings.items()}
        if all(finding == OK for finding in findings.values()):
            return JSONResponse(body)
        return JSONResponse(body, 503, headers={"Retry-After": str(RETRY_AFTER_S)})

    return routes


def checks_of(services: Services) -> dict[str, Check]:
    """What is asked, by the part's name."""

    def objects() -> None:
        stored = services.objects.get(ABSENT_OBJECT)
        if stored is not None:
            stored.chunks.close()

    checks: dict[str, Check] = {
        "store": lambda: services.kv.get(ABSENT_KEY),
        "objects": objects,
        "weights": lambda: check_weights(services),
    }
    if services.check_dispatch is not None:
        checks["dispatch"] = services.check_dispatch
    return checks


def check_weights(services: Services) -> None:
    """Raise unless every served model has its files, by their sizes."""
    folder = services.weights_folder
    try:
        if folder.exists():  # nothing need have been pulled
            os.listdir(folder)
        installed = installed_models(folder, creative=services.creative)
    except OSError as error:
        raise WeightsUnreadable(str(error)) from error
    missing = sorted(set(services.models) - installed)
    if missing:
        raise WeightsMissing(", ".join(missing))


class Readiness:
    """The findings of a few checks, remembered for `CACHED_MS`; safe to call from threads.

    However often it is asked, a part is asked once at a time: one that hangs costs a thread.
    """

    def __init__(
        self, checks: Mapping[str, Check], *, clock: Clock, bound_s: float = BOUND_S
    ) -> None:
        self._probes = {name: _Probe(name, check) for name, check in checks.items()}
        self._clock = clock
        self._bound_s = bound_s
        self._asking = threading.Lock()
        self._known: _Known | None = None

    def findings(self) -> Mapping[str, Finding]:
        """How each part is.

        Who asks while another waits for answers gets those that were known before, if any.
        """
        known = self._known
        if known is not None and 0 <= self._clock() - known.at_ms < CACHED_MS:
            return known.findings
        if not self._asking.acquire(blocking=known is None) and known is not None:
            return known.findings
        try:
            if self._known is None or self._known is known:
                self._known = _Known(self._clock(), self._ask())
            return self._known.findings
        finally:
            self._asking.release()

    def _ask(self) -> Mapping[str, Finding]:
        for probe in self._probes.values():
            probe.begin()
        until_s = time.monotonic() + self._bound_s
        return {name: probe.finding(until_s=until_s) for name, probe in self._probes.items()}


class _Known(NamedTuple):
    at_ms: int
    findings: Mapping[str, Finding]


class _Probe:
    """One check in a thread of its own, which may hang; no second is begun beside it."""

    def __init__(self, name: str, check: Check) -> None:
        self._name = name
        self._check = check
        self._thread: threading.Thread | None = None
        self._found = FAILING

    def begin(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._found = FAILING
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=f"check-{self._name}", daemon=True
        )
        self._thread.start()

    def finding(self, *, until_s: float) -> Finding:
        """What was found by then on `time.monotonic`."""
        assert self._thread is not None
        self._thread.join(max(until_s - time.monotonic(), 0))
        if not self._thread.is_alive():
            return self._found
        log.warning("not ready: %s: no answer yet", self._name)
        return SILENT

    def _run(self) -> None:
        try:
            self._check()
            self._found = OK
        except Exception as error:
            log.warning("not ready: %s: %s: %s", self._name, type(error).__name__, error)
            self._found = next(WRONG[cls] for cls in type(error).__mro__ if cls in WRONG)
