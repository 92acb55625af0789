"""Snapshots: the items of one query belong together, in stores that can promise it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from storage.contract.key_value_case import KeyValueCase, version_of
from storage.kv import Key, KeyValue, Put

READERS = 3


class Snapshots(KeyValueCase):
    """A query beside a commit."""

    def test_no_read_sees_half_a_commit(self, store: KeyValue) -> None:
        keys = [Key("pair", "a"), Key("pair", "b")]
        store.commit(*(Put(key, {"n": 0}) for key in keys))
        is_done = Event()

        def write() -> None:
            try:
                for n in range(1, 60):
                    store.commit(
                        *(Put(key, {"n": n}, replaces=version_of(store, key)) for key in keys)
                    )
            finally:
                is_done.set()

        def read(_: int) -> int:
            last = 0
            while not is_done.is_set():
                left, right = (item.value["n"] for item in store.query("pair"))
                assert left == right
                assert left >= last
                last = left
            return last

        with ThreadPoolExecutor(1 + READERS) as pool:
            writing = pool.submit(write)
            seen = list(pool.map(read, range(READERS)))
            writing.result()
        assert max(seen) > 0
