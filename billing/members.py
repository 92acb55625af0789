"""Members: the people of an account, which is a team; each key is one's.

Who opened the account is its founder, an owner who is not stored: their id is the account's own,
and a key that names no member is theirs. So every account has an owner, and always had.

    members#<account>, <member>     those who were added
    member_count#<account>, members  how many they are
"""

import re
from enum import StrEnum

from billing.accounts import Account
from billing.errors import MemberNotFound
from storage.kv import Check, Item, Key, KeyValue
from storage.record import Record

MAX_MEMBERS = 100
"""Of an account, its founder included."""

_ID = re.compile(r"usr_[0-9a-f]{16}")


class Role(StrEnum):
    """What somebody is in the team. What a key may do its scopes say, whosever it is."""

    OWNER = "owner"
    MEMBER = "member"


class MemberState(StrEnum):
    """Whether somebody belongs to the team, or is on the way out: their keys are being revoked."""

    ACTIVE = "active"
    LEAVING = "leaving"


class Member(Record):
    """Somebody in the team."""

    id: str
    account_id: str
    name: str
    email: str
    role: Role = Role.MEMBER
    state: MemberState = MemberState.ACTIVE
    created_at_ms: int


def founder_of(account: Account) -> Member:
    """Who opened the account."""
    return Member(
        id=account.id,
        account_id=account.id,
        name=account.name,
        email=account.email,
        role=Role.OWNER,
        created_at_ms=account.created_at_ms,
    )


def member_key(account_id: str, member_id: str) -> Key:
    """Where a member who was added lives."""
    return Key(members_partition(account_id), member_id)


def find_item(kv: KeyValue, account_id: str, member_id: str) -> Item:
    """The item of a member who was added. Raises `MemberNotFound`."""
    item = kv.get(member_key(account_id, member_id)) if _ID.fullmatch(member_id) else None
    if item is None:
        raise MemberNotFound(f"No such member: {member_id[:100]}")
    return item


def still_in(kv: KeyValue, account_id: str, member_id: str | None) -> tuple[Check, ...]:
    """The condition that a member who was added is in the team; the founder (None) always is.

    Raises `MemberNotFound` if they are not, or are on the way out.
    """
    if member_id is None:
        return ()
    item = find_item(kv, account_id, member_id)
    if Member.model_validate(item.value).state is not MemberState.ACTIVE:
        raise MemberNotFound(f"This member is leaving: {member_id}")
    return (Check(item.key, version=item.version),)


def members_partition(account_id: str) -> str:
    """The partition of an account's members."""
    return f"members#{account_id}"


def count_key(account_id: str) -> Key:
    """Where it is counted how many were added."""
    return Key(f"member_count#{account_id}", "members")
