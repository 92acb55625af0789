"""What becomes of a commit and of a read in DynamoDB when the way there is disturbed."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter

import pytest
from botocore.exceptions import ClientError

from storage.addresses import DynamoAddress
from storage.contract.key_value_case import Clock, counters_of
from storage.dynamo import DynamoKeyValue
from storage.dynamo_client import IN_PROGRESS_PAUSE_S, MAX_TRIES, PATIENCE_S, Pace
from storage.dynamo_table import create_table
from storage.kv import (
    Add,
    Change,
    Check,
    Conflict,
    Delete,
    Due,
    Item,
    Key,
    Put,
    StoreError,
    Unavailable,
    Unknown,
)
from tests.faults import BATCH, INDEX_QUERY, Fault, FaultProxy

A = Key("p", "a")
B = Key("p", "b")
READ_TIMEOUT_S = 0.3
LATE_S = 0.6
WRITERS = 8
SPENDS = 15
SEED = 20_261_121

NAME = attrgetter("name")
READS = {"GetItem", "Query"}
OF_READS = [fault for fault in Fault if fault.suits("GetItem")]
OF_COMMITS = [fault for fault in Fault if fault.suits("TransactWriteItems")]
UNANSWERED = [fault for fault in OF_READS if fault not in (Fault.SLOW, Fault.DOUBLED)]
LOSES_ANSWER = [Fault.DROPPED, Fault.LATE_ANSWER, Fault.FAILED_AFTER, Fault.IN_PROGRESS]


@pytest.fixture(scope="module")
def table(aws_endpoint: str) -> DynamoAddress:
    address = DynamoAddress(f"table-{secrets.token_hex(8)}", "us-east-1", aws_endpoint)
    create_table(address)
    return address


@pytest.fixture
def proxy(table: DynamoAddress) -> Iterator[FaultProxy]:
    assert table.endpoint is not None
    with FaultProxy(table.endpoint, late_s=LATE_S).serving() as proxy:
        yield proxy


@pytest.fixture
def namespace() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def store(table: DynamoAddress, proxy: FaultProxy, namespace: str) -> Iterator[DynamoKeyValue]:
    store = disturbed(table, proxy, namespace)
    yield store
    store.close()


@pytest.fixture
def direct(table: DynamoAddress, namespace: str) -> Iterator[DynamoKeyValue]:
    """The same store without the proxy between."""
    store = DynamoKeyValue(table, clock=Clock(), namespace=namespace)
    yield store
    store.close()


def disturbed(
    table: DynamoAddress,
    proxy: FaultProxy,
    namespace: str,
    *,
    pace: Pace | None = None,
) -> DynamoKeyValue:
    """The store as it is seen through the proxy."""
    return DynamoKeyValue(
        table._replace(endpoint=proxy.url),
        clock=Clock(),
        namespace=namespace,
        read_timeout_s=READ_TIMEOUT_S,
        pace=pace or Pace(sleep=lambda _: None),
    )


@pytest.mark.parametrize("fault", OF_COMMITS, ids=NAME)
def test_a_commit_disturbed_once_happens_once(
    proxy: FaultProxy, store: DynamoKeyValue, direct: DynamoKeyValue, fault: Fault
) -> None:
    direct.commit(Put(A, {}, counters={"n": 0}))
    proxy.once(fault)
    store.commit(Add(A, {"n": 1}), Put(B, {}))
    proxy.settle()
    assert proxy.faults == {fault: 1}
    assert counters_of(direct, A) == {"n": 1}
    assert direct.get(B) is not None


@pytest.mark.parametrize("fault", OF_READS, ids=NAME)
def test_a_read_disturbed_once_is_answered(
    proxy: FaultProxy, store: DynamoKeyValue, direct: DynamoKeyValue, fault: Fault
) -> None:
    direct.commit(Put(A, {"n": 1}), Put(B, {}))
    proxy.once(fault, "GetItem")
    assert store.get(A) == direct.get(A)
    proxy.once(fault, "Query")
    assert store.query("p") == direct.query("p")
    assert proxy.faults == {fault: 2}


@pytest.mark.parametrize("fault", OF_COMMITS, ids=NAME)
def test_each_try_of_a_commit_is_the_same_commit(
    proxy: FaultProxy, store: DynamoKeyValue, fault: Fault
) -> None:
    proxy.once(fault)
    store.commit(Put(A, {}))
    store.commit(Put(B, {}))
    *tries, last = proxy.bodies
    assert all(body == tries[0] for body in tries)
    assert last["ClientRequestToken"] != tries[0]["ClientRequestToken"]


@pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.THROTTLED], ids=NAME)
def test_a_commit_that_is_never_let_in_is_unavailable(
    proxy: FaultProxy, store: DynamoKeyValue, direct: DynamoKeyValue, fault: Fault
) -> None:
    proxy.always(fault)
    assert type(failure(store.commit, Put(A, {}))) is Unavailable
    assert proxy.faults == {fault: MAX_TRIES}
    assert direct.get(A) is None


@pytest.mark.parametrize("fault", LOSES_ANSWER, ids=NAME)
def test_a_commit_that_is_never_acknowledged_is_found_by_its_version(
    proxy: FaultProxy, table: DynamoAddress, namespace: str, direct: DynamoKeyValue, fault: Fault
) -> None:
    proxy.always(fault)
    store = disturbed(table, proxy, namespace, pace=hasty())
    store.commit(Put(A, {"n": 1}))
    store.close()
    assert direct.get(A) is not None
    assert proxy.faults[fault] > 1


@pytest.mark.parametrize("fault", LOSES_ANSWER, ids=NAME)
def test_adds_alone_that_are_never_acknowledged_are_unknown_and_happen_once(
    proxy: FaultProxy, table: DynamoAddress, namespace: str, direct: DynamoKeyValue, fault: Fault
) -> None:
    direct.commit(Put(A, {}))
    proxy.always(fault)
    store = disturbed(table, proxy, namespace, pace=hasty())
    assert type(failure(store.commit, Add(A, {"n": 1}))) is Unknown
    store.close()
    assert counters_of(direct, A) == {"n": 1}


def test_a_commit_that_fails_before_it_is_made_is_unknown(
    proxy: FaultProxy, store: DynamoKeyValue, direct: DynamoKeyValue
) -> None:
    proxy.always(Fault.FAILED_BEFORE)
    assert type(failure(store.commit, Put(A, {}))) is Unknown
    assert direct.get(A) is None


def test_a_lost_answer_before_others_fail_is_not_forgotten(
    proxy: FaultProxy, store: DynamoKeyValue, direct: DynamoKeyValue
) -> None:
    direct.commit(Put(A, {}))
    left = [Fault.DROPPED]
    proxy.disturb = lambda _: left.pop() if left else Fault.THROTTLED
    assert type(failure(store.commit, Add(A, {"n": 1}))) is Unknown
    assert counters_of(direct, A) == {"n": 1}


def test_an_unknown_commit_that_cannot_be_looked_up_stays_unknown(
    proxy: FaultProxy, store: DynamoKeyValue, direct: DynamoKeyValue
) -> None:
    proxy.disturb = lambda called: Fault.THROTTLED if called in READS else Fault.FAILED_AFTER
    failed = failure(store.commit, Put(A, {}))
    assert type(failed) is Unknown
    assert "cannot be looked up" in str(failed)
    assert direct.get(A) is not None


@pytest.mark.parametrize("fault", UNANSWERED, ids=NAME)
def test_a_read_that_is_never_answered_is_unavailable(
    proxy: FaultProxy, table: DynamoAddress, namespace: str, fault: Fault
) -> None:
    store = disturbed(table, proxy, namespace, pace=hasty())
    proxy.always(fault, "GetItem")
    assert type(failure(store.get, A)) is Unavailable
    store.close()


def test_a_refusal_is_a_conflict_through_throttling(
    proxy: FaultProxy, store: DynamoKeyValue
) -> None:
    proxy.once(Fault.THROTTLED)
    with pytest.raises(Conflict) as refusal:
        store.commit(Put(A, {}), Check(B, 1))
    assert refusal.value.change == Check(B, 1)


@pytest.mark.parametrize("change", [Put(A, {}, replaces=1), Check(A, 1), Delete(A, replaces=1)])
def test_a_refusal_for_good_is_a_conflict_even_after_a_lost_answer(
    proxy: FaultProxy, store: DynamoKeyValue, change: Change
) -> None:
    proxy.once(Fault.LATE_CALL)
    with pytest.raises(Conflict):
        store.commit(change)


def test_a_refusal_after_a_lost_answer_is_unknown_since_the_lost_try_may_arrive(
    proxy: FaultProxy, store: DynamoKeyValue, direct: DynamoKeyValue
) -> None:
    direct.commit(Put(A, {}, counters={"credits": 0}))
    proxy.once(Fault.LATE_CALL)
    spend = Add(A, {"credits": -1}, floors={"credits": 0})
    assert type(failure(store.commit, spend)) is Unknown
    direct.commit(Add(A, {"credits": 1}))
    proxy.settle()
    assert counters_of(direct, A) == {"credits": 0}  # it did arrive


def test_nothing_is_tried_again_when_its_token_may_be_forgotten(
    proxy: FaultProxy, table: DynamoAddress, namespace: str, direct: DynamoKeyValue
) -> None:
    direct.commit(Put(A, {}))
    store = disturbed(table, proxy, namespace, pace=Pace(sleep=lambda _: None, now_s=_slept()))
    proxy.always(Fault.DROPPED)
    assert type(failure(store.commit, Add(A, {"n": 1}))) is Unknown
    store.close()
    assert proxy.faults[Fault.DROPPED] == 1


def test_pauses_grow_at_random_up_to_their_limit(
    proxy: FaultProxy, table: DynamoAddress, namespace: str
) -> None:
    pauses_s: list[float] = []
    pace = Pace(fraction=lambda: 0.5, sleep=pauses_s.append, now_s=lambda: 0.0)
    store = disturbed(table, proxy, namespace, pace=pace)
    proxy.always(Fault.THROTTLED)
    assert type(failure(store.commit, Put(A, {}))) is Unavailable
    store.close()
    assert pauses_s[:4] == [0.0125, 0.025, 0.05, 0.1]
    assert pauses_s[-1] == 0.5
    assert len(pauses_s) == MAX_TRIES - 1


def test_a_commit_under_way_is_given_the_seconds_in_which_it_is_taken_up(
    proxy: FaultProxy, table: DynamoAddress, namespace: str
) -> None:
    pauses_s: list[float] = []
    pace = Pace(fraction=lambda: 0.0, sleep=pauses_s.append, now_s=lambda: sum(pauses_s))
    store = disturbed(table, proxy, namespace, pace=pace)
    proxy.always(Fault.IN_PROGRESS)
    store.commit(Put(A, {}))
    store.close()
    assert 6 < sum(pauses_s) <= PATIENCE_S + IN_PROGRESS_PAUSE_S


def test_a_token_used_for_two_commits_is_a_defect(table: DynamoAddress, namespace: str) -> None:
    store = DynamoKeyValue(
        table, clock=Clock(), namespace=namespace, new_token=lambda: f"the same in {namespace}"
    )
    store.commit(Put(A, {}))
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        store.commit(Put(B, {}))
    store.close()


def test_items_that_a_batch_leaves_out_are_asked_for_again(
    proxy: FaultProxy, store: DynamoKeyValue
) -> None:
    store.commit(*(Put(Key("p", f"{n}"), {}, due=Due("q", n)) for n in range(5)))
    proxy.first(3, Fault.UNDONE, BATCH)
    assert [item.key.sort for item in store.due("q", until_ms=9, limit=9)] == list("01234")
    assert proxy.faults == {Fault.UNDONE: 3}


def test_items_that_every_batch_leaves_out_are_unavailable(
    proxy: FaultProxy, store: DynamoKeyValue
) -> None:
    store.commit(*(Put(Key("p", f"{n}"), {}, due=Due("q", n)) for n in range(MAX_TRIES + 2)))
    proxy.always(Fault.UNDONE, BATCH)
    with pytest.raises(Unavailable, match="unread"):
        store.due("q", until_ms=99, limit=99)


def test_an_index_that_lags_shows_nothing_that_is_past(
    proxy: FaultProxy, store: DynamoKeyValue
) -> None:
    store.commit(*(Put(Key("p", sort), {}, due=Due("q", at)) for at, sort in enumerate("abcd")))
    for limit in (1, 2):
        assert len(store.due("q", until_ms=9, limit=limit)) == limit
    moved, gone, put_off = (_read(store, sort) for sort in "abc")
    store.commit(
        Put(moved.key, {"n": 2}, replaces=moved.version, due=Due("other", 0)),
        Delete(gone.key, replaces=gone.version),
        Put(put_off.key, {"n": 2}, replaces=put_off.version, due=Due("q", 8)),
    )
    proxy.always(Fault.STALE, INDEX_QUERY)
    found = store.due("q", until_ms=9, limit=2)
    assert [(item.key.sort, item.due) for item in found] == [("d", Due("q", 3)), ("c", Due("q", 8))]
    assert [item.key.sort for item in store.due("q", until_ms=9, limit=1)] == ["d"]


def test_a_race_through_disturbances_sells_each_credit_once(
    table: DynamoAddress, namespace: str, direct: DynamoKeyValue
) -> None:
    assert table.endpoint is not None
    direct.commit(Put(A, {}, counters={"credits": WRITERS * SPENDS}))
    with FaultProxy(table.endpoint, seed=SEED, late_s=LATE_S).serving() as proxy:
        store = disturbed(table, proxy, namespace, pace=Pace())

        def spend(writer: int) -> tuple[int, int]:
            told: list[type | None] = []
            for n in range(SPENDS):
                row = Put(Key("ledger", f"{writer}-{n}"), {})
                told.append(_outcome(store, row, Add(A, {"credits": -1}, floors={"credits": 0})))
            return told.count(None), told.count(Unknown)

        with ThreadPoolExecutor(WRITERS) as pool:
            outcomes = list(pool.map(spend, range(WRITERS)))
        store.close()
        proxy.settle()
        assert sum(proxy.faults.values()) > WRITERS * SPENDS // 6
    rows = len(direct.query("ledger"))
    acknowledged, unknown = (sum(counts) for counts in zip(*outcomes, strict=True))
    assert counters_of(direct, A) == {"credits": WRITERS * SPENDS - rows}
    assert acknowledged <= rows <= acknowledged + unknown
    assert acknowledged > 0


def failure(call: Callable[..., object], *arguments: object) -> StoreError:
    with pytest.raises(StoreError) as failed:
        call(*arguments)
    return failed.value


def _read(store: DynamoKeyValue, sort: str) -> Item:
    item = store.get(Key("p", sort))
    assert item is not None
    return item


def hasty() -> Pace:
    """Tries again for one second at most."""
    return Pace(sleep=lambda _: None, now_s=_ticking(PATIENCE_S / 3))


def _ticking(step_s: float) -> Callable[[], float]:
    now_s = [0.0]

    def tick() -> float:
        now_s[0] += step_s
        return now_s[0]

    return tick


def _slept() -> Callable[[], float]:
    """A clock that jumps whenever it is read, as if the machine had slept in between."""
    return _ticking(PATIENCE_S + 1)


def _outcome(store: DynamoKeyValue, *changes: Change) -> type | None:
    try:
        store.commit(*changes)
    except StoreError as error:
        return type(error)
    return None
