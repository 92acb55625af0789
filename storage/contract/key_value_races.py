"""Races: threads, processes, and a writer that is killed."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from storage.contract.key_value_case import Backend, KeyValueCase, counters_of, sorts_of, version_of
from storage.contract.processes import barrier, reports_until_killed, results, started
from storage.contract.writers import (
    ACCOUNT,
    LEDGER,
    PRICE_CREDITS,
    commit_until_killed,
    debit,
    debit_until_refused,
)
from storage.kv import Add, Conflict, Key, KeyValue, Put

WRITERS = 8
BALANCE_CREDITS = 1000
MAX_WAIT_S = 60


class Races(KeyValueCase):
    """What holds while everybody writes at once."""

    def test_threads_never_oversell(self, store: KeyValue) -> None:
        store.commit(Put(ACCOUNT, {}, counters={"credits": BALANCE_CREDITS}))
        start = Barrier(WRITERS, timeout=MAX_WAIT_S)

        def spend(writer: int) -> int:
            start.wait()
            return debit_until_refused(store, f"{writer}")

        with ThreadPoolExecutor(WRITERS) as pool:
            acknowledged = sum(pool.map(spend, range(WRITERS)))
        _accounts_agree(store, acknowledged)

    def test_processes_never_oversell(self, store: KeyValue, backend: Backend) -> None:
        store.commit(Put(ACCOUNT, {}, counters={"credits": BALANCE_CREDITS}))
        start = barrier(WRITERS)
        running = [started(debit, backend, f"{n}", start) for n in range(WRITERS)]
        _accounts_agree(store, sum(results(running)))

    def test_adds_meet_no_conflict(self, store: KeyValue) -> None:
        store.commit(Put(ACCOUNT, {}))
        start = Barrier(WRITERS, timeout=MAX_WAIT_S)

        def add(_: int) -> None:
            start.wait()
            for _ in range(25):
                store.commit(Add(ACCOUNT, {"n": 1}))

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(add, range(WRITERS)))
        assert counters_of(store, ACCOUNT) == {"n": 25 * WRITERS}

    def test_of_many_that_replace_one_version_one_wins(self, store: KeyValue) -> None:
        key = Key("p", "a")
        store.commit(Put(key, {"round": 0}))
        start = Barrier(WRITERS, timeout=MAX_WAIT_S)

        def replace(writer: int) -> int:
            wins = 0
            for round_ in range(1, 11):
                start.wait()
                version = version_of(store, key)
                start.wait()
                try:
                    store.commit(Put(key, {"round": round_, "by": writer}, replaces=version))
                    wins += 1
                except Conflict:
                    continue
            return wins

        with ThreadPoolExecutor(WRITERS) as pool:
            assert sum(pool.map(replace, range(WRITERS))) == 10

    def test_of_many_that_make_one_item_one_wins(self, store: KeyValue) -> None:
        start = Barrier(WRITERS, timeout=MAX_WAIT_S)

        def make(writer: int) -> list[int]:
            start.wait()
            return [n for n in range(20) if _is_made(store, Key("p", f"{n}"), writer)]

        with ThreadPoolExecutor(WRITERS) as pool:
            won = {writer: set(ns) for writer, ns in enumerate(pool.map(make, range(WRITERS)))}
        for item in store.query("p"):
            makers = [writer for writer, ns in won.items() if int(item.key.sort) in ns]
            assert makers == [item.value["by"]]
        assert len(sorts_of(store, "p")) == 20

    def test_a_killed_writer_loses_nothing_and_leaves_no_half(
        self, store: KeyValue, backend: Backend
    ) -> None:
        store.commit(Put(ACCOUNT, {}, counters={"rows": 0}))
        acknowledged: set[str] = set()
        for life, after in enumerate((1, 7, 30, 80)):
            process, reports = started(commit_until_killed, backend, life)
            received = reports_until_killed(process, reports, after=after)
            acknowledged |= {f"{life}-{n:05}" for n in received}
            rows = sorts_of(store, "left")
            assert rows == sorts_of(store, "right")
            assert counters_of(store, ACCOUNT) == {"rows": len(rows)}
            assert acknowledged <= set(rows)
            assert len(rows) <= len(acknowledged) + life + 1  # one a life may be unacknowledged


def _is_made(store: KeyValue, key: Key, writer: int) -> bool:
    try:
        store.commit(Put(key, {"by": writer}))
    except Conflict:
        return False
    return True


def _accounts_agree(store: KeyValue, acknowledged: int) -> None:
    counters = counters_of(store, ACCOUNT)
    assert acknowledged == BALANCE_CREDITS // PRICE_CREDITS
    assert counters["credits"] == BALANCE_CREDITS - acknowledged * PRICE_CREDITS
    assert counters["holds"] == acknowledged
    assert len(sorts_of(store, LEDGER)) == acknowledged
