"""An engine without pixels: it takes its time, and comes to every end that a real one knows."""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from random import Random
from typing import BinaryIO

from inference.errors import CorruptImage, NotANumber
from inference.params import UpscaleParams
from tests.jobs.machine import PARAMS, PICTURE, Enlarged
from tests.simulation.stage import Stage

STEPS = 3


class Broken(Exception):
    """The graphics card is gone, say; another attempt may well succeed."""


class Course(Enum):
    """What comes of an attempt."""

    SUCCEEDS = auto()
    DISLIKES = auto()
    BREAKS_DOWN = auto()
    BREAKS = auto()
    IS_SLOW = auto()
    """It takes longer than a lease, and reports all the while."""

    HANGS = auto()
    """It is silent for longer than a job may take, and then succeeds."""


USUAL: Mapping[Course, float] = {
    Course.SUCCEEDS: 12,
    Course.DISLIKES: 2,
    Course.BREAKS_DOWN: 1,
    Course.BREAKS: 3,
    Course.IS_SLOW: 2,
    Course.HANGS: 0.5,
}

_STEP_S = {Course.IS_SLOW: 15.0, Course.HANGS: 3_000.0}


class StagedEngine:
    """Draws a course for every attempt."""

    def __init__(
        self, stage: Stage, random: Random, *, courses: Mapping[Course, float] = USUAL
    ) -> None:
        self._stage = stage
        self._random = random
        self._courses = courses

    def upscale(
        self,
        source: bytes,
        params: UpscaleParams,
        *,
        sink: BinaryIO,
        progress: Callable[[int, int], None],
    ) -> Enlarged:
        assert (source, params) == (PICTURE, PARAMS)
        (course,) = self._random.choices([*self._courses], weights=[*self._courses.values()])
        for step in range(STEPS):
            progress(step, STEPS)
            self._stage.wait(_STEP_S.get(course, self._random.random() * 4))
        match course:
            case Course.DISLIKES:
                raise CorruptImage
            case Course.BREAKS_DOWN:
                raise NotANumber
            case Course.BREAKS:
                raise Broken
        progress(STEPS, STEPS)
        sink.write(b"enlarged")
        return Enlarged()
