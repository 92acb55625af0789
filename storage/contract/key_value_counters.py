"""Add: counters that guard themselves."""

import pytest

from storage.contract.key_value_case import START_MS, KeyValueCase, counters_of
from storage.kv import MAX_INTEGER, Add, Conflict, Due, Key, KeyValue, Put

A = Key("accounts", "a")


class Counters(KeyValueCase):
    """Floors, ceilings, the 53 bits, and what an Add leaves alone."""

    @pytest.mark.parametrize("amount", [3, -3, 0, MAX_INTEGER, -MAX_INTEGER])
    def test_an_add_moves_an_absent_counter_from_zero(self, store: KeyValue, amount: int) -> None:
        store.commit(Put(A, {}))
        store.commit(Add(A, {"left": amount}))
        assert counters_of(store, A) == {"left": amount}

    def test_adds_sum_up_by_name(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": 10, "other": 1}))
        store.commit(Add(A, {"left": -4, "held": 4}))
        store.commit(Add(A, {"left": -6, "held": 6}))
        assert counters_of(store, A) == {"left": 0, "held": 10, "other": 1}

    def test_counter_names_are_any_text(self, store: KeyValue) -> None:
        names = ["é", "a b", "a.b", "$[0]", '"', "'; --"]
        store.commit(Put(A, {}, counters=dict.fromkeys(names, 1)))
        store.commit(Add(A, dict.fromkeys(names, 1)))
        assert counters_of(store, A) == dict.fromkeys(names, 2)

    def test_an_add_changes_nothing_but_counters(self, store: KeyValue) -> None:
        put = Put(A, {"n": [1.5, "é"]}, due=Due("q", 5), expires_at_ms=START_MS + 9)
        store.commit(put)
        before = store.get(A)
        store.commit(Add(A, {"left": 1}))
        after = store.get(A)
        assert before is not None
        assert after is not None
        assert after.counters == {"left": 1}
        assert (after.value, after.version, after.due, after.expires_at_ms) == (
            before.value,
            before.version,
            before.due,
            before.expires_at_ms,
        )

    def test_a_put_of_a_version_read_before_an_add_goes_through(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": 1}))
        read = store.get(A)
        assert read is not None
        store.commit(Add(A, {"left": 1}))
        store.commit(Put(A, {"n": 2}, replaces=read.version))
        assert counters_of(store, A) == {"left": 2}

    def test_an_add_to_an_absent_item_is_refused(self, store: KeyValue) -> None:
        with pytest.raises(Conflict):
            store.commit(Add(A, {"left": 1}))
        assert store.get(A) is None

    @pytest.mark.parametrize("floor", [0, 3, -3])
    def test_a_floor_may_be_reached_but_not_passed(self, store: KeyValue, floor: int) -> None:
        store.commit(Put(A, {}, counters={"left": 10}))
        store.commit(Add(A, {"left": floor - 10}, floors={"left": floor}))
        _refuses(store, Add(A, {"left": -1}, floors={"left": floor}))
        assert counters_of(store, A) == {"left": floor}

    @pytest.mark.parametrize("ceiling", [0, 3, -3])
    def test_a_ceiling_may_be_reached_but_not_passed(self, store: KeyValue, ceiling: int) -> None:
        store.commit(Put(A, {}, counters={"used": -10}))
        store.commit(Add(A, {"used": ceiling + 10}, ceilings={"used": ceiling}))
        _refuses(store, Add(A, {"used": 1}, ceilings={"used": ceiling}))
        assert counters_of(store, A) == {"used": ceiling}

    def test_an_absent_counter_meets_bounds_as_zero(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        _refuses(store, Add(A, {"left": -1}, floors={"left": 0}))
        _refuses(store, Add(A, {"left": 1}, ceilings={"left": 0}))
        store.commit(Add(A, {"left": 1}, floors={"left": 1}, ceilings={"left": 1}))
        assert counters_of(store, A) == {"left": 1}

    def test_bounds_hold_for_counters_that_are_not_moved(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": 5}))
        _refuses(store, Add(A, {"other": 1}, floors={"left": 6}))
        _refuses(store, Add(A, {"other": 1}, ceilings={"left": 4}))
        _refuses(store, Add(A, {}, floors={"absent": 1}))
        store.commit(Add(A, {}, floors={"left": 5, "absent": 0}, ceilings={"left": 5}))
        assert counters_of(store, A) == {"left": 5}

    def test_a_bound_is_about_the_end_not_the_way(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": -5}))
        _refuses(store, Add(A, {"left": 4}, floors={"left": 0}))
        store.commit(Add(A, {"left": 5}, floors={"left": 0}))
        assert counters_of(store, A) == {"left": 0}

    def test_one_bound_of_many_refuses_them_all(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"a": 5, "b": 5}))
        _refuses(store, Add(A, {"a": -1, "b": -6}, floors={"a": 0, "b": 0}))
        assert counters_of(store, A) == {"a": 5, "b": 5}

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_counter_never_leaves_53_bits(self, store: KeyValue, sign: int) -> None:
        store.commit(Put(A, {}, counters={"n": sign * (MAX_INTEGER - 1)}))
        store.commit(Add(A, {"n": sign}))
        _refuses(store, Add(A, {"n": sign}))
        assert counters_of(store, A) == {"n": sign * MAX_INTEGER}

    def test_a_refused_add_takes_the_commit_with_it(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": 1}))
        row = Key("ledger", "hold")
        add = Add(A, {"left": -2}, floors={"left": 0})
        with pytest.raises(Conflict) as refusal:
            store.commit(Put(row, {}), add)
        assert refusal.value.change is add
        assert store.get(row) is None


def _refuses(store: KeyValue, add: Add) -> None:
    before = store.get(add.key)
    with pytest.raises(Conflict) as refusal:
        store.commit(add)
    assert refusal.value.change is add
    assert store.get(add.key) == before
