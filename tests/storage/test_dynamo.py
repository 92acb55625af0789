"""DynamoDB holds the contract of `KeyValue`, and what is its own: the table, its index, expiry."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.addresses import DynamoAddress
from storage.contract.dynamo_backend import SCRATCH_TTL_S, DynamoBackend
from storage.contract.key_value_case import START_MS, Clock, counters_of, version_of
from storage.contract.key_value_contract import KeyValueContract
from storage.dynamo import DynamoKeyValue
from storage.dynamo_client import open_client
from storage.dynamo_expressions import QUEUE_SHARDS, key_attributes, shard_of
from storage.dynamo_table import DUE_INDEX, DUE_KEYS, KEYS, TYPES, create_table
from storage.kv import (
    MAX_NAME_BYTES,
    MAX_PAGE,
    MAX_VALUE_BYTES,
    Add,
    Conflict,
    Due,
    Key,
    LimitExceeded,
    Put,
    StoreError,
    Unavailable,
    Unsuitable,
)

A = Key("p", "a")
B = Key("p", "b")
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def table(aws_endpoint: str) -> DynamoAddress:
    address = new_address(aws_endpoint)
    create_table(address)
    return address


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def namespace() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def store(table: DynamoAddress, clock: Clock, namespace: str) -> Iterator[DynamoKeyValue]:
    store = DynamoKeyValue(table, clock=clock, namespace=namespace)
    yield store
    store.close()


@pytest.fixture
def client(table: DynamoAddress) -> Iterator[Any]:
    """A client of DynamoDB itself."""
    client = open_client(table)
    yield client
    client.close()


@pytest.fixture
def no_credentials(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that AWS does not know: `aws_endpoint` has set what is taken away here."""
    assert aws_endpoint
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def new_address(endpoint: str) -> DynamoAddress:
    return DynamoAddress(f"table-{secrets.token_hex(8)}", "us-east-1", endpoint)


class TestContract(KeyValueContract):
    histories = 8
    _table: DynamoAddress

    @pytest.fixture(autouse=True)
    def _in_table(self, table: DynamoAddress) -> None:
        self._table = table

    def new_backend(self, folder: Path) -> DynamoBackend:  # noqa: ARG002
        return DynamoBackend.new(self._table)


def test_making_a_table_twice_changes_nothing(table: DynamoAddress, client: Any) -> None:
    before = client.describe_table(TableName=table.table)["Table"]
    create_table(table)
    assert client.describe_table(TableName=table.table)["Table"] == before


def test_several_may_make_a_table_at_once(aws_endpoint: str) -> None:
    address = new_address(aws_endpoint)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create_table, [address] * 4))
    DynamoKeyValue(address, clock=Clock()).close()


def test_a_new_table_is_paid_by_request_expires_and_is_backed_up(
    table: DynamoAddress, client: Any
) -> None:
    described = client.describe_table(TableName=table.table)["Table"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    (index,) = described["GlobalSecondaryIndexes"]
    assert index["Projection"]["ProjectionType"] == "KEYS_ONLY"
    expiry = client.describe_time_to_live(TableName=table.table)["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "ttl_s")
    backups = client.describe_continuous_backups(TableName=table.table)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"


def test_a_missing_table_is_unsuitable_and_says_what_to_do(aws_endpoint: str) -> None:
    address = new_address(aws_endpoint)
    with pytest.raises(Unsuitable, match=rf"no table {address.table}: run `enlarger store init`"):
        DynamoKeyValue(address, clock=Clock())


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ({"KeySchema": [{"AttributeName": "partition", "KeyType": "HASH"}]}, "its key is"),
        ({"GlobalSecondaryIndexes": []}, "it has no index due"),
        ({"AttributeDefinitions": TYPES | {"sort": "N"}}, r"sort \(N, RANGE\)"),
        ({"AttributeDefinitions": TYPES | {"due_at_ms": "S"}}, r"due_at_ms \(S, RANGE\)"),
    ],
)
@pytest.mark.parametrize("use", [create_table, lambda a: DynamoKeyValue(a, clock=Clock())])
def test_a_table_of_another_layout_is_unsuitable_by_what_differs(
    aws_endpoint: str, client: Any, layout: dict[str, Any], told: str, use: Callable[..., object]
) -> None:
    address = new_address(aws_endpoint)
    _make(client, address.table, **layout)
    with pytest.raises(Unsuitable, match=told):
        use(address)


def test_a_table_that_expires_by_something_else_is_unsuitable(
    aws_endpoint: str, client: Any
) -> None:
    address = new_address(aws_endpoint)
    _make(client, address.table)
    client.update_time_to_live(
        TableName=address.table,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at_ms"},
    )
    with pytest.raises(Unsuitable, match="expires by expires_at_ms, not ttl_s"):
        create_table(address)


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize("use", [create_table, lambda a: DynamoKeyValue(a, clock=Clock())])
def test_missing_credentials_are_unsuitable_by_name(use: Callable[..., object]) -> None:
    with pytest.raises(Unsuitable, match="set AWS_ACCESS_KEY_ID"):
        use(DynamoAddress("table", "us-east-1", NOWHERE))


@pytest.mark.usefixtures("no_credentials")
def test_half_the_credentials_are_unsuitable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    with pytest.raises(Unsuitable, match="AWS_SECRET_ACCESS_KEY"):
        DynamoKeyValue(DynamoAddress("table", "us-east-1", NOWHERE), clock=Clock())


@pytest.mark.usefixtures("no_credentials")
def test_a_missing_region_is_unsuitable_by_name() -> None:
    with pytest.raises(Unsuitable, match="AWS_DEFAULT_REGION"):
        DynamoKeyValue(DynamoAddress("table"), clock=Clock())


@pytest.mark.usefixtures("aws_endpoint")
@pytest.mark.parametrize("use", [create_table, lambda a: DynamoKeyValue(a, clock=Clock())])
def test_an_endpoint_that_is_not_there_is_unavailable(use: Callable[..., object]) -> None:
    with pytest.raises(Unavailable, match=NOWHERE):
        use(DynamoAddress("table", "us-east-1", NOWHERE))


def test_what_the_service_refuses_is_unavailable_in_its_words(
    aws_endpoint: str, client: Any
) -> None:
    address = new_address(aws_endpoint)
    create_table(address)
    store = DynamoKeyValue(address, clock=Clock())
    client.delete_table(TableName=address.table)
    calls: list[Callable[[], object]] = [lambda: store.get(A), lambda: store.commit(Put(A, {}))]
    for call in calls:
        with pytest.raises(Unavailable, match=r"ResourceNotFoundException to \w+: "):
            call()
    store.close()


def test_a_closed_store_is_unavailable(store: DynamoKeyValue) -> None:
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.get(A),
        lambda: store.query("p"),
        lambda: store.due("q", until_ms=0, limit=1),
        lambda: store.commit(Put(A, {})),
        lambda: store.purge(limit=1),
    ]
    assert [type(_failure(call)) for call in calls] == [Unavailable] * len(calls)


def test_versions_come_from_the_source_that_was_passed_in(
    table: DynamoAddress, namespace: str
) -> None:
    store = DynamoKeyValue(table, clock=Clock(), new_version=lambda: 11, namespace=namespace)
    store.commit(Put(A, {}))
    assert version_of(store, A) == 11
    store.close()


def test_namespaces_neither_see_nor_touch_each_other(table: DynamoAddress) -> None:
    name = secrets.token_hex(4)
    stores = [DynamoKeyValue(table, clock=Clock(), namespace=one) for one in ("", name, f"{name}x")]
    for n, store in enumerate(stores):
        store.commit(Put(Key(name, "a"), {"n": n}, due=Due(name, n)))
    for n, store in enumerate(stores):
        assert [item.value for item in store.query(name)] == [{"n": n}]
        assert [item.value for item in store.due(name, until_ms=9, limit=9)] == [{"n": n}]
        store.close()


@pytest.mark.parametrize(("expires_at_ms", "ttl_s"), [(5000, 5), (5001, 6), (-1, 0)])
def test_dynamodb_may_remove_an_item_from_the_second_after_its_expiry(
    store: DynamoKeyValue,
    client: Any,
    table: DynamoAddress,
    namespace: str,
    expires_at_ms: int,
    ttl_s: int,
) -> None:
    store.commit(Put(A, {}, expires_at_ms=expires_at_ms))
    assert _raw(client, table, namespace, A)["ttl_s"] == {"N": f"{ttl_s}"}


def test_dynamodb_never_removes_what_does_not_expire(
    store: DynamoKeyValue, client: Any, table: DynamoAddress, namespace: str
) -> None:
    store.commit(Put(A, {}, expires_at_ms=START_MS + 1))
    store.commit(Put(A, {}, replaces=version_of(store, A)), Put(B, {}))
    for key in (A, B):
        assert "ttl_s" not in _raw(client, table, namespace, key)


def test_what_a_check_leaves_is_removed_a_day_later(table: DynamoAddress, client: Any) -> None:
    backend = DynamoBackend.new(table)
    store = backend.open(clock=Clock(0))
    before_s = int(time.time())
    store.commit(Put(A, {}), Put(B, {}, expires_at_ms=1))
    store.commit(Put(A, {}, replaces=version_of(store, A)))
    store.close()
    for key in (A, B):
        ttl_s = int(_raw(client, table, backend.namespace, key)["ttl_s"]["N"])
        assert before_s <= ttl_s - SCRATCH_TTL_S <= time.time()


def test_the_index_has_only_what_is_due_and_only_its_keys(aws_endpoint: str, client: Any) -> None:
    address = new_address(aws_endpoint)
    create_table(address)
    store = DynamoKeyValue(address, clock=Clock())
    store.commit(Put(A, {"n": 1}, counters={"c": 1}, due=Due("q", 7)), Put(B, {}))
    found = client.scan(TableName=address.table, IndexName=DUE_INDEX)["Items"]
    store.close()
    assert found == [
        {
            "partition": {"S": "p"},
            "sort": {"S": "a"},
            "due_queue_shard": {"S": f"q#{shard_of(A)}"},
            "due_at_ms": {"N": "7"},
        }
    ]


def test_a_queue_is_read_from_all_its_shards_in_order(store: DynamoKeyValue) -> None:
    keys = [Key("p", f"{n:03}") for n in range(60)]
    assert {shard_of(key) for key in keys} == set(range(QUEUE_SHARDS))
    for start in range(0, len(keys), 20):
        store.commit(
            *(Put(key, {}, due=Due("q", int(key.sort))) for key in keys[start : start + 20])
        )
    for limit in (1, 7, 59, 60, 61):
        found = store.due("q", until_ms=MAX_PAGE, limit=limit)
        assert [item.key for item in found] == keys[:limit]


def test_the_shard_of_a_key_is_the_same_in_every_release() -> None:
    assert [shard_of(Key("jobs", f"{n}")) for n in range(8)] == [6, 0, 2, 4, 7, 1, 3, 5]


def test_more_is_due_than_one_batch_reads(store: DynamoKeyValue) -> None:
    keys = [Key("p", f"{n:03}") for n in range(225)]
    for start in range(0, len(keys), 25):
        store.commit(
            *(Put(key, {}, due=Due("q", int(key.sort))) for key in keys[start : start + 25])
        )
    assert [item.key for item in store.due("q", until_ms=999, limit=MAX_PAGE)] == keys


def test_expired_items_in_front_of_a_queue_hide_nobody(store: DynamoKeyValue, clock: Clock) -> None:
    for n in range(0, 100, 25):
        store.commit(
            *(
                Put(Key("p", f"{m}"), {}, due=Due("q", m), expires_at_ms=START_MS + 1)
                for m in range(n, n + 25)
            )
        )
    store.commit(Put(A, {}, due=Due("q", 200)), Put(B, {}, due=Due("q", 201)))
    clock.now_ms += 1
    assert [item.key for item in store.due("q", until_ms=999, limit=1)] == [A]


def test_a_partition_is_read_through_answers_of_a_megabyte(store: DynamoKeyValue) -> None:
    value = {"x": "v" * (MAX_VALUE_BYTES - 100)}
    sorts = [f"{n:02}" for n in range(36)]
    for start in range(0, len(sorts), 4):
        store.commit(*(Put(Key("p", sort), value) for sort in sorts[start : start + 4]))
    assert [item.key.sort for item in store.query("p")] == sorts
    assert [item.key.sort for item in store.query("p", newest_first=True, limit=35)] == (
        sorts[:0:-1]
    )


def test_no_sort_is_before_the_empty_one(store: DynamoKeyValue) -> None:
    store.commit(Put(A, {}), Put(B, {}))
    assert [item.key for item in store.query("p", after="")] == [A, B]
    assert store.query("p", after="", newest_first=True) == []


def test_an_add_has_room_for_many_counters_of_long_names(store: DynamoKeyValue) -> None:
    names = [f"{n:02}".ljust(MAX_NAME_BYTES, "x") for n in range(40)]
    store.commit(Put(A, {}))
    bounds = dict.fromkeys(names, 1)
    for _ in range(2):
        add = Add(A, bounds, floors=bounds, ceilings=dict.fromkeys(names, 2))
        store.commit(add)
    with pytest.raises(Conflict):
        store.commit(add)
    assert counters_of(store, A) == dict.fromkeys(names, 2)


def test_more_counters_than_an_expression_holds_are_a_limit(store: DynamoKeyValue) -> None:
    store.commit(Put(A, {}))
    with pytest.raises(LimitExceeded, match="more counters"):
        store.commit(Add(A, {f"{n}": 1 for n in range(200)}))


def test_bounds_that_nothing_can_meet_are_a_conflict(store: DynamoKeyValue) -> None:
    store.commit(Put(A, {}))
    with pytest.raises(Conflict):
        store.commit(Add(A, {"n": 1}, floors={"n": 5}, ceilings={"n": 4}))


def _make(client: Any, table: str, **other: Any) -> None:
    """A table as this release makes it, but for what is other."""
    types = other.pop("AttributeDefinitions", TYPES)
    layout: dict[str, Any] = {
        "KeySchema": _schema(KEYS),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": DUE_INDEX,
                "KeySchema": _schema(DUE_KEYS),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    } | other
    if not layout["GlobalSecondaryIndexes"]:
        del layout["GlobalSecondaryIndexes"]
    keyed = [*layout["KeySchema"], *_schema(DUE_KEYS if "GlobalSecondaryIndexes" in layout else {})]
    used = {one["AttributeName"] for one in keyed}
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind}
            for name, kind in types.items()
            if name in used
        ],
        **layout,
    )


def _schema(keys: dict[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()]


def _raw(client: Any, table: DynamoAddress, namespace: str, key: Key) -> dict[str, Any]:
    """The item as the table has it."""
    found: dict[str, Any] = client.get_item(
        TableName=table.table, Key=key_attributes(key, namespace), ConsistentRead=True
    )["Item"]
    return found


def _failure(call: Callable[[], object]) -> StoreError:
    with pytest.raises(StoreError) as failure:
        call()
    return failure.value
