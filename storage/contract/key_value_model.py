"""Random histories against the obvious model: a dict of items."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from storage.contract.key_value_case import Backend, Clock, KeyValueCase, agrees, version_of
from storage.kv import Add, Change, Check, Conflict, Delete, Due, Item, Key, Put

STEPS = 25

KEYS = [Key(partition, sort) for partition in ("p", "q") for sort in ("a", "z", "é")]
QUEUES = ["jobs", "mail"]

keys = st.sampled_from(KEYS)
names = st.sampled_from(["left", "held"])
values = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)
amounts = st.dictionaries(names, st.integers(-3, 3), max_size=2)
moments = st.integers(0, 60)
dues = st.none() | st.builds(Due, st.sampled_from(QUEUES), moments)
expiries = st.none() | moments
changes = st.one_of(
    st.builds(Put, keys, values, counters=amounts, due=dues, expires_at_ms=expiries),
    st.builds(Put, keys, values, replaces=st.just(0), due=dues, expires_at_ms=expiries),
    st.builds(Add, keys, amounts, floors=amounts, ceilings=amounts),
    st.builds(Check, keys, st.none() | st.just(0)),
    st.builds(Delete, keys, replaces=st.just(0)),
)
commits = st.lists(changes, min_size=1, max_size=4, unique_by=lambda change: change.key)


class History(RuleBasedStateMachine):
    """Commits, purges and passing time; after each, store and model agree on every read.

    In a drawn change, version 0 stands for the version that the item has (or last had).
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.clock = Clock(now_ms=0)
        self.store = backend.open(clock=self.clock)
        self.items: dict[Key, Item] = {}
        self.versions: dict[Key, list[int]] = {key: [] for key in KEYS}

    def teardown(self) -> None:
        self.store.close()

    @rule(drawn=commits)
    def commit(self, drawn: list[Change]) -> None:
        asked = [self._with_last_version(change) for change in drawn]
        refused = next((change for change in asked if not self._holds(change)), None)
        assert self._refusal_of(asked) is refused
        if refused is None:
            for change in asked:
                self._apply(change)

    @rule(passing_ms=st.integers(1, 20))
    def wait(self, passing_ms: int) -> None:
        self.clock.now_ms += passing_ms

    @precondition(lambda self: self.items)
    @rule(limit=st.integers(1, 3))
    def purge(self, limit: int) -> None:
        expired = [key for key in self.items if self._live(key) is None]
        assert self.store.purge(limit=limit) <= min(limit, len(expired))

    @invariant()
    def every_get_agrees(self) -> None:
        assert [self.store.get(key) for key in KEYS] == [self._live(key) for key in KEYS]

    @invariant()
    def every_query_agrees(self) -> None:
        for partition in ("p", "q"):
            live = [item for item in self._all_live() if item.key.partition == partition]
            assert self.store.query(partition) == live
            assert self.store.query(partition, newest_first=True) == live[::-1]
            assert (
                self.store.query(partition, after="a", limit=1)
                == [item for item in live if item.key.sort > "a"][:1]
            )

    @invariant()
    def every_queue_agrees(self) -> None:
        for queue in QUEUES:
            expected = [
                item.key
                for item in self._all_live()
                if item.due and item.due.queue == queue and item.due.at_ms <= 30
            ]
            agrees(partial(self._keys_due, queue), expected)

    def _keys_due(self, queue: str) -> list[Key]:
        found = self.store.due(queue, until_ms=30, limit=100)
        moments_ms = [item.due.at_ms for item in found if item.due]
        assert moments_ms == sorted(moments_ms)
        return sorted(item.key for item in found)

    def _refusal_of(self, asked: list[Change]) -> Change | None:
        try:
            self.store.commit(*asked)
        except Conflict as conflict:
            return conflict.change
        return None

    def _with_last_version(self, change: Change) -> Change:
        last = next(reversed(self.versions[change.key]), 0)
        match change:
            case Put(replaces=0) | Delete(replaces=0):
                return replace(change, replaces=last)
            case Check(version=0):
                return replace(change, version=last)
            case _:
                return change

    def _live(self, key: Key) -> Item | None:
        item = self.items.get(key)
        if item is None or item.expires_at_ms is None or item.expires_at_ms > self.clock.now_ms:
            return item
        return None

    def _all_live(self) -> list[Item]:
        return [item for key in KEYS if (item := self._live(key))]

    def _holds(self, change: Change) -> bool:
        item = self._live(change.key)
        version = None if item is None else item.version
        match change:
            case Put() | Delete():
                return change.replaces == version
            case Check():
                return change.version == version
            case Add():
                return item is not None and _is_within(change, _sums(change, item))

    def _apply(self, change: Change) -> None:
        item = self._live(change.key)
        match change:
            case Put(key, value):
                # What is expired from its birth on cannot be read: it gets a version of its own.
                unread = -1 - len(self.versions[key])
                version = version_of(self.store, key) if self._is_alive(change) else unread
                assert version not in self.versions[key]
                self.versions[key].append(version)
                counters = item.counters if item else change.counters
                self.items[key] = Item(
                    key, value, version, counters, change.due, change.expires_at_ms
                )
            case Add() if item:
                self.items[change.key] = replace(item, counters=_sums(change, item))
            case Delete():
                del self.items[change.key]

    def _is_alive(self, put: Put) -> bool:
        return put.expires_at_ms is None or put.expires_at_ms > self.clock.now_ms


def _sums(add: Add, item: Item) -> dict[str, int]:
    moved = {name: item.counters.get(name, 0) + amount for name, amount in add.amounts.items()}
    return {**item.counters, **moved}


def _is_within(add: Add, sums: dict[str, int]) -> bool:
    return all(sums.get(name, 0) >= floor for name, floor in add.floors.items()) and all(
        sums.get(name, 0) <= ceiling for name, ceiling in add.ceilings.items()
    )


class Model(KeyValueCase):
    """The store is a dict with conditions."""

    def test_every_history_agrees_with_a_dict(self, tmp_path: Path) -> None:
        backends: list[Backend] = []

        def history() -> History:
            place = tmp_path / f"{len(backends)}"
            place.mkdir()
            backends.append(self.new_backend(place))
            return History(backends[-1])

        try:
            # No shrinking: every step of a shorter history would reach the disk again, for minutes.
            run_state_machine_as_test(
                history,  # type: ignore[arg-type]  # any callable will do
                settings=settings(
                    max_examples=self.histories,
                    stateful_step_count=STEPS,
                    phases=[Phase.generate],
                    deadline=None,
                    database=None,
                ),
            )
        finally:
            for backend in backends:
                backend.discard()
