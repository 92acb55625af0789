"""What a change does to an item: the rules of the key-value store where an adapter applies them."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

from storage.kv import MAX_INTEGER, Add, Change, Check, Conflict, Delete, Item, Key, Put


def after(change: Change, item: Item | None, version: int) -> Item | None:
    """What a change leaves of a live item (None: nothing), or `Conflict`."""
    match change:
        case Put():
            _require(change, item, version=change.replaces)
            counters = change.counters if item is None else item.counters
            return Item(
                change.key, change.value, version, counters, change.due, change.expires_at_ms
            )
        case Add():
            if item is None:
                raise Conflict(change)
            moved = _moved(change, item.counters)
            return replace(item, counters=moved) if change.amounts else item
        case Check():
            _require(change, item, version=change.version)
            return item
        case Delete():
            _require(change, item, version=change.replaces)
            return None


def _require(change: Change, item: Item | None, *, version: int | None) -> None:
    if version != (None if item is None else item.version):
        raise Conflict(change)


def _moved(add: Add, counters: Mapping[str, int]) -> dict[str, int]:
    moved = {**counters}
    for name, amount in add.amounts.items():
        moved[name] = moved.get(name, 0) + amount
    fits = all(abs(moved[name]) <= MAX_INTEGER for name in add.amounts)
    is_above = all(moved.get(name, 0) >= floor for name, floor in add.floors.items())
    is_below = all(moved.get(name, 0) <= ceiling for name, ceiling in add.ceilings.items())
    if not (fits and is_above and is_below):
        raise Conflict(add)
    return moved


def has_happened(
    changes: tuple[Change, ...], version: int, *, get: Callable[[Key], Item | None]
) -> bool:
    """Whether a commit whose answer was lost is seen to have happened, by the version of its puts.

    False says nothing: what it wrote may have been replaced since, or be still on its way.
    """
    items = [get(change.key) for change in changes if isinstance(change, Put)]
    return any(item is not None and item.version == version for item in items)


def random_version() -> int:
    """53 random bits: no key meets the same version twice, and nobody has to remember the last."""
    return secrets.randbits(53)
