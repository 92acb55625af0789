"""Limits: what fits exactly, and what is one too much."""

import pytest

from storage.contract.key_value_case import KeyValueCase, counters_of, sorts_of, version_of
from storage.kv import (
    MAX_CHANGES,
    MAX_COMMIT_BYTES,
    MAX_INTEGER,
    MAX_NAME_BYTES,
    MAX_VALUE_BYTES,
    Add,
    Change,
    Check,
    Delete,
    Due,
    Key,
    KeyValue,
    LimitExceeded,
    Put,
)

A = Key("p", "a")
LONG = "x" * MAX_NAME_BYTES
LONG_E = "é" * (MAX_NAME_BYTES // 2)
ENVELOPE_BYTES = len('{"x":""}')

BAD_NAMES = ["", LONG + "x", LONG_E + "x", "zero \0 byte", "half a pair \ud800"]


def of_size(size_bytes: int) -> dict[str, str]:
    """A value whose canonical JSON has that many bytes."""
    return {"x": "v" * (size_bytes - ENVELOPE_BYTES)}


def changes_that(name: str) -> list[Change]:
    """Changes that use a name in every place that takes one."""
    return [
        Put(Key(name, "a"), {}),
        Put(Key("p", name), {}),
        Put(A, {}, due=Due(name, 1)),
        Put(A, {}, counters={name: 1}),
        Add(A, {name: 1}),
        Add(A, {}, floors={name: 0}),
        Add(A, {}, ceilings={name: 0}),
        Check(Key("p", name), None),
        Delete(Key(name, "a"), replaces=1),
    ]


def changes_with(number: int) -> list[Change]:
    """Changes that use a number in every place that takes one."""
    return [
        Put(A, {}, counters={"n": number}),
        Put(A, {}, due=Due("q", number)),
        Put(A, {}, expires_at_ms=number),
        Add(A, {"n": number}),
        Add(A, {}, floors={"n": number}),
        Add(A, {}, ceilings={"n": number}),
    ]


class Limits(KeyValueCase):
    """Every limit at its boundary and one past it."""

    def test_a_commit_has_at_most_25_changes(self, store: KeyValue) -> None:
        puts = [Put(Key("p", f"{n:02}"), {}) for n in range(MAX_CHANGES + 1)]
        _refuses(store, *puts)
        store.commit(*puts[:MAX_CHANGES])
        assert len(sorts_of(store, "p")) == MAX_CHANGES

    def test_a_commit_of_nothing_is_refused(self, store: KeyValue) -> None:
        _refuses(store)

    @pytest.mark.parametrize(
        "second", [Put(A, {"n": 2}), Add(A, {"n": 1}), Check(A, None), Delete(A, replaces=1)]
    )
    def test_two_changes_of_one_item_are_refused(self, store: KeyValue, second: Change) -> None:
        _refuses(store, Put(A, {"n": 1}), second)
        _refuses(store, second, Put(A, {"n": 1}))

    def test_a_value_has_at_most_64_kib(self, store: KeyValue) -> None:
        _refuses(store, Put(A, of_size(MAX_VALUE_BYTES + 1)))
        store.commit(Put(A, of_size(MAX_VALUE_BYTES)))
        item = store.get(A)
        assert item is not None
        assert item.value == of_size(MAX_VALUE_BYTES)

    def test_a_value_is_measured_in_bytes_not_characters(self, store: KeyValue) -> None:
        _refuses(store, Put(A, {"x": "é" * (MAX_VALUE_BYTES // 2)}))

    def test_a_commit_has_at_most_256_kib(self, store: KeyValue) -> None:
        part = of_size(MAX_COMMIT_BYTES // 8)
        parts = [Put(Key("p", f"{n}"), part) for n in range(7)]
        _refuses(store, *parts, Put(A, of_size(MAX_COMMIT_BYTES // 8 + 1)))
        store.commit(*parts, Put(A, part))
        assert [item.value for item in store.query("p")] == [part] * 8

    @pytest.mark.parametrize("name", ["x", LONG, LONG_E])
    def test_names_have_up_to_512_bytes(self, store: KeyValue, name: str) -> None:
        store.commit(Put(Key(name, name), {}, counters={name: 1}, due=Due(name, 1)))
        store.commit(Add(Key(name, name), {name: 1}, floors={name: 2}, ceilings={name: 2}))
        assert counters_of(store, Key(name, name)) == {name: 2}
        assert sorts_of(store, name) == [name]
        assert [item.key.sort for item in store.due(name, until_ms=1, limit=1)] == [name]

    @pytest.mark.parametrize("name", BAD_NAMES)
    @pytest.mark.parametrize("place", range(len(changes_that("x"))))
    def test_other_names_are_refused_everywhere(
        self, store: KeyValue, name: str, place: int
    ) -> None:
        _refuses(store, changes_that(name)[place])

    @pytest.mark.parametrize("number", [MAX_INTEGER, -MAX_INTEGER])
    def test_integers_have_53_bits(self, store: KeyValue, number: int) -> None:
        store.commit(Put(A, {}, counters={"n": number}, due=Due("q", number)))
        assert counters_of(store, A) == {"n": number}
        assert [item.due for item in store.due("q", until_ms=number, limit=1)] == [Due("q", number)]

    def test_expiry_has_53_bits(self, store: KeyValue) -> None:
        store.commit(Put(A, {}, expires_at_ms=MAX_INTEGER))
        item = store.get(A)
        assert item is not None
        assert item.expires_at_ms == MAX_INTEGER

    @pytest.mark.parametrize("number", [MAX_INTEGER + 1, -MAX_INTEGER - 1])
    @pytest.mark.parametrize("place", range(len(changes_with(0))))
    def test_longer_integers_are_refused_everywhere(
        self, store: KeyValue, number: int, place: int
    ) -> None:
        _refuses(store, changes_with(number)[place])

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "half a pair \ud800"])
    def test_a_value_that_is_not_json_is_refused(self, store: KeyValue, value: float | str) -> None:
        _refuses(store, Put(A, {"x": [value]}))

    def test_counters_are_given_only_to_a_new_item(self, store: KeyValue) -> None:
        store.commit(Put(A, {}))
        with pytest.raises(LimitExceeded):
            store.commit(Put(A, {"n": 2}, replaces=version_of(store, A), counters={"n": 1}))
        assert counters_of(store, A) == {}


def _refuses(store: KeyValue, *changes: Change) -> None:
    """The changes are beyond a limit, and the store stays as empty as it was."""
    with pytest.raises(LimitExceeded):
        store.commit(*changes)
    assert store.query("p") == []
