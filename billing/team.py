"""The team: an account's members as they come and go, and their keys with them."""

import secrets
from dataclasses import dataclass

from billing import keys
from billing.accounts import find_account
from billing.errors import OwnerStays, TooManyMembers
from billing.keyring import Keyring
from billing.keys import Caller, KeyState
from billing.members import (
    MAX_MEMBERS,
    Member,
    MemberState,
    Role,
    count_key,
    find_item,
    founder_of,
    member_key,
    members_partition,
)
from storage.kv import (
    MAX_PAGE,
    Add,
    Check,
    Conflict,
    Delete,
    KeyValue,
    Put,
    Unavailable,
    Unknown,
)

_TRIES = 20


@dataclass(frozen=True)
class Team:
    """The members of one account. What is done `by` a key holds only while that stays active; an
    operator is None. Those of other accounts are `MemberNotFound`.
    """

    kv: KeyValue
    account_id: str
    by: Caller | None = None

    def all(self) -> list[Member]:
        """The founder, then those who were added, in the order of their ids.

        Raises `AccountUnknown`.
        """
        founder = founder_of(find_account(self.kv, self.account_id)[0])
        items = self.kv.query(members_partition(self.account_id), limit=MAX_PAGE)
        return [founder, *(Member.model_validate(item.value) for item in items)]

    def get(self, member_id: str) -> Member:
        """One of them. Raises `MemberNotFound`, `AccountUnknown`."""
        if member_id == self.account_id:
            return founder_of(find_account(self.kv, self.account_id)[0])
        return Member.model_validate(find_item(self.kv, self.account_id, member_id).value)

    def add(self, name: str, *, email: str, role: Role, now_ms: int) -> Member:
        """One more. Raises `TooManyMembers`, `AccountUnknown`."""
        find_account(self.kv, self.account_id)
        member = Member(
            id=f"usr_{secrets.token_hex(8)}",
            account_id=self.account_id,
            name=name,
            email=email,
            role=role,
            created_at_ms=now_ms,
        )
        key = member_key(self.account_id, member.id)
        for _ in range(_TRIES):
            put = Put(key, member.model_dump(mode="json"))
            try:
                self.kv.commit(put, self._counted(), *self._still_let_in())
            except (Conflict, Unknown):
                if self.kv.get(key) is None:  # else an earlier try, whose answer was lost
                    continue
            return member
        raise Unavailable("the member could not be committed")

    def remove(self, member_id: str) -> None:
        """Take somebody out of the team, and their keys out of use, one after the other.

        From the first step on they get no further key; whatever interrupts the others, to repeat
        it goes on. Raises `OwnerStays` for the founder, `MemberNotFound`.
        """
        self.mark_leaving(member_id)
        keyring = Keyring(self.kv, self.account_id)
        for key in keyring.page():
            if key.member_id == member_id and key.state is not KeyState.REVOKED:
                keyring.revoke(key.id)
        for _ in range(_TRIES):
            item = self.kv.get(member_key(self.account_id, member_id))
            if item is None:  # somebody else was at it too
                return
            counted = Add(count_key(self.account_id), {"members": -1}, floors={"members": 0})
            try:
                self.kv.commit(Delete(item.key, item.version), counted)
            except (Conflict, Unknown):
                continue
            return
        raise Unavailable("the member could not be removed")

    def mark_leaving(self, member_id: str) -> None:
        """The first step out, after which a member gets no further key."""
        if member_id == self.account_id:
            raise OwnerStays
        for _ in range(_TRIES):
            item = find_item(self.kv, self.account_id, member_id)
            member = Member.model_validate(item.value)
            if member.state is MemberState.LEAVING:
                return
            leaving = member.model_copy(update={"state": MemberState.LEAVING})
            put = Put(item.key, leaving.model_dump(mode="json"), replaces=item.version)
            try:
                self.kv.commit(put, *self._still_let_in())
            except (Conflict, Unknown):
                continue
            return
        raise Unavailable("the member could not be removed")

    def _still_let_in(self) -> tuple[Check, ...]:
        if self.by is None:
            return ()
        return (keys.read_again(self.kv, self.by).still_active(),)

    def _counted(self) -> Put | Add:
        """The change that takes a place."""
        key = count_key(self.account_id)
        count = self.kv.get(key)
        if count is None:
            return Put(key, {}, counters={"members": 1})
        if count.counters["members"] >= MAX_MEMBERS - 1:
            raise TooManyMembers(f"An account may have {MAX_MEMBERS} members: remove one first")
        return Add(key, {"members": 1}, ceilings={"members": MAX_MEMBERS - 1})
