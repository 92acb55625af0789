"""What there is to tell of a job, in which order, and what of it is new to somebody."""

import pytest

from jobs.errors import EventIdInvalid
from jobs.job import Failure, Job, Result
from jobs.news import Event, Mark, Seen
from tests.jobs.machine import Machine

RESULT = Result(
    object_name="results/x.png", format="png", width_px=4, height_px=4, size_bytes=1, network="n"
)


@pytest.fixture
def queued(machine: Machine) -> Job:
    return machine.submit(machine.customer())


@pytest.mark.parametrize("mark", [Mark(0), Mark(0, 5), Mark(12), Mark(9, is_end=True)])
def test_a_mark_is_read_as_it_was_written(mark: Mark) -> None:
    assert Mark.parse(str(mark)) == mark


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-1",
        "1.",
        ".5",
        "1.x",
        "1.end.2",
        "1.END",
        " 1",
        "1\n",
        "٣",
        "1.٣",
        "9" * 16,
        "1.-2",
    ],
)
def test_what_is_no_mark_is_refused(text: str) -> None:
    with pytest.raises(EventIdInvalid):
        Mark.parse(text)


def test_a_job_is_told_by_where_it_stands(queued: Job) -> None:
    taken = queued.claimed(now_ms=1)
    half = taken.advanced(5, 10)
    assert [Seen(job).event for job in (queued, taken, half, half.claimed(now_ms=2))] == [
        Event.QUEUED,
        Event.PROVISIONING,
        Event.PROGRESS,
        Event.PROVISIONING,
    ]
    ends = [
        half.completed(RESULT, now_ms=3),
        half.failed(Failure(code="X", message="x"), now_ms=3),
        half.cancelled(now_ms=3),
    ]
    assert [Seen(job).event for job in ends] == [Event.COMPLETED, Event.FAILED, Event.CANCELLED]


def test_marks_follow_the_jobs_own_count(queued: Job) -> None:
    taken = queued.claimed(now_ms=1)
    seen = [
        Seen(queued, 5),
        Seen(queued),
        Seen(taken),
        Seen(taken.advanced(1, 2)),
        Seen(taken.completed(RESULT, now_ms=2)),
    ]
    assert [str(each.mark) for each in seen] == ["0.5", "0", "1", "2", "2.end"]


def test_everything_is_news_to_whoever_was_told_nothing(queued: Job) -> None:
    assert Seen(queued).is_news(None)


@pytest.mark.parametrize(
    ("position", "told", "is_news"),
    [
        (3, Mark(0, 3), False),
        (2, Mark(0, 3), True),
        (3, Mark(0), True),
        (None, Mark(0, 3), False),
        (None, Mark(0), False),
        (1, Mark(1), False),
        (1, Mark(7, is_end=True), False),
    ],
)
def test_a_job_that_waits_is_news_when_its_place_is_another(
    queued: Job, position: int | None, told: Mark, *, is_news: bool
) -> None:
    assert Seen(queued, position).is_news(told) is is_news


@pytest.mark.parametrize(("sequence", "is_news"), [(0, True), (1, True), (2, False), (3, False)])
def test_progress_is_news_to_whoever_was_told_less(
    queued: Job, sequence: int, *, is_news: bool
) -> None:
    seen = Seen(queued.claimed(now_ms=1).advanced(1, 2))
    assert seen.is_news(Mark(sequence)) is is_news


@pytest.mark.parametrize("told", [Mark(0), Mark(0, 4), Mark(2), Mark(99)])
def test_the_end_is_news_to_whoever_was_not_told_of_it(queued: Job, told: Mark) -> None:
    end = Seen(queued.cancelled(now_ms=1))
    assert end.is_news(told)
    assert not end.is_news(end.mark)
