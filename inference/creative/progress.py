"""How far a creative enlargement has come: steps over windows and passes, never backwards."""

from collections.abc import Sequence

from inference.runner import Progress


class Meter:
    """Tells of the work done; `work` is how much of it each pass was planned to have.

    A pass that is planned anew, in smaller pieces, keeps its share of the whole.
    """

    def __init__(self, progress: Progress, work: Sequence[int]) -> None:
        self._progress = progress
        self._work = work
        self._pass = -1
        self._told = 0
        progress(0, sum(work))

    def begin(self) -> None:
        """The next pass begins."""
        self._pass += 1

    def reached(self, done: int, *, of: int) -> None:
        """So much of the pass is done; what hears of it may raise to end the work."""
        before = sum(self._work[: self._pass])
        self._told = max(self._told, before + self._work[self._pass] * done // of)
        self._progress(self._told, sum(self._work))

    def still(self) -> None:
        """Something else is being done; who hears of it can end that, too."""
        self._progress(self._told, sum(self._work))
