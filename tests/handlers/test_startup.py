"""Starting fast: the collector rests while everything is made, and works afterwards."""

import gc

import pytest

from handlers.startup import uncollected


def test_the_collector_rests_in_the_block_and_works_again_after_it() -> None:
    try:
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_the_collector_works_again_after_a_start_that_failed() -> None:
    try:
        with pytest.raises(RuntimeError), uncollected():
            raise RuntimeError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
