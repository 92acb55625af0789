"""Runs functions in fresh processes and gathers what each of them reports."""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from typing import Any

CONTEXT = get_context("spawn")
MAX_WAIT_S = 60


def barrier(parties: int) -> Barrier:
    """A starting line for that many processes."""
    return CONTEXT.Barrier(parties, timeout=MAX_WAIT_S)


def started(target: Callable[..., None], *arguments: Any) -> tuple[SpawnProcess, Connection]:
    """A process running `target(*arguments, report)`, and where its reports arrive."""
    reports, report = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=target, args=(*arguments, report), daemon=True)
    process.start()
    report.close()  # so that the end of the process is the end of its reports
    return process, reports


def results(running: list[tuple[SpawnProcess, Connection]]) -> list[Any]:
    """The only report of each process, once all have ended well."""
    reported = [reports.recv() for _, reports in running]
    for process, reports in running:
        process.join(MAX_WAIT_S)
        assert process.exitcode == 0
        process.close()
        reports.close()
    return reported


def reports_until_killed(process: SpawnProcess, reports: Connection, *, after: int) -> list[Any]:
    """Kill the process (SIGKILL) once it has reported `after` times; all that it has reported."""
    received = [reports.recv() for _ in range(after)]
    process.kill()
    try:
        while True:
            received.append(reports.recv())
    except EOFError:
        process.join(MAX_WAIT_S)
    process.close()
    reports.close()
    return received
