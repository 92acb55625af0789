"""The team: who is in it, what keys they have, and how both go."""

from collections.abc import Callable

import pytest

from billing import keys
from billing.accounts import Account
from billing.administration import create_key, open_account
from billing.errors import (
    AccountUnknown,
    KeyUnknown,
    MemberNotFound,
    OwnerStays,
    TooManyMembers,
)
from billing.keyring import Keyring
from billing.keys import EVERY_SCOPE, Powers
from billing.members import MAX_MEMBERS, Member, MemberState, Role
from billing.team import Team
from storage.kv import Change, KeyValue, Unavailable, Unknown
from tests.running import Clock
from tests.watched import WatchedStore


@pytest.fixture
def team(kv: KeyValue, account: Account) -> Team:
    """The account's team in an operator's hands."""
    return Team(kv, account.id)


@pytest.fixture
def bo(team: Team, clock: Clock) -> Member:
    return added(team, clock)


def added(team: Team, clock: Clock, *, role: Role = Role.MEMBER) -> Member:
    return team.add("Bo", email="bo@example.org", role=role, now_ms=clock())


def key_of(team: Team, member: Member, clock: Clock) -> keys.IssuedKey:
    return create_key(team.kv, team.account_id, name="theirs", now_ms=clock(), member_id=member.id)


def is_let_in(team: Team, issued: keys.IssuedKey, clock: Clock) -> bool:
    try:
        keys.authenticate(team.kv, issued.body, now_ms=clock())
    except KeyUnknown:
        return False
    return True


class Lost(WatchedStore):
    """A store that makes commits, and loses the answer to the first."""

    is_lost = False

    def commit(self, *changes: Change) -> None:
        super().commit(*changes)
        if not self.is_lost:
            self.is_lost = True
            raise Unknown


def dying_at(call: int) -> Callable[[int], None]:
    def die(number: int) -> None:
        if number == call:
            raise Unavailable

    return die


def test_who_opened_the_account_is_in_the_team_from_the_start(team: Team, account: Account) -> None:
    (founder,) = team.all()
    assert (founder.id, founder.name, founder.email) == (account.id, account.name, account.email)
    assert (founder.role, founder.created_at_ms) == (Role.OWNER, account.created_at_ms)
    assert team.get(account.id) == founder


def test_a_member_is_listed_as_they_were_added(team: Team, bo: Member, clock: Clock) -> None:
    assert bo.id.startswith("usr_")
    assert (bo.name, bo.email, bo.role) == ("Bo", "bo@example.org", Role.MEMBER)
    assert team.all()[1:] == [bo] == [team.get(bo.id)]
    assert added(team, clock, role=Role.OWNER).role is Role.OWNER


def test_a_member_is_added_once_though_the_answer_is_lost(team: Team, clock: Clock) -> None:
    lossy = Team(Lost(team.kv), team.account_id)
    member = added(lossy, clock)
    assert team.all()[1:] == [member]


def test_a_key_is_its_members_and_so_is_the_one_that_replaces_it(
    team: Team, bo: Member, clock: Clock
) -> None:
    issued = key_of(team, bo, clock)
    new = Keyring(team.kv, team.account_id).rotate(issued.key.id, now_ms=clock()).issued
    assert issued.key.used_by == new.key.used_by == bo.id


def test_a_key_that_names_nobody_is_the_founders(
    team: Team, account: Account, clock: Clock
) -> None:
    keyring = Keyring(team.kv, account.id)
    for named in (None, account.id):
        issued = keyring.create("mine", now_ms=clock(), powers=Powers(), member_id=named)
        assert (issued.key.member_id, issued.key.used_by) == (None, account.id)


def test_a_key_made_by_a_members_key_is_that_members(team: Team, bo: Member, clock: Clock) -> None:
    first = create_key(
        team.kv, team.account_id, name="admin", now_ms=clock(), powers=Powers(EVERY_SCOPE),
        member_id=bo.id,
    )  # fmt: skip
    by = keys.authenticate(team.kv, first.body, now_ms=clock())
    keyring = Keyring(team.kv, team.account_id, by=by)
    assert keyring.create("next", now_ms=clock(), powers=Powers()).key.used_by == bo.id


def test_a_member_who_is_removed_has_no_key_that_works(
    team: Team, account: Account, bo: Member, clock: Clock
) -> None:
    theirs = [key_of(team, bo, clock) for _ in range(3)]
    others = create_key(team.kv, account.id, name="mine", now_ms=clock())
    team.remove(bo.id)
    assert [is_let_in(team, issued, clock) for issued in theirs] == [False] * 3
    assert is_let_in(team, others, clock)
    assert [member.id for member in team.all()] == [account.id]
    with pytest.raises(MemberNotFound):
        team.remove(bo.id)


@pytest.mark.parametrize("call", range(1, 25))
def test_a_removal_that_is_interrupted_goes_on_when_it_is_repeated(
    team: Team, bo: Member, clock: Clock, call: int
) -> None:
    issued = key_of(team, bo, clock)
    frail = Team(WatchedStore(team.kv, before=dying_at(call)), team.account_id)
    try:
        frail.remove(bo.id)
    except Unavailable:
        team.remove(bo.id)
    assert not is_let_in(team, issued, clock)
    assert len(team.all()) == 1


def test_whoever_is_leaving_gets_no_further_key(team: Team, bo: Member, clock: Clock) -> None:
    issued = key_of(team, bo, clock)
    team.mark_leaving(bo.id)
    assert team.get(bo.id).state is MemberState.LEAVING
    with pytest.raises(MemberNotFound, match="leaving"):
        key_of(team, bo, clock)
    with pytest.raises(MemberNotFound, match="leaving"):
        Keyring(team.kv, team.account_id).rotate(issued.key.id, now_ms=clock())


def test_a_key_is_not_made_for_who_leaves_at_that_moment(
    team: Team, bo: Member, clock: Clock
) -> None:
    class Meanwhile(WatchedStore):
        def commit(self, *changes: Change) -> None:
            team.mark_leaving(bo.id)
            super().commit(*changes)

    with pytest.raises(MemberNotFound, match="leaving"):
        create_key(
            Meanwhile(team.kv), team.account_id, name="late", now_ms=clock(), member_id=bo.id
        )
    assert [key.name for key in Keyring(team.kv, team.account_id).page()] == ["default"]


def test_who_opened_the_account_stays(team: Team, account: Account, clock: Clock) -> None:
    added(team, clock, role=Role.OWNER)
    with pytest.raises(OwnerStays):
        team.remove(account.id)


def test_one_member_too_many_is_refused_until_another_goes(team: Team, clock: Clock) -> None:
    members = [added(team, clock) for _ in range(MAX_MEMBERS - 1)]
    with pytest.raises(TooManyMembers, match="100 members"):
        added(team, clock)
    team.remove(members[0].id)
    added(team, clock)
    assert len(team.all()) == MAX_MEMBERS


@pytest.mark.parametrize("member_id", ["usr_0123456789abcdef", "", "usr_\0", "x" * 5000])
def test_who_is_nobody_is_not_found(
    team: Team, account: Account, clock: Clock, member_id: str
) -> None:
    for ask in (team.get, team.remove):
        with pytest.raises(MemberNotFound):
            ask(member_id)
    if member_id:
        with pytest.raises(MemberNotFound):
            create_key(team.kv, account.id, name="x", now_ms=clock(), member_id=member_id)


def test_another_accounts_member_is_not_found(team: Team, bo: Member, clock: Clock) -> None:
    stranger = open_account(team.kv, "Eve", credits=0, now_ms=clock()).account
    with pytest.raises(MemberNotFound):
        Team(team.kv, stranger.id).remove(bo.id)
    assert team.get(bo.id) == bo


def test_an_unknown_account_has_no_team(kv: KeyValue, clock: Clock) -> None:
    team = Team(kv, "acc_none")
    for ask in (team.all, lambda: added(team, clock)):
        with pytest.raises(AccountUnknown):
            ask()


def test_a_revoked_key_adds_and_removes_nobody(
    team: Team, account: Account, bo: Member, clock: Clock
) -> None:
    issued = create_key(team.kv, account.id, name="admin", now_ms=clock())
    by = keys.authenticate(team.kv, issued.body, now_ms=clock())
    Keyring(team.kv, account.id).revoke(issued.key.id)
    late = Team(team.kv, account.id, by=by)
    with pytest.raises(KeyUnknown):
        added(late, clock)
    with pytest.raises(KeyUnknown):
        late.remove(bo.id)
    assert team.all()[1:] == [bo]
