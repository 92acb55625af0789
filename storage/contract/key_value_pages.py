"""Queries: the order of a partition, and paging through it."""

import pytest

from storage.contract.key_value_case import KeyValueCase, sorts_of, version_of
from storage.kv import MAX_PAGE, Delete, Key, KeyValue, LimitExceeded, Put

BYTEWISE = ["!", "0", "10", "2", "A", "Z", "_", "a", "aa", "b", "\x7f", "é", "\uff5a", "🖼"]


class Pages(KeyValueCase):
    """Order, `after`, `limit` and `newest_first`."""

    def test_sorts_come_in_the_order_of_their_bytes(self, store: KeyValue) -> None:
        _fill(store, *reversed(BYTEWISE))
        assert sorted(BYTEWISE, key=str.encode) == BYTEWISE
        assert sorts_of(store, "p") == BYTEWISE

    def test_newest_first_is_the_reverse(self, store: KeyValue) -> None:
        _fill(store, *BYTEWISE)
        newest_first = [item.key.sort for item in store.query("p", newest_first=True)]
        assert newest_first == BYTEWISE[::-1]

    def test_an_unknown_partition_is_empty(self, store: KeyValue) -> None:
        _fill(store, "a")
        assert store.query("q") == []
        assert store.query("q", newest_first=True) == []

    @pytest.mark.parametrize("newest_first", [False, True])
    @pytest.mark.parametrize("limit", [1, 2, 13, 14, 15])
    def test_pages_join_into_the_whole(
        self, store: KeyValue, limit: int, newest_first: bool
    ) -> None:
        _fill(store, *BYTEWISE)
        expected = BYTEWISE[::-1] if newest_first else BYTEWISE
        after = None
        for start in range(0, len(expected), limit):
            page = store.query("p", after=after, limit=limit, newest_first=newest_first)
            assert [item.key.sort for item in page] == expected[start : start + limit]
            after = page[-1].key.sort
        assert store.query("p", after=after, newest_first=newest_first) == []

    def test_after_leaves_out_the_one_it_names(self, store: KeyValue) -> None:
        _fill(store, "a", "b", "c")
        assert [item.key.sort for item in store.query("p", after="b")] == ["c"]
        newest_first = store.query("p", after="b", newest_first=True)
        assert [item.key.sort for item in newest_first] == ["a"]

    def test_after_may_name_what_is_not_there(self, store: KeyValue) -> None:
        _fill(store, "a", "c")
        assert [item.key.sort for item in store.query("p", after="b")] == ["c"]
        newest_first = store.query("p", after="b", newest_first=True)
        assert [item.key.sort for item in newest_first] == ["a"]

    def test_nothing_comes_after_the_last(self, store: KeyValue) -> None:
        _fill(store, "a", "b")
        assert store.query("p", after="b") == []
        assert store.query("p", after="a", newest_first=True) == []

    def test_a_page_can_be_continued_when_its_last_item_is_gone(self, store: KeyValue) -> None:
        _fill(store, "a", "b", "c", "d")
        last = store.query("p", limit=2)[-1]
        store.commit(Delete(last.key, replaces=last.version))
        assert [item.key.sort for item in store.query("p", after=last.key.sort)] == ["c", "d"]

    def test_items_put_while_paging_appear_ahead_only(self, store: KeyValue) -> None:
        _fill(store, "b", "d")
        first = store.query("p", limit=1)
        _fill(store, "a", "c")
        rest = store.query("p", after=first[-1].key.sort)
        assert [item.key.sort for item in rest] == ["c", "d"]

    def test_a_query_returns_what_get_returns(self, store: KeyValue) -> None:
        store.commit(Put(Key("p", "a"), {"n": 1}, counters={"left": 3}))
        assert store.query("p") == [store.get(Key("p", "a"))]

    def test_a_replaced_item_appears_once(self, store: KeyValue) -> None:
        _fill(store, "a", "b")
        store.commit(Put(Key("p", "a"), {}, replaces=version_of(store, Key("p", "a"))))
        assert sorts_of(store, "p") == ["a", "b"]

    def test_a_page_holds_a_thousand_and_no_more(self, store: KeyValue) -> None:
        sorts = [f"{n:04}" for n in range(MAX_PAGE + 1)]
        for start in range(0, len(sorts), 25):
            _fill(store, *sorts[start : start + 25])
        assert [item.key.sort for item in store.query("p")] == sorts[:MAX_PAGE]
        assert len(store.query("p", limit=MAX_PAGE)) == MAX_PAGE

    @pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
    def test_other_pages_are_refused(self, store: KeyValue, limit: int) -> None:
        with pytest.raises(LimitExceeded):
            store.query("p", limit=limit)
        with pytest.raises(LimitExceeded):
            store.due("q", until_ms=1, limit=limit)
        with pytest.raises(LimitExceeded):
            store.purge(limit=limit)


def _fill(store: KeyValue, *sorts: str) -> None:
    store.commit(*(Put(Key("p", sort), {}) for sort in sorts))
