"""Purging, in stores that do not remove what has expired by themselves."""

from storage.contract.key_value_case import START_MS, Clock, KeyValueCase, sorts_of
from storage.kv import Key, KeyValue, Put

A = Key("jobs", "a")
B = Key("jobs", "b")
LATER_MS = START_MS + 1000


class Purges(KeyValueCase):
    """What `purge` removes, and what it leaves."""

    def test_purge_removes_the_expired_and_only_those(self, store: KeyValue, clock: Clock) -> None:
        store.commit(
            Put(A, {}, expires_at_ms=LATER_MS),
            Put(B, {}, expires_at_ms=LATER_MS + 1),
            Put(Key("jobs", "c"), {}),
        )
        assert store.purge(limit=10) == 0
        clock.now_ms = LATER_MS
        assert store.purge(limit=10) == 1
        assert store.purge(limit=10) == 0
        clock.now_ms = START_MS
        assert sorts_of(store, "jobs") == ["b", "c"]

    def test_purge_removes_no_more_than_its_limit(self, store: KeyValue, clock: Clock) -> None:
        store.commit(*(Put(Key("p", f"{n}"), {}, expires_at_ms=LATER_MS) for n in range(5)))
        clock.now_ms = LATER_MS
        assert [store.purge(limit=2) for _ in range(4)] == [2, 2, 1, 0]
