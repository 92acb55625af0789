"""Time: what is due when, and expiry to the millisecond."""

import pytest

from storage.contract.key_value_case import (
    START_MS,
    Clock,
    KeyValueCase,
    agrees,
    counters_of,
    sorts_of,
    version_of,
)
from storage.kv import (
    MAX_INTEGER,
    Add,
    Change,
    Check,
    Conflict,
    Delete,
    Due,
    Key,
    KeyValue,
    Put,
)

A = Key("jobs", "a")
B = Key("jobs", "b")
LATER_MS = START_MS + 1000


class Times(KeyValueCase):
    """Due queues and expiry."""

    def test_items_are_due_earliest_first(self, store: KeyValue) -> None:
        store.commit(*(Put(Key("p", f"{at}"), {}, due=Due("q", at)) for at in (30, 4, 200, -1)))
        _is_due(store, ["-1", "4", "30", "200"], until_ms=1000)

    def test_items_of_one_moment_are_all_due(self, store: KeyValue) -> None:
        store.commit(*(Put(Key(f"p{n}", f"{n}"), {}, due=Due("q", 7)) for n in range(5)))
        agrees(lambda: sorted(_due(store, until_ms=7)), ["0", "1", "2", "3", "4"])

    def test_due_at_exactly_that_millisecond(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, due=Due("q", 7)))
        _is_due(store, [], until_ms=6)
        _is_due(store, ["a"], until_ms=7)

    def test_due_is_limited_to_the_earliest(self, store: KeyValue) -> None:
        store.commit(*(Put(Key("p", f"{at}"), {}, due=Due("q", at)) for at in (3, 1, 2)))
        _is_due(store, ["1", "2", "3"], until_ms=9)
        assert [item.key.sort for item in store.due("q", until_ms=9, limit=2)] == ["1", "2"]

    def test_queues_do_not_mix(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, due=Due("q", 1)), Put(B, {}, due=Due("qq", 1)))
        _is_due(store, ["a"], until_ms=1)
        agrees(lambda: [item.key for item in store.due("qq", until_ms=1, limit=9)], [B])

    def test_items_without_due_are_never_due(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        _is_due(store, [], until_ms=MAX_INTEGER)

    def test_a_due_item_is_whole(self, store: KeyValue) -> None:
        store.commit(Put(A, {"n": 1}, counters={"left": 1}, due=Due("q", 1)))
        agrees(lambda: store.due("q", until_ms=1, limit=1), [store.get(A)])

    def test_a_put_moves_what_is_due(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, due=Due("q", 1)))
        store.commit(Put(A, {}, replaces=version_of(store, A), due=Due("q", 5)))
        _is_due(store, [], until_ms=4)
        _is_due(store, ["a"], until_ms=5)

    def test_a_put_moves_to_another_queue(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, due=Due("q", 1)))
        store.commit(Put(A, {}, replaces=version_of(store, A), due=Due("other", 1)))
        _is_due(store, [], until_ms=1)
        agrees(lambda: [item.key for item in store.due("other", until_ms=1, limit=9)], [A])

    def test_a_put_without_due_takes_it_off_the_queue(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, due=Due("q", 1)))
        store.commit(Put(A, {}, replaces=version_of(store, A)))
        _is_due(store, [], until_ms=MAX_INTEGER)

    def test_an_add_leaves_it_on_the_queue(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, due=Due("q", 1)))
        store.commit(Add(A, {"n": 1}))
        _is_due(store, ["a"], until_ms=1)

    def test_an_item_lives_until_the_millisecond_before(
        self, store: KeyValue, clock: Clock
    ) -> None:
        store.commit(Put(A, {}, due=Due("q", 1), expires_at_ms=LATER_MS))
        clock.now_ms = LATER_MS - 1
        assert store.get(A) is not None
        assert sorts_of(store, "jobs") == ["a"]
        _is_due(store, ["a"], until_ms=1)
        store.commit(Check(A, version_of(store, A)), Put(B, {}))

    @pytest.mark.parametrize("late_ms", [0, 1, 10**9])
    def test_an_expired_item_is_absent_for_every_read(
        self, store: KeyValue, clock: Clock, late_ms: int
    ) -> None:
        store.commit(Put(A, {}, due=Due("q", 1), expires_at_ms=LATER_MS))
        clock.now_ms = LATER_MS + late_ms
        assert store.get(A) is None
        assert store.query("jobs") == []
        assert store.query("jobs", newest_first=True) == []
        _is_due(store, [], until_ms=1)

    def test_an_expired_item_is_absent_for_every_condition(
        self, store: KeyValue, clock: Clock
    ) -> None:
        store.commit(Put(A, {}, expires_at_ms=LATER_MS))
        version = version_of(store, A)
        clock.now_ms = LATER_MS
        refused: list[Change] = [
            Put(A, {}, replaces=version),
            Add(A, {"n": 1}),
            Check(A, version),
            Delete(A, replaces=version),
        ]
        for change in refused:
            with pytest.raises(Conflict):
                store.commit(change)
        store.commit(Check(A, None), Put(B, {}))

    def test_a_new_item_takes_the_place_of_an_expired_one(
        self, store: KeyValue, clock: Clock
    ) -> None:
        store.commit(
            Put(A, {"life": 1}, counters={"old": 1}, due=Due("q", 1), expires_at_ms=LATER_MS)
        )
        past = version_of(store, A)
        clock.now_ms = LATER_MS
        store.commit(Put(A, {"life": 2}, counters={"new": 2}))
        assert counters_of(store, A) == {"new": 2}
        assert version_of(store, A) != past
        _is_due(store, [], until_ms=1)
        assert [item.value for item in store.query("jobs")] == [{"life": 2}]

    def test_an_item_may_be_born_expired(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, expires_at_ms=START_MS))
        assert store.get(A) is None
        store.commit(Put(A, {"n": 2}))
        assert store.get(A) is not None

    def test_a_put_may_prolong_or_end_expiry(self, store: KeyValue, clock: Clock) -> None:
        store.commit(Put(A, {}, expires_at_ms=LATER_MS), Put(B, {}, expires_at_ms=LATER_MS))
        store.commit(
            Put(A, {}, replaces=version_of(store, A), expires_at_ms=LATER_MS + 1),
            Put(B, {}, replaces=version_of(store, B)),
        )
        clock.now_ms = LATER_MS
        assert sorts_of(store, "jobs") == ["a", "b"]
        clock.now_ms = LATER_MS + 1
        assert sorts_of(store, "jobs") == ["b"]

    def test_expired_items_do_not_fill_a_page(self, store: KeyValue, clock: Clock) -> None:
        store.commit(*(Put(Key("p", f"{n}"), {}, expires_at_ms=LATER_MS) for n in range(5)))
        store.commit(*(Put(Key("p", f"{n}"), {}) for n in range(5, 8)))
        clock.now_ms = LATER_MS
        assert [item.key.sort for item in store.query("p", limit=2)] == ["5", "6"]


def _due(store: KeyValue, *, until_ms: int) -> list[str]:
    return [item.key.sort for item in store.due("q", until_ms=until_ms, limit=100)]


def _is_due(store: KeyValue, expected: list[str], *, until_ms: int) -> None:
    agrees(lambda: _due(store, until_ms=until_ms), expected)
