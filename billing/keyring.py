"""The keyring: an account's keys as they are made, changed, replaced and taken away.

Each operation reads, decides and commits on what it read, and starts over if that has changed. The
store is asked for every request, so that a change is in force with the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from billing import keys
from billing.errors import KeyEnded, KeyNotFound, SandboxBounded, ScopeMissing, TooManyKeys
from billing.keys import SANDBOX_SCOPES, ApiKey, Caller, IssuedKey, KeyState, Powers
from billing.members import still_in
from storage.kv import (
    MAX_PAGE,
    Add,
    Change,
    Check,
    Conflict,
    Delete,
    Item,
    Key,
    KeyValue,
    Put,
    Unavailable,
    Unknown,
)

MAX_KEYS = 100
"""Of an account, paused ones included. Those that are over may make up the rest of its list until
a new key needs their place."""

HOUR_MS = 60 * 60 * 1000
USUAL_GRACE_MS = 24 * HOUR_MS
MAX_GRACE_MS = 30 * 24 * HOUR_MS
"""How long a replaced key goes on working: usually, and at the most."""

_MAX_CLEARED = 5
"""Keys that make room for one: two changes each, within what a commit may have."""

_TRIES = 20


class Edit(NamedTuple):
    """What is to change about a key; of its caps, those that are named, where None lifts one."""

    name: str | None = None
    caps: Mapping[str, Any] = {}
    state: KeyState | None = None

    def applied(self, key: ApiKey) -> ApiKey:
        """The key afterwards."""
        said = {"name": self.name, "state": self.state}
        changes: dict[str, Any] = {name: each for name, each in said.items() if each is not None}
        if self.caps:
            changes["caps"] = key.caps.model_copy(update=dict(self.caps))
        return key.model_copy(update=changes)


class Replacement(NamedTuple):
    """A key that takes over, and the one that it replaces, as it is from now on."""

    issued: IssuedKey
    old: ApiKey


class Kept(NamedTuple):
    """A key of the account's list, with its items."""

    row: Item
    item: Item
    key: ApiKey


@dataclass(frozen=True)
class Keyring:
    """The keys of one account.

    What is done `by` one of them holds only while that stays active, and gives no key a scope that
    it lacks, nor a longer time. An operator (None) may do everything. Keys of other accounts are
    `KeyNotFound`.
    """

    kv: KeyValue
    account_id: str
    by: Caller | None = None

    def create(
        self, name: str, *, now_ms: int, powers: Powers, member_id: str | None = None
    ) -> IssuedKey:
        """A further key, for that member; without one, for whose key asks.

        Raises `ScopeMissing`, `SandboxBounded`, `TooManyKeys`, `MemberNotFound`.
        """
        if powers.is_sandbox and not set(powers.scopes) <= set(SANDBOX_SCOPES):
            raise SandboxBounded
        powers = self._bounded(powers)
        whose = member_id or (None if self.by is None else self.by.key.member_id)
        whose = None if whose == self.account_id else whose
        issued = keys.issue(self.account_id, name, now_ms=now_ms, powers=powers, member_id=whose)
        for _ in range(_TRIES):
            member = still_in(self.kv, self.account_id, whose)
            if self._is_made(issued, *self._still_let_in(), *member, *self._room(now_ms=now_ms)):
                return issued
        raise Unavailable("the key could not be committed")

    def rotate(
        self,
        key_id: str,
        *,
        now_ms: int,
        grace_ms: int = USUAL_GRACE_MS,
        expires_at_ms: int | None = None,
    ) -> Replacement:
        """A new key like that one; both work for `grace_ms`, and then only the new.

        The new one has the old one's name, scopes, caps, state and world, and its time too unless
        another is given. Without any grace the old one is revoked. Raises `KeyEnded` if the old one
        is over or has been replaced before, `ScopeMissing`, `TooManyKeys`, `MemberNotFound`.
        """
        world = Powers(is_sandbox=self._found(key_id)[1].is_sandbox)  # that never changes
        issued = keys.issue(self.account_id, "", now_ms=now_ms, powers=world)
        for _ in range(_TRIES):
            item, old = self._found(key_id)
            if old.replaced_by == issued.key.id:  # an earlier try, whose answer was lost
                return Replacement(issued, old)
            _check_replaceable(old, now_ms=now_ms)
            ends_ms = expires_at_ms or old.expires_at_ms
            powers = self._bounded(Powers(old.scopes, old.caps, ends_ms, old.is_sandbox))
            issued = _like(old, issued, powers=powers)
            leaving = _replaced(old, issued.key, now_ms=now_ms, grace_ms=grace_ms)
            if self._is_made(
                issued,
                *self._still_let_in(besides=item.key),
                *still_in(self.kv, self.account_id, old.member_id),
                *self._room(now_ms=now_ms, leaving=None if grace_ms else old.id),
                Put(item.key, leaving.model_dump(), replaces=item.version),
            ):
                return Replacement(issued, leaving)
        raise Unavailable("the key could not be replaced")

    def edit(self, key_id: str, edit: Edit) -> ApiKey:
        """The key after a change, in force with the next request.

        Repeating an edit changes nothing. Raises `KeyEnded` if the key is revoked, which is for
        good, and anything else is to change about it.
        """
        for _ in range(_TRIES):
            item, key = self._found(key_id)
            changed = edit.applied(key)
            if changed == key:
                return key
            if key.state is KeyState.REVOKED:
                raise KeyEnded(f"The key {key_id} has been revoked, which is for good")
            put = Put(item.key, changed.model_dump(), replaces=item.version)
            try:
                self.kv.commit(put, *self._still_let_in(besides=item.key))
            except (Conflict, Unknown):
                continue  # what became of it is told by the key as it is now
            return changed
        raise Unavailable("the key could not be changed")

    def revoke(self, key_id: str) -> ApiKey:
        """Take a key out of use for good; quiet if that has been done before."""
        return self.edit(key_id, Edit(state=KeyState.REVOKED))

    def page(self, *, after: str | None = None, limit: int = MAX_PAGE) -> list[ApiKey]:
        """Up to `limit` keys in the order of their ids; `after` is the id of the last one seen."""
        return keys.keys_of(self.kv, self.account_id, after=after, limit=limit)

    def _found(self, key_id: str) -> tuple[Item, ApiKey]:
        item = keys.find_item(self.kv, self.account_id, key_id)
        if item is None:
            raise KeyNotFound(f"No such key: {key_id}")
        return item, ApiKey.model_validate(item.value)

    def _bounded(self, powers: Powers) -> Powers:
        """The powers, if whoever asks may give them, for no longer than its own time."""
        if self.by is None:
            return powers
        giver = self.by.key
        for scope in powers.scopes:
            if not giver.may(scope):
                told = f"This key lacks the scope {scope}, so it cannot give it to another"
                raise ScopeMissing(scope, told)
        ends = [end for end in (powers.expires_at_ms, giver.expires_at_ms) if end is not None]
        return powers._replace(expires_at_ms=min(ends, default=None))

    def _still_let_in(self, *, besides: Key | None = None) -> tuple[Check, ...]:
        """The condition that whoever asks still may; none if its item is changed anyway."""
        if self.by is None:
            return ()
        check = keys.read_again(self.kv, self.by).still_active()
        return () if check.key == besides else (check,)

    def _is_made(self, issued: IssuedKey, *changes: Change) -> bool:
        try:
            self.kv.commit(*issued.changes, *changes)
        except (Conflict, Unknown):
            # Nobody else writes this row. An earlier try whose answer was lost may have.
            return self.kv.get(keys.row_key(self.account_id, issued.key.id)) is not None
        return True

    def _room(self, *, now_ms: int, leaving: str | None = None) -> tuple[Change, ...]:
        """The changes that take a place in the list; `TooManyKeys` if there is none.

        Every key that is made moves the count, and only from the figure that was read before the
        list was: so no two keys take the same place. `leaving` gives up its own.
        """
        count = self.kv.get(_count_key(self.account_id))
        listed = self._listed()
        over = [kept for kept in listed if kept.key.is_over(now_ms=now_ms)]
        staying = len(listed) - len(over) - (leaving is not None)
        if staying >= MAX_KEYS:
            raise TooManyKeys(f"An account may have {MAX_KEYS} keys: revoke one first")
        excess = max(len(listed) + 1 - MAX_KEYS, 0)
        oldest = sorted(over, key=lambda kept: kept.key.created_at_ms)
        return (
            _counted(self.account_id, count),
            *_cleared(oldest[: min(excess, _MAX_CLEARED)]),
        )

    def _listed(self) -> list[Kept]:
        rows = self.kv.query(keys.list_partition(self.account_id), limit=MAX_PAGE)
        found = [(row, self.kv.get(keys.key_key(row.value["sha256"]))) for row in rows]
        return [
            Kept(row, item, ApiKey.model_validate(item.value))
            for row, item in found
            if item is not None
        ]


def _check_replaceable(key: ApiKey, *, now_ms: int) -> None:
    if key.replaced_by is not None:
        raise KeyEnded(f"The key {key.id} has been replaced by {key.replaced_by}")
    if key.is_over(now_ms=now_ms):
        raise KeyEnded(f"The key {key.id} is revoked or expired")


def _like(old: ApiKey, issued: IssuedKey, *, powers: Powers) -> IssuedKey:
    """The new key, which is the old one in all but its body."""
    same = {
        "name": old.name,
        "state": old.state,
        "capped_as": old.capped_as or old.id,
        "member_id": old.member_id,
        **powers._asdict(),
    }
    return issued._replace(key=issued.key.model_copy(update=same))


def _replaced(old: ApiKey, new: ApiKey, *, now_ms: int, grace_ms: int) -> ApiKey:
    changes: dict[str, Any] = {"replaced_by": new.id}
    until_ms = now_ms + grace_ms
    if grace_ms:
        changes["expires_at_ms"] = min(until_ms, old.expires_at_ms or until_ms)
    else:
        changes["state"] = KeyState.REVOKED
    return old.model_copy(update=changes)


def _counted(account_id: str, count: Item | None) -> Change:
    """One more key made, if it has been as many as that until now."""
    key = _count_key(account_id)
    if count is None:
        return Put(key, {}, counters={"made": 1})
    return Add(key, {"made": 1}, ceilings={"made": count.counters["made"] + 1})


def _cleared(kept: list[Kept]) -> tuple[Delete, ...]:
    items = [item for each in kept for item in (each.row, each.item)]
    return tuple(Delete(item.key, item.version) for item in items)


def _count_key(account_id: str) -> Key:
    return Key(f"key_count#{account_id}", "made")
