"""Put, Check and Delete: their conditions, and what they leave behind."""

from types import MappingProxyType
from typing import Any

import pytest

from storage.contract.key_value_case import START_MS, Backend, Clock, KeyValueCase, version_of
from storage.kv import (
    Add,
    Change,
    Check,
    Conflict,
    Delete,
    Due,
    Item,
    Key,
    KeyValue,
    Put,
)

A = Key("things", "a")
B = Key("things", "b")
C = Key("things", "c")

VALUES: list[dict[str, Any]] = [
    {},
    {"text": "plain", "empty": "", "zero": 0, "no": False, "none": None},
    {"nested": {"list": [1, [2, {"three": 3}]]}},
    {"numbers": [0.1, -1.5e300, 2**53 - 1, -(2**63)]},
    {"écran": '日本語 🖼 \u0000 \u2028 "quoted" \\ \n'},
    {"": "an empty name"},
]


class Changes(KeyValueCase):
    """What a commit may do to items, and when it may not."""

    def test_what_was_never_put_is_absent(self, store: KeyValue) -> None:
        assert store.get(A) is None
        assert store.query("things") == []

    def test_everything_put_comes_back(self, store: KeyValue) -> None:
        put = Put(A, {"n": 1}, counters={"left": 5}, due=Due("q", 7), expires_at_ms=START_MS + 9)
        store.commit(put)
        assert store.get(A) == Item(
            A, {"n": 1}, version_of(store, A), {"left": 5}, Due("q", 7), START_MS + 9
        )

    @pytest.mark.parametrize("value", VALUES)
    def test_values_come_back_equal(self, store: KeyValue, value: dict[str, Any]) -> None:
        store.commit(Put(A, value))
        item = store.get(A)
        assert item is not None
        assert item.value == value

    @pytest.mark.parametrize("value", [{"n": 1}, {"n": 1.0}, {"n": True}])
    def test_types_survive(self, store: KeyValue, value: dict[str, Any]) -> None:
        store.commit(Put(A, value))
        item = store.get(A)
        assert item is not None
        assert type(item.value["n"]) is type(value["n"])

    def test_any_mapping_is_a_value_and_comes_back_a_dict(self, store: KeyValue) -> None:
        store.commit(Put(A, MappingProxyType({"n": 1}), counters=MappingProxyType({"left": 1})))
        item = store.get(A)
        assert item is not None
        assert type(item.value) is dict
        assert item.value == {"n": 1}
        assert item.counters == {"left": 1}

    def test_a_value_read_can_be_changed_without_changing_the_store(self, store: KeyValue) -> None:
        store.commit(Put(A, {"n": 1}))
        item = store.get(A)
        assert item is not None
        assert isinstance(item.value, dict)
        item.value["n"] = 2
        again = store.get(A)
        assert again is not None
        assert again.value == {"n": 1}

    @pytest.mark.parametrize(
        "text", ["é", "日本", "🖼", "a b", "a#b/c", "'; --", "%_", "\x01", "\uff21"]
    )
    def test_keys_are_any_text(self, store: KeyValue, text: str) -> None:
        key = Key(f"p{text}", f"s{text}")
        store.commit(Put(key, {"here": text}))
        item = store.get(key)
        assert item is not None
        assert item.key == key
        assert [found.key for found in store.query(key.partition)] == [key]

    def test_keys_differ_by_case_and_by_normal_form(self, store: KeyValue) -> None:
        texts = ["a", "A", "e\u0301", "\u00e9", "a ", " a"]
        store.commit(*(Put(Key("things", text), {"is": text}) for text in texts))
        assert [
            item.value["is"] if (item := store.get(Key("things", text))) else None for text in texts
        ] == texts

    def test_partitions_do_not_mix(self, store: KeyValue) -> None:
        store.commit(Put(Key("p", "x"), {"in": "p"}), Put(Key("px", "x"), {"in": "px"}))
        assert [item.value for item in store.query("p")] == [{"in": "p"}]

    def test_a_put_of_something_new_refuses_what_is_there(self, store: KeyValue) -> None:
        store.commit(Put(A, {"n": 1}))
        assert _refused(store, Put(A, {"n": 2})) == Put(A, {"n": 2})
        _holds(store, A, {"n": 1})

    def test_a_put_replaces_the_version_it_read(self, store: KeyValue) -> None:
        store.commit(Put(A, {"n": 1, "old": True}))
        store.commit(Put(A, {"n": 2}, replaces=version_of(store, A)))
        _holds(store, A, {"n": 2})

    def test_a_put_refuses_a_version_that_is_past(self, store: KeyValue) -> None:
        store.commit(Put(A, {"n": 1}))
        past = version_of(store, A)
        store.commit(Put(A, {"n": 2}, replaces=past))
        _refused(store, Put(A, {"n": 3}, replaces=past))
        _holds(store, A, {"n": 2})

    def test_a_put_refuses_to_replace_what_is_absent(self, store: KeyValue) -> None:
        _refused(store, Put(A, {}, replaces=1))
        assert store.get(A) is None

    def test_a_put_writes_the_whole_item_anew(self, store: KeyValue) -> None:
        store.commit(Put(A, {"n": 1}, due=Due("q", 1), expires_at_ms=START_MS + 1))
        store.commit(Put(A, {"n": 2}, replaces=version_of(store, A)))
        item = store.get(A)
        assert item is not None
        assert item.due is None
        assert item.expires_at_ms is None

    def test_a_put_keeps_the_counters(self, store: KeyValue) -> None:
        store.commit(Put(A, {"n": 1}, counters={"left": 5}))
        store.commit(Add(A, {"left": -2, "used": 2}))
        store.commit(Put(A, {"n": 2}, replaces=version_of(store, A)))
        item = store.get(A)
        assert item is not None
        assert item.counters == {"left": 3, "used": 2}

    def test_every_put_gives_a_new_version_within_53_bits(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        versions = [version_of(store, A)]
        for _ in range(20):
            store.commit(Put(A, {}, replaces=versions[-1]))
            versions.append(version_of(store, A))
        assert len(set(versions)) == len(versions)
        assert all(0 <= version < 2**53 for version in versions)

    def test_versions_never_repeat_after_a_delete(self, store: KeyValue) -> None:
        versions = []
        for _ in range(20):
            store.commit(Put(A, {"the": "same"}))
            versions.append(version_of(store, A))
            store.commit(Delete(A, replaces=versions[-1]))
        assert len(set(versions)) == len(versions)

    def test_a_version_from_before_a_delete_is_refused(self, store: KeyValue) -> None:
        store.commit(Put(A, {"life": 1}))
        past = version_of(store, A)
        store.commit(Delete(A, replaces=past))
        store.commit(Put(A, {"life": 2}))
        for change in (Put(A, {}, replaces=past), Check(A, past), Delete(A, replaces=past)):
            _refused(store, change)
        _holds(store, A, {"life": 2})

    def test_a_check_holds_for_the_version_read(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        version = version_of(store, A)
        store.commit(Check(A, version), Put(B, {"written": True}))
        _holds(store, B, {"written": True})
        assert version_of(store, A) == version

    def test_a_check_refuses_another_version(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        check = Check(A, version_of(store, A) ^ 1)
        assert _refused(store, Put(B, {}), check) == check
        assert store.get(B) is None

    def test_a_check_for_absence_holds_and_writes_nothing(self, store: KeyValue) -> None:
        store.commit(Check(A, None), Put(B, {}))
        assert store.get(A) is None

    def test_a_check_for_absence_refuses_what_is_there(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        _refused(store, Check(A, None))

    def test_a_check_for_a_version_refuses_what_is_absent(self, store: KeyValue) -> None:
        _refused(store, Check(A, 1))

    def test_a_delete_removes(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": 1}, due=Due("q", 1)))
        store.commit(Delete(A, replaces=version_of(store, A)))
        assert store.get(A) is None
        assert store.query("things") == []
        assert store.due("q", until_ms=1, limit=1) == []

    def test_a_delete_refuses_a_version_that_is_past(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        past = version_of(store, A)
        store.commit(Put(A, {"n": 2}, replaces=past))
        _refused(store, Delete(A, replaces=past))
        _holds(store, A, {"n": 2})

    def test_a_delete_refuses_what_is_absent(self, store: KeyValue) -> None:
        _refused(store, Delete(A, replaces=1))

    def test_counters_do_not_outlive_a_delete(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": 5}))
        store.commit(Delete(A, replaces=version_of(store, A)))
        store.commit(Put(A, {}))
        item = store.get(A)
        assert item is not None
        assert item.counters == {}

    @pytest.mark.parametrize("place", [0, 1, 2, 3])
    def test_one_refusal_anywhere_means_that_nothing_was_written(
        self, store: KeyValue, place: int
    ) -> None:
        store.commit(Put(A, {"n": 1}, counters={"left": 1}), Put(B, {"n": 1}))
        before = store.query("things")
        changes: list[Change] = [
            Add(A, {"left": 1}),
            Delete(B, replaces=version_of(store, B)),
            Put(C, {"n": 1}),
        ]
        refused = Check(Key("things", "d"), 1)
        changes.insert(place, refused)
        assert _refused(store, *changes) is refused
        assert store.query("things") == before

    def test_a_conflict_names_the_first_of_several_refusals(self, store: KeyValue) -> None:
        changes = (Put(A, {}), Check(B, 1), Add(C, {"n": 1}))
        assert _refused(store, *changes) is changes[1]
        assert _refused(store, *reversed(changes)) is changes[2]

    def test_a_conflict_says_what_and_where(self, store: KeyValue) -> None:
        with pytest.raises(Conflict, match=r"^Check things a$"):
            store.commit(Check(A, 1))

    def test_the_store_works_on_after_a_conflict(self, store: KeyValue) -> None:
        _refused(store, Check(A, 1))
        store.commit(Put(A, {"n": 1}))
        _holds(store, A, {"n": 1})

    def test_all_kinds_of_change_in_one_commit(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, counters={"left": 2}), Put(B, {}), Put(C, {}))
        store.commit(
            Add(A, {"left": -1}, floors={"left": 0}),
            Delete(B, replaces=version_of(store, B)),
            Check(C, version_of(store, C)),
            Put(Key("other", "d"), {"made": True}),
        )
        assert [item.key for item in store.query("things")] == [A, C]
        _holds(store, Key("other", "d"), {"made": True})

    def test_reopening_sees_everything(
        self, store: KeyValue, backend: Backend, clock: Clock
    ) -> None:
        store.commit(Put(A, {"n": 1}, counters={"left": 1}, due=Due("q", 1)), Put(B, {}))
        store.commit(Add(A, {"left": 1}))
        before = store.query("things")
        store.close()
        again = backend.open(clock=clock)
        assert again.query("things") == before
        assert [item.key for item in again.due("q", until_ms=1, limit=10)] == [A]
        again.close()

    def test_two_open_stores_see_each_other_at_once(
        self, store: KeyValue, backend: Backend, clock: Clock
    ) -> None:
        other = backend.open(clock=clock)
        for n in range(10):
            store.commit(Put(Key("mine", f"{n}"), {}))
            assert other.get(Key("mine", f"{n}")) is not None
            other.commit(Put(Key("theirs", f"{n}"), {}))
            assert store.get(Key("theirs", f"{n}")) is not None
        other.close()


def _refused(store: KeyValue, *changes: Change) -> Change:
    with pytest.raises(Conflict) as refusal:
        store.commit(*changes)
    return refusal.value.change


def _holds(store: KeyValue, key: Key, value: dict[str, Any]) -> None:
    item = store.get(key)
    assert item is not None
    assert item.value == value
