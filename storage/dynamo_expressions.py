"""How an item looks in the DynamoDB table, and what a change is as one action of a transaction."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from storage.kv import (
    MAX_INTEGER,
    Add,
    Change,
    Check,
    Delete,
    Due,
    Item,
    Key,
    LimitExceeded,
    Put,
    encoded,
)

QUEUE_SHARDS = 8
"""Over how many partitions of the index a queue is spread: each takes 1,000 writes a second."""
MAX_EXPRESSION_BYTES = 4096

NAMES = {
    "#p": "partition",
    "#s": "sort",
    "#v": "value",
    "#n": "version",
    "#c": "counters",
    "#q": "due_queue_shard",
    "#d": "due_at_ms",
    "#e": "expires_at_ms",
    "#t": "ttl_s",
}
"""The attributes, each by what expressions call it: many of the plain words are reserved."""
OPTIONAL = ("#q", "#d", "#e", "#t")

UNEXPIRED = "(attribute_not_exists(#e) OR #e > :now)"
LIVE = f"attribute_exists(#p) AND {UNEXPIRED}"
ABSENT = "attribute_not_exists(#p) OR #e <= :now"
AT_VERSION = f"#n = :old AND {UNEXPIRED}"
NEVER = "attribute_exists(#p) AND attribute_not_exists(#p)"

Attributes = dict[str, Any]


class Writing(NamedTuple):
    """What all changes of one commit share. `gone_at_s`: when DynamoDB may remove what is written,
    if not by its own expiry."""

    table: str
    namespace: str
    now_ms: int
    version: int
    gone_at_s: int | None


def action(change: Change, writing: Writing) -> dict[str, Any]:
    """The member of `TransactItems` that makes a change, or refuses it."""
    match change:
        case Put(replaces=None):
            return {"Put": _put(change, writing)}
        case Put(replaces=int(version)):
            return {"Update": _replacement(change, version, writing)}
        case Add():
            return _addition(change, writing)
        case Check(version=None):
            return {"ConditionCheck": _conditional(change.key, ABSENT, {}, writing)}
        case Check(version=int(version)):
            return {"ConditionCheck": _versioned(change.key, version, writing)}
        case Delete():
            return {"Delete": _versioned(change.key, change.replaces, writing)}
    raise AssertionError(f"{change} is no change")


def item_of(attributes: Attributes, namespace: str) -> Item:
    """The item that such attributes are."""
    due = None
    if "due_queue_shard" in attributes:
        queue = attributes["due_queue_shard"]["S"].rpartition("#")[0]
        due = Due(_told(queue, namespace), int(attributes["due_at_ms"]["N"]))
    counters = {name: int(number["N"]) for name, number in attributes["counters"]["M"].items()}
    expires = attributes.get("expires_at_ms")
    return Item(
        key_of(attributes, namespace),
        json.loads(attributes["value"]["S"]),
        int(attributes["version"]["N"]),
        counters,
        due,
        None if expires is None else int(expires["N"]),
    )


def key_of(attributes: Attributes, namespace: str) -> Key:
    """The key of an item, or of an entry of the index."""
    return Key(_told(attributes["partition"]["S"], namespace), attributes["sort"]["S"])


def key_attributes(key: Key, namespace: str) -> Attributes:
    """The table's key of an item."""
    return {"partition": {"S": kept(key.partition, namespace)}, "sort": {"S": key.sort}}


def kept(name: str, namespace: str) -> str:
    """What a partition or a queue is called in the table: no name has a zero byte of its own."""
    return f"{namespace}\0{name}" if namespace else name


def queue_shard(queue: str, shard: int, namespace: str) -> str:
    """The partition of the index in which a part of a queue is."""
    return f"{kept(queue, namespace)}#{shard}"


def shard_of(key: Key) -> int:
    """The shard of its queue to which an item belongs, whatever the process and the release."""
    return crc32(f"{key.partition}\0{key.sort}".encode()) % QUEUE_SHARDS


def number(integer: int) -> Attributes:
    return {"N": str(integer)}


def names_in(*expressions: str) -> dict[str, str]:
    """What the placeholders of some expressions stand for; DynamoDB takes none that is not used."""
    used = set(re.findall(r"#\w+", " ".join(expressions)))
    return {placeholder: name for placeholder, name in NAMES.items() if placeholder in used}


def _told(name: str, namespace: str) -> str:
    return name[len(kept("", namespace)) :]


def _put(put: Put, writing: Writing) -> dict[str, Any]:
    attributes = {NAMES[name]: value for name, value in _written(put, writing).items()}
    counters = {"M": {name: number(start) for name, start in put.counters.items()}}
    item = key_attributes(put.key, writing.namespace) | attributes | {"counters": counters}
    return {
        "TableName": writing.table,
        "Item": item,
        "ConditionExpression": ABSENT,
        "ExpressionAttributeNames": names_in(ABSENT),
        "ExpressionAttributeValues": {":now": number(writing.now_ms)},
    }


def _replacement(put: Put, version: int, writing: Writing) -> dict[str, Any]:
    """An update of everything but the counters, which may have moved since the item was read."""
    written = _written(put, writing)
    update = "SET " + ",".join(f"{name}=:{name[1:]}" for name in written)
    if gone := [name for name in OPTIONAL if name not in written]:
        update += " REMOVE " + ",".join(gone)
    values = {f":{name[1:]}": value for name, value in written.items()}
    request = _versioned(put.key, version, writing, update=update)
    request["ExpressionAttributeValues"] |= values
    return request


def _written(put: Put, writing: Writing) -> Attributes:
    """What a put writes, by placeholder, but for the key and the counters."""
    written = {"#v": {"S": encoded(put.value)}, "#n": number(writing.version)}
    if put.due is not None:
        shard = queue_shard(put.due.queue, shard_of(put.key), writing.namespace)
        written |= {"#q": {"S": shard}, "#d": number(put.due.at_ms)}
    if put.expires_at_ms is not None:
        written |= {"#e": number(put.expires_at_ms), "#t": number(-(-put.expires_at_ms // 1000))}
    if writing.gone_at_s is not None:
        written |= {"#t": number(writing.gone_at_s)}
    return written


def _addition(add: Add, writing: Writing) -> dict[str, Any]:
    """An update of the counters, or only a look at them; the bounds are on what they were before,
    since that is what a condition sees."""
    names = sorted({*add.amounts, *add.floors, *add.ceilings})
    placeholders = {name: f"#{at}" for at, name in enumerate(names)}
    conditions, values = [LIVE], Attributes()
    for name, placeholder in placeholders.items():
        low, high = _bounds(add, name)
        conditions.append(_within(placeholder, low, high))
        if low <= high:
            at = placeholder[1:]
            values |= {f":l{at}": number(low), f":h{at}": number(high)}
    condition = " AND ".join(conditions)
    update = ""
    if add.amounts:
        update = "SET " + ",".join(_sum(placeholders[name]) for name in sorted(add.amounts))
        values |= {f":a{placeholders[n][1:]}": number(amount) for n, amount in add.amounts.items()}
        values[":0"] = number(0)
    _check_length(condition, update)
    request = _conditional(add.key, condition, values, writing, update=update)
    used = set(re.findall(r"#\w+", condition + update))
    request["ExpressionAttributeNames"] |= {
        placeholder: name for name, placeholder in placeholders.items() if placeholder in used
    }
    return {"Update" if update else "ConditionCheck": request}


def _bounds(add: Add, name: str) -> tuple[int, int]:
    """Between which two values the counter must have been."""
    amount = add.amounts.get(name)
    low = add.floors.get(name, -MAX_INTEGER) - (amount or 0)
    high = add.ceilings.get(name, MAX_INTEGER) - (amount or 0)
    if amount is not None:
        low, high = max(low, -MAX_INTEGER - amount), min(high, MAX_INTEGER - amount)
    return low, high


def _within(placeholder: str, low: int, high: int) -> str:
    if low > high:  # which BETWEEN does not take
        return NEVER
    at = placeholder[1:]
    between = f"#c.{placeholder} BETWEEN :l{at} AND :h{at}"
    if low <= 0 <= high:  # an absent counter is 0
        return f"(attribute_not_exists(#c.{placeholder}) OR {between})"
    return between


def _sum(placeholder: str) -> str:
    counter = f"#c.{placeholder}"
    return f"{counter}=if_not_exists({counter},:0)+:a{placeholder[1:]}"


def _check_length(*expressions: str) -> None:
    for expression in expressions:
        if len(expression) > MAX_EXPRESSION_BYTES:
            raise LimitExceeded("more counters in one Add than DynamoDB has room for")


def _versioned(key: Key, version: int, writing: Writing, *, update: str = "") -> dict[str, Any]:
    return _conditional(key, AT_VERSION, {":old": number(version)}, writing, update=update)


def _conditional(
    key: Key,
    condition: str,
    values: Mapping[str, Any],
    writing: Writing,
    *,
    update: str = "",
) -> dict[str, Any]:
    request = {
        "TableName": writing.table,
        "Key": key_attributes(key, writing.namespace),
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names_in(condition, update),
        "ExpressionAttributeValues": {":now": number(writing.now_ms), **values},
    }
    return request | ({"UpdateExpression": update} if update else {})
