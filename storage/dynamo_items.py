"""Items and changes as DynamoDB has them: attributes, and the requests of a transaction.

pk, sk                partition and sort, the namespace before the partition
item_value            the value, canonical JSON
item_version          its version
item_counters         a map of numbers
due_shard, due_at_ms  the keys of the index: a queue's shard, and the time
due_queue             the queue itself
expires_at_ms         when the item is gone for every reader
delete_at_s           when DynamoDB may remove it: its TTL, in seconds
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from storage.kv import MAX_INTEGER, Add, Change, Check, Delete, Due, Item, Key, Put, encoded

QUEUE_SHARDS = 8
"""One partition of an index takes 1,000 writes a second; a queue has so many of them."""

Attributes = dict[str, Any]

IS_LIVE = "(attribute_not_exists(expires_at_ms) OR expires_at_ms > :now)"
IS_ABSENT = "(attribute_not_exists(pk) OR expires_at_ms <= :now)"
NEVER = "attribute_exists(pk) AND attribute_not_exists(pk)"


@dataclass(frozen=True)
class Layout:
    """How keys and times are written in one namespace of a table.

    `delete_at_s` is for all items of a scratch namespace, whatever their own time.
    """

    table: str
    namespace: str = ""
    delete_at_s: int | None = None

    def key(self, key: Key) -> Attributes:
        """The attributes that name an item."""
        return {"pk": {"S": f"{self.namespace}{key.partition}"}, "sk": {"S": key.sort}}

    def shards(self, queue: str) -> list[str]:
        """The partitions of the index that hold a queue."""
        return [f"{self.namespace}{queue}#{shard}" for shard in range(QUEUE_SHARDS)]

    def item(self, attributes: Mapping[str, Any]) -> Item:
        """The item of its attributes."""
        due = attributes.get("due_queue")
        return Item(
            key=self.key_of(attributes),
            value=json.loads(attributes["item_value"]["S"]),
            version=_integer(attributes["item_version"]),
            counters={
                name: _integer(number) for name, number in attributes["item_counters"]["M"].items()
            },
            due=None if due is None else Due(due["S"], _integer(attributes["due_at_ms"])),
            expires_at_ms=(
                _integer(attributes["expires_at_ms"]) if "expires_at_ms" in attributes else None
            ),
        )

    def key_of(self, attributes: Mapping[str, Any]) -> Key:
        """The key of an item, or of its entry in the index."""
        partition = attributes["pk"]["S"].removeprefix(self.namespace)
        return Key(partition, attributes["sk"]["S"])

    def request(self, change: Change, *, version: int, now_ms: int) -> dict[str, Any]:
        """A change as one action of a transaction."""
        values = {":now": _number(now_ms)}
        match change:
            case Put():
                return self._put(change, values, version=version)
            case Add():
                return self._add(change, _Bounds(values))
            case Check():
                condition = _is_at(change.version, values)
                return {"ConditionCheck": self._at(change.key, condition, values)}
            case Delete():
                condition = _is_at(change.replaces, values)
                return {"Delete": self._at(change.key, condition, values)}

    def _put(self, put: Put, values: Attributes, *, version: int) -> dict[str, Any]:
        condition = _is_at(put.replaces, values)
        written = self._written(put, version)
        if put.replaces is not None:
            update = _updated(written, values)
            return {"Update": self._at(put.key, condition, values, update=update)}
        counters = {"M": {name: _number(number) for name, number in put.counters.items()}}
        item = self.key(put.key) | written | {"item_counters": counters}
        return {"Put": self._on({"Item": item}, condition, values)}

    def _written(self, put: Put, version: int) -> Attributes:
        attributes: Attributes = {
            "item_value": {"S": encoded(put.value)},
            "item_version": _number(version),
        }
        if put.due is not None:
            shard = crc32("\0".join(put.key).encode()) % QUEUE_SHARDS
            attributes["due_shard"] = {"S": self.shards(put.due.queue)[shard]}
            attributes["due_queue"] = {"S": put.due.queue}
            attributes["due_at_ms"] = _number(put.due.at_ms)
        if put.expires_at_ms is not None:
            attributes["expires_at_ms"] = _number(put.expires_at_ms)
            attributes["delete_at_s"] = _number(-(-put.expires_at_ms // 1000))
        if self.delete_at_s is not None:
            attributes["delete_at_s"] = _number(self.delete_at_s)
        return attributes

    def _add(self, add: Add, bounds: "_Bounds") -> dict[str, Any]:
        condition = " AND ".join(
            ["attribute_exists(pk)", IS_LIVE, *(bounds.of(name, add) for name in _named(add))]
        )
        updates = [bounds.moved(name, amount) for name, amount in add.amounts.items()]
        update = f"SET {', '.join(updates)}" if updates else None
        kind = "Update" if updates else "ConditionCheck"
        at = self._at(add.key, condition, bounds.values, update=update)
        return {kind: at | ({"ExpressionAttributeNames": bounds.names} if bounds.names else {})}

    def _at(
        self, key: Key, condition: str, values: Attributes, *, update: str | None = None
    ) -> dict[str, Any]:
        wanted: dict[str, Any] = {"Key": self.key(key)}
        if update is not None:
            wanted["UpdateExpression"] = update
        return self._on(wanted, condition, values)

    def _on(self, wanted: dict[str, Any], condition: str, values: Attributes) -> dict[str, Any]:
        return wanted | {
            "TableName": self.table,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }


REPLACED = (
    "item_value",
    "item_version",
    "due_shard",
    "due_queue",
    "due_at_ms",
    "expires_at_ms",
    "delete_at_s",
)
"""What a `Put` replaces; the counters stay."""


def _updated(attributes: Attributes, values: Attributes) -> str:
    """The expression that sets these attributes and removes the others of `REPLACED`."""
    values |= {f":{name}": value for name, value in attributes.items()}
    kept = ", ".join(f"{name} = :{name}" for name in attributes)
    gone = ", ".join(name for name in REPLACED if name not in attributes)
    return f"SET {kept} REMOVE {gone}" if gone else f"SET {kept}"


@dataclass
class _Bounds:
    """The conditions of an `Add`, with the placeholders that they need.

    DynamoDB compares what is there before the addition, so that each bound is moved by the amount.
    """

    values: Attributes
    names: dict[str, str] = field(default_factory=dict)

    def of(self, name: str, add: Add) -> str:
        """The condition on a counter: within its bounds afterwards, 0 if it is not there."""
        amount = add.amounts.get(name, 0)
        low = max(add.floors.get(name, -MAX_INTEGER), -MAX_INTEGER) - amount
        high = min(add.ceilings.get(name, MAX_INTEGER), MAX_INTEGER) - amount
        if low > high:
            return NEVER
        counter = self._counter(name)
        within = f"{counter} BETWEEN {self._value(low)} AND {self._value(high)}"
        return f"(attribute_not_exists({counter}) OR {within})" if low <= 0 <= high else within

    def moved(self, name: str, amount: int) -> str:
        """The part of the update that moves a counter."""
        counter = self._counter(name)
        zero, added = self._value(0), self._value(amount)
        return f"{counter} = if_not_exists({counter}, {zero}) + {added}"

    def _counter(self, name: str) -> str:
        known = {counter: placeholder for placeholder, counter in self.names.items()}
        placeholder = known.get(name, f"#n{len(self.names)}")
        self.names[placeholder] = name
        return f"item_counters.{placeholder}"

    def _value(self, number: int) -> str:
        placeholder = f":b{len(self.values)}"
        self.values[placeholder] = _number(number)
        return placeholder


def _is_at(version: int | None, values: Attributes) -> str:
    """The condition that a live item has that version, or that there is none."""
    if version is None:
        return IS_ABSENT
    values[":at"] = _number(version)
    return f"item_version = :at AND {IS_LIVE}"


def _named(add: Add) -> list[str]:
    return list(dict.fromkeys((*add.amounts, *add.floors, *add.ceilings)))


def _number(number: int) -> Attributes:
    return {"N": str(number)}


def _integer(attribute: Mapping[str, str]) -> int:
    return int(attribute["N"])
