"""Items as rows of a table, the same in every store that speaks SQL.

The columns are partition, sort, value, version, counters, due_queue, due_at_ms and expires_at_ms;
value and counters are canonical JSON, as text.
"""

import json
from typing import Any

from storage.kv import Due, Item, Key, encoded


def item_of(row: Any) -> Item:
    """The item that a row holds."""
    partition, sort, value, version, counters, due_queue, due_at_ms, expires_at_ms = row
    due = None if due_queue is None else Due(due_queue, due_at_ms)
    key = Key(partition, sort)
    return Item(key, json.loads(value), version, json.loads(counters), due, expires_at_ms)


def row_of(item: Item) -> tuple[Any, ...]:
    """The row that holds an item."""
    due_queue, due_at_ms = item.due or (None, None)
    texts = encoded(item.value), encoded(item.counters)
    return (*item.key, texts[0], item.version, texts[1], due_queue, due_at_ms, item.expires_at_ms)
