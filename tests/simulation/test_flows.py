"""Every flow, with every fault at every call that it makes; then recovery, and every invariant."""

from contextlib import suppress

import pytest

from tests.jobs.machine import Crash
from tests.simulation.actors import REFUSALS
from tests.simulation.faults import Fault
from tests.simulation.flows import FLOWS, Flow, Scene
from tests.simulation.history import defects
from tests.simulation.recovery import aged, recovered
from tests.simulation.stage import Alone

MAX_CALLS = 100
NO_FAULT = -1


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_no_fault_at_any_call_breaks_a_promise(flow: Flow, fault: Fault) -> None:
    calls = len(struck(flow, fault, at=NO_FAULT).calls)
    assert 1 <= calls <= MAX_CALLS
    for at in range(calls):
        assert len(struck(flow, fault, at=at).calls) > at


def struck(flow: Flow, fault: Fault, *, at: int) -> Alone:
    """The stage on which a flow was struck by a fault at one call; all is well in the end."""
    scene = Scene(flow.manner)
    with defects() as broken:
        flow.prepare(scene)
        stage = Alone(scene.world.clock, at=at, fault=fault)
        with suppress(Crash, *REFUSALS):
            flow.act(scene, stage)
        flow.again(scene)
        if flow.is_old:
            broken += aged(scene.world)
        else:
            broken += recovered(scene.world, course=flow.course, ends=flow.ends)
    assert broken == [], f"{fault.name} at call {at}: {stage.calls[at].words}"
    return stage
