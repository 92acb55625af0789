"""Progress over passes: true, and never backwards."""

from inference.creative.progress import Meter


def test_passes_count_by_their_work() -> None:
    told: list[tuple[int, int]] = []
    meter = Meter(lambda done, of: told.append((done, of)), [2, 8])
    meter.begin()
    meter.reached(1, of=2)
    meter.reached(2, of=2)
    meter.begin()
    meter.reached(4, of=8)
    meter.reached(8, of=8)
    assert told == [(0, 10), (1, 10), (2, 10), (6, 10), (10, 10)]


def test_a_pass_that_begins_again_in_smaller_pieces_does_not_go_back() -> None:
    told: list[int] = []
    meter = Meter(lambda done, _of: told.append(done), [10, 10])
    meter.begin()
    meter.reached(6, of=10)
    for done in (1, 10, 15, 20):
        meter.reached(done, of=20)
    assert told == [0, 6, 6, 6, 7, 10]


def test_other_work_tells_of_what_is_done() -> None:
    told: list[tuple[int, int]] = []
    meter = Meter(lambda done, of: told.append((done, of)), [4])
    meter.begin()
    meter.still()
    meter.reached(2, of=4)
    meter.still()
    assert told == [(0, 4), (0, 4), (2, 4), (2, 4)]
