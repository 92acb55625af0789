"""Turns: never more at once than allowed, in all and for one party, and all given back."""

import pytest

from jobs.errors import TooManyAtOnce
from jobs.turns import Turns


def test_one_party_has_its_share_and_others_the_rest() -> None:
    turns = Turns(in_all=3, each=2)
    with turns.taken("a"), turns.taken("a"):
        with pytest.raises(TooManyAtOnce), turns.taken("a"):
            pytest.fail("a third turn of two")
        with turns.taken("b"), pytest.raises(TooManyAtOnce), turns.taken("c"):
            pytest.fail("a fourth turn of three")


def test_a_turn_is_given_back_however_it_ends() -> None:
    turns = Turns(in_all=1, each=1)
    for _ in range(2):
        with pytest.raises(OSError, match="the work failed"), turns.taken("a"):
            raise OSError("the work failed")
    with turns.taken("b"):
        pass
