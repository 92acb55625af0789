"""What the tests run in processes of their own: writers that race, and writers that are killed."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Protocol

from storage.kv import Add, Conflict, Key, KeyValue, Put
from storage.objects import Objects

ACCOUNT = Key("accounts", "a")
LEDGER = "ledger"
PRICE_CREDITS = 7
MAX_TRIES = 10_000


class Store(Protocol):
    """A store that another process can open."""

    def open(self, *, clock: Callable[[], int]) -> KeyValue: ...


class Folder(Protocol):
    """An object store that another process can open."""

    def open(self) -> Objects: ...


def still() -> int:
    """A clock for races in which time plays no part."""
    return 0


def debit_until_refused(store: KeyValue, writer: str) -> int:
    """Hold the price again and again until the balance is too low; how many were acknowledged."""
    for n in range(MAX_TRIES):
        hold = Put(Key(LEDGER, f"hold:{writer}-{n}"), {"price": PRICE_CREDITS})
        spend = Add(ACCOUNT, {"credits": -PRICE_CREDITS, "holds": 1}, floors={"credits": 0})
        try:
            store.commit(hold, spend)
        except Conflict as conflict:
            if conflict.change is spend:
                return n
            raise
    raise AssertionError("the balance never ends")


def debit(backend: Store, writer: str, start: Barrier, report: Connection) -> None:
    """Debit beside others and report the number of acknowledged holds."""
    store = backend.open(clock=still)
    start.wait()
    report.send(debit_until_refused(store, writer))
    store.close()


def claim(backends: list[Store], writer: str, start: Barrier, report: Connection) -> None:
    """Open store after store at the same moment as others; report how many were ours first."""
    firsts = 0
    for backend in backends:
        start.wait()
        store = backend.open(clock=still)
        try:
            store.commit(Put(Key("claims", "one"), {"by": writer}))
            firsts += 1
        except Conflict:
            assert store.get(Key("claims", "one")) is not None
        finally:
            store.close()
    report.send(firsts)


def commit_until_killed(backend: Store, life: int, report: Connection) -> None:
    """Make rows that come in pairs, counted, and report each commit after it was acknowledged."""
    store = backend.open(clock=still)
    for n in range(MAX_TRIES):
        rows = [Put(Key(side, f"{life}-{n:05}"), {"n": n}) for side in ("left", "right")]
        store.commit(rows[0], Add(ACCOUNT, {"rows": 1}), rows[1])
        report.send(n)


def put_until_killed(backend: Folder, name: str, size_bytes: int, report: Connection) -> None:
    """Replace one object again and again by as many other bytes, each version of one letter."""
    objects = backend.open()
    for n in range(MAX_TRIES):
        objects.put(name, bytes([n % 256]) * size_bytes, content_type="image/png")
        report.send(n)


def put_first(
    backend: Folder, names: list[str], racer: str, start: Barrier, report: Connection
) -> None:
    """Race others for name after name; report the names that were won."""
    objects = backend.open()
    own = racer.encode()
    start.wait()
    report.send([n for n in names if objects.put_if_absent(n, own, content_type="image/png")])
