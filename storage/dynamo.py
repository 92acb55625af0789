"""The key-value store in one DynamoDB table: for production without a server of one's own."""

import heapq
import secrets
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from storage.addresses import DynamoAddress
from storage.changes import has_happened, random_version
from storage.dynamo_client import (
    MAX_TRIES,
    READ_TIMEOUT_S,
    Failed,
    Pace,
    Refused,
    answered,
    open_client,
)
from storage.dynamo_expressions import (
    QUEUE_SHARDS,
    UNEXPIRED,
    Attributes,
    Writing,
    action,
    item_of,
    kept,
    key_attributes,
    key_of,
    names_in,
    number,
    queue_shard,
)
from storage.dynamo_table import DUE_INDEX, check_table
from storage.kv import (
    MAX_PAGE,
    Add,
    Change,
    Check,
    Conflict,
    Item,
    Key,
    Put,
    StoreError,
    Unavailable,
    Unknown,
    check_limits,
    check_page,
)

MAX_QUERY_PAGES = 1000
"""How many answers of DynamoDB one query may take: each is a megabyte, or a thousand items that
may have expired."""
MAX_BATCH = 100
MAX_DUE_ENTRIES = 10_000
"""How many entries of the index one look at a queue follows, stale ones included."""


def random_token() -> str:
    """What tells one commit from every other of the last ten minutes."""
    return secrets.token_hex(16)


class DynamoKeyValue:
    """A `KeyValue` in a DynamoDB table that `create_table` has made.

    Any number of threads and processes anywhere may use it at once. A commit that returned is in
    several data centres. Nobody waits longer than about `PATIENCE_S` and one time-out more.

    All names are kept below `namespace`, out of sight of stores with another. With
    `scratch_ttl_s`, DynamoDB removes what was written that many seconds later, expired or not.
    Raises `Unsuitable` or `Unavailable` with what is wrong.
    """

    def __init__(
        self,
        address: DynamoAddress,
        *,
        clock: Callable[[], int],
        new_version: Callable[[], int] = random_version,
        new_token: Callable[[], str] = random_token,
        namespace: str = "",
        scratch_ttl_s: int | None = None,
        read_timeout_s: float = READ_TIMEOUT_S,
        pace: Pace | None = None,
    ) -> None:
        self._table = address.table
        self._clock = clock
        self._new_version = new_version
        self._new_token = new_token
        self._namespace = namespace
        self._scratch_ttl_s = scratch_ttl_s
        self._pace = pace or Pace()
        self._is_closed = False
        self._client = open_client(address, read_timeout_s=read_timeout_s)
        try:
            check_table(self._client, self._table, pace=self._pace)
        except BaseException:
            self._client.close()
            raise

    def get(self, key: Key) -> Item | None:
        """The item, strongly consistent; None if absent."""
        now_ms = self._clock()
        answer = self._read(
            "get_item",
            TableName=self._table,
            Key=key_attributes(key, self._namespace),
            ConsistentRead=True,
        )
        found = answer.get("Item")
        item = None if found is None else item_of(found, self._namespace)
        return item if item is not None and _is_live(item, now_ms) else None

    def query(
        self,
        partition: str,
        *,
        after: str | None = None,
        limit: int = MAX_PAGE,
        newest_first: bool = False,
    ) -> list[Item]:
        """Up to `limit` items of a partition in the order of their sort, each as last committed."""
        check_page(limit)
        if after == "":  # no sort is before it, and DynamoDB compares with none that is empty
            if newest_first:
                return []
            after = None
        condition = "#p = :p"
        values = {":p": {"S": kept(partition, self._namespace)}, ":now": number(self._clock())}
        if after is not None:
            condition += " AND #s < :s" if newest_first else " AND #s > :s"
            values[":s"] = {"S": after}
        pages = self._pages(
            first_limit=limit,
            KeyConditionExpression=condition,
            FilterExpression=UNEXPIRED,
            ExpressionAttributeNames=names_in(condition, UNEXPIRED),
            ExpressionAttributeValues=values,
            ScanIndexForward=not newest_first,
            ConsistentRead=True,
        )
        return [item_of(found, self._namespace) for found in islice(pages, limit)]

    def due(self, queue: str, *, until_ms: int, limit: int) -> list[Item]:
        """Up to `limit` items due in `queue` at or before `until_ms`, earliest first.

        The index says where to look, in its order and some time after the commits; what is
        returned are the items themselves, as they are now.
        """
        check_page(limit)
        now_ms = self._clock()
        entries = islice(self._entries(queue, until_ms=until_ms, limit=limit), MAX_DUE_ENTRIES)
        due: dict[Key, Item] = {}
        while batch := list(islice(entries, min(limit, MAX_BATCH))):
            for item in self._items([entry.key for entry in batch if entry.key not in due]):
                if _is_live(item, now_ms) and _is_due(item, queue, until_ms=until_ms):
                    due[item.key] = item
            # What is due later than the index has it may come after what is still to be seen.
            reached_ms = batch[-1].at_ms
            if sum(_at_ms(item) <= reached_ms for item in due.values()) >= limit:
                break
        return sorted(due.values(), key=lambda item: (_at_ms(item), item.key))[:limit]

    def commit(self, *changes: Change) -> None:
        """Make all changes or none, in one transaction with a token of its own.

        The token makes a second try of the same commit harmless. A refusal after a lost answer is
        `Unknown`, unless it is for good: what was lost may arrive late, and then find that the
        condition holds.
        """
        check_limits(changes)
        self._check_open()
        writing = self._writing()
        request = {
            "TransactItems": [action(change, writing) for change in changes],
            "ClientRequestToken": self._new_token(),
        }
        try:
            answered(lambda: self._call("transact_write_items", request), pace=self._pace)
        except Refused as refusal:
            refused = changes[refusal.index]
            if refusal.may_still_happen and not _is_for_good(refused):
                raise Unknown("it was refused, but an earlier answer was lost") from refusal
            raise Conflict(refused) from refusal
        except Failed as failure:
            if not failure.may_have_happened:
                raise Unavailable(str(failure)) from failure
            if not self._has_happened(changes, writing.version):
                raise Unknown(str(failure)) from failure

    def purge(self, *, limit: int) -> int:
        """Nothing: DynamoDB removes what has expired by itself, within days."""
        check_page(limit)
        self._check_open()
        return 0

    def close(self) -> None:
        """Release the connections; later calls are `Unavailable`."""
        self._is_closed = True
        self._client.close()

    def _writing(self) -> Writing:
        scratch_s = self._scratch_ttl_s
        # Not the store's clock, which may stand still: DynamoDB itself goes by it.
        gone_at_s = None if scratch_s is None else int(time.time()) + scratch_s
        return Writing(self._table, self._namespace, self._clock(), self._new_version(), gone_at_s)

    def _has_happened(self, changes: tuple[Change, ...], version: int) -> bool:
        try:
            return has_happened(changes, version, get=self.get)
        except StoreError as error:
            raise Unknown(f"and it cannot be looked up: {error}") from error

    def _entries(self, queue: str, *, until_ms: int, limit: int) -> Iterator["_Entry"]:
        """What the index has of a queue, earliest first, over all its shards."""
        return heapq.merge(
            *(
                self._shard(queue_shard(queue, shard, self._namespace), until_ms, limit)
                for shard in range(QUEUE_SHARDS)
            )
        )

    def _shard(self, name: str, until_ms: int, limit: int) -> Iterator["_Entry"]:
        condition = "#q = :q AND #d <= :until"
        pages = self._pages(
            first_limit=limit,
            IndexName=DUE_INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names_in(condition),
            ExpressionAttributeValues={":q": {"S": name}, ":until": number(until_ms)},
        )
        for found in pages:
            yield _Entry(int(found["due_at_ms"]["N"]), key_of(found, self._namespace))

    def _pages(self, *, first_limit: int, **request: Any) -> Iterator[Attributes]:
        """Everything that a query finds, page after page as it is needed."""
        page = {"Limit": first_limit}
        for _ in range(MAX_QUERY_PAGES):
            answer = self._read("query", TableName=self._table, **request, **page)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            page = {"Limit": MAX_PAGE, "ExclusiveStartKey": answer["LastEvaluatedKey"]}
        raise Unavailable(f"a query takes more than {MAX_QUERY_PAGES} pages")

    def _items(self, keys: list[Key]) -> list[Item]:
        """The items of up to `MAX_BATCH` keys that are there, strongly consistent."""
        wanted = [key_attributes(key, self._namespace) for key in dict.fromkeys(keys)]
        found: list[Item] = []
        for _ in range(MAX_TRIES):
            if not wanted:
                return found
            requested = {self._table: {"Keys": wanted, "ConsistentRead": True}}
            answer = self._read("batch_get_item", RequestItems=requested)
            items = answer["Responses"].get(self._table, [])
            found += [item_of(item, self._namespace) for item in items]
            wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        raise Unavailable(f"DynamoDB left {len(wanted)} items unread")

    def _read(self, operation: str, **request: Any) -> Any:
        self._check_open()
        try:
            return answered(lambda: self._call(operation, request), pace=self._pace)
        except Failed as failure:
            raise Unavailable(str(failure)) from failure

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        return getattr(self._client, operation)(**request)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("the store is closed")


class _Entry(NamedTuple):
    """An entry of the index."""

    at_ms: int
    key: Key


def _is_live(item: Item, now_ms: int) -> bool:
    return item.expires_at_ms is None or item.expires_at_ms > now_ms


def _is_due(item: Item, queue: str, *, until_ms: int) -> bool:
    return item.due is not None and item.due.queue == queue and item.due.at_ms <= until_ms


def _at_ms(item: Item) -> int:
    assert item.due is not None
    return item.due.at_ms


def _is_for_good(refused: Change) -> bool:
    """Whether a condition that did not hold never will: a version that is past does not return."""
    match refused:
        case Add() | Put(replaces=None) | Check(version=None):
            return False
        case _:
            return True
