"""A machine in a folder of its own, and a customer of it with 100 credits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.keys import Caller
from tests.jobs.machine import Machine, machine_in
from tests.running import Clock, Origin


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_in(tmp_path) as machine:
        yield machine


@pytest.fixture
def clock(machine: Machine) -> Clock:
    return machine.clock


@pytest.fixture
def caller(machine: Machine) -> Caller:
    return machine.customer()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin({}).serving() as origin:
        yield origin
