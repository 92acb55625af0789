"""The keyring: what may be done with an account's keys, by whom, and by many at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from billing import keys
from billing.accounts import Account
from billing.administration import open_account
from billing.caps import Caps
from billing.errors import (
    BillingError,
    KeyEnded,
    KeyExpired,
    KeyInactive,
    KeyNotFound,
    KeyUnknown,
    SandboxBounded,
    ScopeMissing,
    TooManyKeys,
)
from billing.keyring import MAX_KEYS, USUAL_GRACE_MS, Edit, Keyring
from billing.keys import (
    EVERY_SCOPE,
    SANDBOX_SCOPES,
    ApiKey,
    Caller,
    IssuedKey,
    KeyState,
    Powers,
    Scope,
)
from storage.kv import Change, Conflict, KeyValue, Unavailable, Unknown
from tests.running import Clock
from tests.watched import WatchedStore

AT_ONCE = 8
HOUR_MS = 60 * 60 * 1000
CAPS = Caps(day_credits=100, models=("clarity-upscale",))
READER = Powers((Scope.JOBS_READ,), CAPS)
SANDBOX = Powers(SANDBOX_SCOPES, is_sandbox=True)


@pytest.fixture
def keyring(kv: KeyValue, account: Account) -> Keyring:
    """The account's keyring in an operator's hands."""
    return Keyring(kv, account.id)


def is_let_in(kv: KeyValue, issued: IssuedKey, *, now_ms: int) -> bool:
    try:
        keys.authenticate(kv, issued.body, now_ms=now_ms)
    except (KeyUnknown, KeyInactive):
        return False
    return True


def held_by(keyring: Keyring, clock: Clock, powers: Powers) -> Keyring:
    """The keyring in the hands of a new key."""
    issued = keyring.create("holder", now_ms=clock(), powers=powers)
    return Keyring(keyring.kv, keyring.account_id, by=caller(keyring.kv, issued, clock))


def caller(kv: KeyValue, issued: IssuedKey, clock: Clock) -> Caller:
    return keys.authenticate(kv, issued.body, now_ms=clock())


def stored(keyring: Keyring, key_id: str) -> ApiKey:
    return next(key for key in keyring.page() if key.id == key_id)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return or refuse with, made at the same time."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except BillingError as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls))


class LostAnswers(WatchedStore):
    """A store that makes commits and loses the answers to the first few of them."""

    def __init__(self, kv: KeyValue, *, lost: int) -> None:
        super().__init__(kv)
        self.lost = lost

    def commit(self, *changes: Change) -> None:
        super().commit(*changes)
        if self.lost > 0:
            self.lost -= 1
            raise Unknown


class Contended(WatchedStore):
    """A store in which somebody else is always first."""

    def commit(self, *changes: Change) -> None:
        raise Conflict(changes[0])


def test_a_key_is_made_as_it_was_wished_for(keyring: Keyring, clock: Clock) -> None:
    powers = Powers((Scope.JOBS_READ,), CAPS, clock() + HOUR_MS)
    issued = keyring.create("reader", now_ms=clock(), powers=powers)
    key = caller(keyring.kv, issued, clock).key
    assert (key.name, key.scopes, key.caps) == ("reader", (Scope.JOBS_READ,), CAPS)
    assert key.expires_at_ms == clock() + HOUR_MS


def test_a_rotated_key_works_until_its_grace_is_over_and_the_new_one_from_the_start(
    keyring: Keyring, clock: Clock
) -> None:
    old = keyring.create("reader", now_ms=clock(), powers=READER)
    new = keyring.rotate(old.key.id, now_ms=clock()).issued
    assert is_let_in(keyring.kv, old, now_ms=clock() + USUAL_GRACE_MS - 1)
    assert is_let_in(keyring.kv, new, now_ms=clock())
    with pytest.raises(KeyExpired):
        keys.authenticate(keyring.kv, old.body, now_ms=clock() + USUAL_GRACE_MS)
    assert is_let_in(keyring.kv, new, now_ms=clock() + USUAL_GRACE_MS)


def test_a_replacement_is_the_old_key_in_all_but_what_opens(keyring: Keyring, clock: Clock) -> None:
    expiring = READER._replace(expires_at_ms=clock() + 1000 * HOUR_MS)
    old = keyring.create("reader", now_ms=clock(), powers=expiring)
    keyring.edit(old.key.id, Edit(state=KeyState.INACTIVE))
    replacement = keyring.rotate(old.key.id, now_ms=clock())
    new = stored(keyring, replacement.issued.key.id)
    own = {"id", "prefix", "replaced_by", "capped_as", "expires_at_ms"}
    assert new.model_dump(exclude=own) == replacement.old.model_dump(exclude=own)
    assert new.expires_at_ms == clock() + 1000 * HOUR_MS
    assert replacement.old.replaced_by == new.id
    assert replacement.issued.body != old.body


def test_a_replacement_of_a_sandbox_key_is_one(keyring: Keyring, clock: Clock) -> None:
    old = keyring.create("tests", now_ms=clock(), powers=SANDBOX)
    new = keyring.rotate(old.key.id, now_ms=clock()).issued
    assert new.apiframe_spelling.startswith("afk_test_")
    assert caller(keyring.kv, new, clock).key.is_sandbox


@pytest.mark.parametrize("scope", [Scope.BILLING, Scope.ADMIN])
def test_a_sandbox_key_has_no_scope_over_money_or_keys(
    keyring: Keyring, clock: Clock, scope: Scope
) -> None:
    with pytest.raises(SandboxBounded):
        keyring.create("tests", now_ms=clock(), powers=SANDBOX._replace(scopes=(scope,)))
    assert [key.name for key in keyring.page()] == ["default"]


def test_a_rotated_key_can_be_revoked_before_its_grace_is_over(
    keyring: Keyring, clock: Clock
) -> None:
    old = keyring.create("reader", now_ms=clock(), powers=READER)
    new = keyring.rotate(old.key.id, now_ms=clock()).issued
    keyring.revoke(old.key.id)
    assert not is_let_in(keyring.kv, old, now_ms=clock())
    assert is_let_in(keyring.kv, new, now_ms=clock())


def test_without_grace_the_old_key_is_revoked_in_the_commit_that_makes_the_new(
    keyring: Keyring, clock: Clock
) -> None:
    old = keyring.create("reader", now_ms=clock(), powers=READER)
    let_in_before = caller(keyring.kv, old, clock)
    new = keyring.rotate(old.key.id, now_ms=clock(), grace_ms=0).issued
    assert is_let_in(keyring.kv, new, now_ms=clock())
    with pytest.raises(KeyUnknown):
        keys.read_again(keyring.kv, let_in_before)


def test_a_grace_lengthens_no_keys_life(keyring: Keyring, clock: Clock) -> None:
    short = READER._replace(expires_at_ms=clock() + HOUR_MS)
    old = keyring.create("short", now_ms=clock(), powers=short)
    new = keyring.rotate(old.key.id, now_ms=clock(), expires_at_ms=clock() + 9 * HOUR_MS)
    assert new.old.expires_at_ms == clock() + HOUR_MS
    assert new.issued.key.expires_at_ms == clock() + 9 * HOUR_MS


def test_a_key_is_replaced_once(keyring: Keyring, clock: Clock) -> None:
    old = keyring.create("reader", now_ms=clock(), powers=READER)
    new = keyring.rotate(old.key.id, now_ms=clock()).issued
    with pytest.raises(KeyEnded, match=new.key.id):
        keyring.rotate(old.key.id, now_ms=clock())
    keyring.rotate(new.key.id, now_ms=clock())


def test_a_key_that_is_over_is_not_replaced(keyring: Keyring, clock: Clock) -> None:
    revoked = keyring.create("revoked", now_ms=clock(), powers=READER)
    keyring.revoke(revoked.key.id)
    short = READER._replace(expires_at_ms=clock() + HOUR_MS)
    expired = keyring.create("expired", now_ms=clock(), powers=short)
    for issued in (revoked, expired):
        with pytest.raises(KeyEnded):
            keyring.rotate(issued.key.id, now_ms=clock() + HOUR_MS)


def test_an_edit_changes_what_it_names_alone(keyring: Keyring, clock: Clock) -> None:
    key = keyring.create("reader", now_ms=clock(), powers=READER).key
    keyring.edit(key.id, Edit(name="other"))
    keyring.edit(key.id, Edit(caps={"day_credits": None, "job_credits": 5}))
    caps = CAPS.model_copy(update={"day_credits": None, "job_credits": 5})
    assert stored(keyring, key.id) == key.model_copy(update={"name": "other", "caps": caps})


def test_repeating_an_edit_writes_nothing(keyring: Keyring, clock: Clock) -> None:
    issued = keyring.create("reader", now_ms=clock(), powers=READER)
    keyring.edit(issued.key.id, Edit(name="other"))
    before = caller(keyring.kv, issued, clock).key_version
    keyring.edit(issued.key.id, Edit(name="other"))
    assert caller(keyring.kv, issued, clock).key_version == before


def test_revoking_twice_is_quiet_and_nothing_else_is_done_to_a_revoked_key(
    keyring: Keyring, clock: Clock
) -> None:
    key_id = keyring.create("reader", now_ms=clock(), powers=READER).key.id
    assert keyring.revoke(key_id) == keyring.revoke(key_id)
    for edit in (Edit(name="other"), Edit(state=KeyState.ACTIVE), Edit(caps={"day_jobs": 1})):
        with pytest.raises(KeyEnded, match="for good"):
            keyring.edit(key_id, edit)


@pytest.mark.parametrize("key_id", ["key_0123456789abcdef", "", "key_\0", "key_é", "x" * 5000])
def test_what_is_no_key_of_the_account_is_not_found(keyring: Keyring, key_id: str) -> None:
    for use in (
        lambda: keyring.edit(key_id, Edit(name="other")),
        lambda: keyring.revoke(key_id),
        lambda: keyring.rotate(key_id, now_ms=0),
    ):
        with pytest.raises(KeyNotFound):
            use()


def test_keys_of_other_accounts_are_not_found(keyring: Keyring, clock: Clock) -> None:
    other = open_account(keyring.kv, "Bob", credits=0, now_ms=clock()).key
    with pytest.raises(KeyNotFound):
        keyring.revoke(other.key.id)
    with pytest.raises(KeyNotFound):
        keyring.rotate(other.key.id, now_ms=clock())
    assert is_let_in(keyring.kv, other, now_ms=clock())


@pytest.mark.parametrize("scope", [Scope.JOBS_WRITE, Scope.BILLING])
def test_a_key_gives_no_scope_that_it_lacks(keyring: Keyring, clock: Clock, scope: Scope) -> None:
    held = held_by(keyring, clock, Powers((Scope.JOBS_READ, Scope.ADMIN)))
    with pytest.raises(ScopeMissing, match=scope):
        held.create("more", now_ms=clock(), powers=Powers((Scope.JOBS_READ, scope)))
    held.create("as much", now_ms=clock(), powers=Powers((Scope.JOBS_READ, Scope.ADMIN)))


def test_a_key_gets_no_body_of_one_that_may_do_more(keyring: Keyring, clock: Clock) -> None:
    strong = keyring.create("strong", now_ms=clock(), powers=Powers(EVERY_SCOPE)).key
    held = held_by(keyring, clock, Powers((Scope.ADMIN,)))
    with pytest.raises(ScopeMissing):
        held.rotate(strong.id, now_ms=clock())
    assert stored(keyring, strong.id).replaced_by is None


def test_a_key_gives_no_longer_time_than_it_has(keyring: Keyring, clock: Clock) -> None:
    ends_ms = clock() + HOUR_MS
    held = held_by(keyring, clock, Powers(EVERY_SCOPE, expires_at_ms=ends_ms))
    for wished, given in ((None, ends_ms), (ends_ms + 1, ends_ms), (ends_ms - 1, ends_ms - 1)):
        powers = Powers(expires_at_ms=wished)
        assert held.create("x", now_ms=clock(), powers=powers).key.expires_at_ms == given
    forever = keyring.create("forever", now_ms=clock(), powers=READER).key
    assert held.rotate(forever.id, now_ms=clock()).issued.key.expires_at_ms == ends_ms


def test_a_key_replaces_itself(keyring: Keyring, clock: Clock) -> None:
    held = held_by(keyring, clock, Powers(EVERY_SCOPE))
    assert held.by is not None
    new = held.rotate(held.by.key.id, now_ms=clock()).issued
    assert is_let_in(keyring.kv, new, now_ms=clock())


def test_a_key_that_was_revoked_after_it_was_let_in_does_nothing_more(
    keyring: Keyring, clock: Clock
) -> None:
    key_id = keyring.create("reader", now_ms=clock(), powers=READER).key.id
    held = held_by(keyring, clock, Powers(EVERY_SCOPE))
    assert held.by is not None
    keyring.revoke(held.by.key.id)
    before = keyring.page()
    for use in (
        lambda: held.create("late", now_ms=clock(), powers=READER),
        lambda: held.rotate(key_id, now_ms=clock()),
        lambda: held.edit(key_id, Edit(name="late")),
    ):
        with pytest.raises(KeyUnknown):
            use()
    assert keyring.page() == before


def test_an_account_may_have_so_many_keys_and_revoking_one_makes_room(
    keyring: Keyring, clock: Clock
) -> None:
    for _ in range(MAX_KEYS - 1):
        last = keyring.create("many", now_ms=clock(), powers=READER)
    for use in (
        lambda: keyring.create("one more", now_ms=clock(), powers=READER),
        lambda: keyring.rotate(last.key.id, now_ms=clock()),
    ):
        with pytest.raises(TooManyKeys, match=str(MAX_KEYS)):
            use()
    new = keyring.rotate(last.key.id, now_ms=clock(), grace_ms=0).issued
    keyring.revoke(new.key.id)
    keyring.create("in its place", now_ms=clock(), powers=READER)
    with pytest.raises(TooManyKeys):
        keyring.create("one more", now_ms=clock(), powers=READER)


def test_keys_that_are_over_make_room_in_the_list_oldest_first(
    keyring: Keyring, clock: Clock
) -> None:
    ended = []
    for _ in range(MAX_KEYS + 5):
        clock.advance(seconds=1)
        issued = keyring.create("passing", now_ms=clock(), powers=READER)
        keyring.revoke(issued.key.id)
        ended.append(issued)
    listed = {key.id for key in keyring.page()}
    assert len(listed) == MAX_KEYS
    assert {each.key.id for each in ended} - listed == {each.key.id for each in ended[:6]}
    assert not any(is_let_in(keyring.kv, each, now_ms=clock()) for each in ended)


def test_a_list_comes_a_page_at_a_time(keyring: Keyring, clock: Clock) -> None:
    for _ in range(4):
        keyring.create("many", now_ms=clock(), powers=READER)
    first = keyring.page(limit=3)
    rest = keyring.page(after=first[-1].id, limit=3)
    assert [*first, *rest] == keyring.page()
    assert len(rest) == 2


def test_of_many_renames_at_once_one_is_the_last_and_the_rest_of_the_key_is_whole(
    keyring: Keyring, clock: Clock
) -> None:
    key = keyring.create("reader", now_ms=clock(), powers=READER).key
    names = [f"name {number}" for number in range(AT_ONCE)]
    at_once(*[lambda name=name: keyring.edit(key.id, Edit(name=name)) for name in names])
    left = stored(keyring, key.id)
    assert left.name in names
    assert left == key.model_copy(update={"name": left.name})


def test_changes_at_once_of_different_things_are_all_there(keyring: Keyring, clock: Clock) -> None:
    key = keyring.create("reader", now_ms=clock(), powers=READER).key
    caps = {"job_credits": 1, "day_jobs": 2, "month_credits": 3, "month_jobs": 4}
    edits = [Edit(name="other"), *(Edit(caps={name: cap}) for name, cap in caps.items())]
    at_once(*[lambda edit=edit: keyring.edit(key.id, edit) for edit in edits])
    left = stored(keyring, key.id)
    assert (left.name, left.caps) == ("other", CAPS.model_copy(update=caps))


def test_whatever_is_done_beside_a_revocation_the_key_is_revoked(
    keyring: Keyring, clock: Clock
) -> None:
    issued = keyring.create("reader", now_ms=clock(), powers=READER)
    key_id = issued.key.id
    done = at_once(
        *[lambda: keyring.revoke(key_id)] * 4,
        *[lambda: keyring.edit(key_id, Edit(state=KeyState.INACTIVE))] * 2,
        *[lambda: keyring.edit(key_id, Edit(state=KeyState.ACTIVE))] * 2,
        lambda: keyring.edit(key_id, Edit(name="other")),
        lambda: keyring.rotate(key_id, now_ms=clock()),
    )
    assert [outcome.state for outcome in done[:4]] == [KeyState.REVOKED] * 4
    assert not is_let_in(keyring.kv, issued, now_ms=clock())
    assert stored(keyring, key_id).state is KeyState.REVOKED


def test_of_many_rotations_at_once_one_makes_a_key(keyring: Keyring, clock: Clock) -> None:
    key_id = keyring.create("reader", now_ms=clock(), powers=READER).key.id
    done = at_once(*[lambda: keyring.rotate(key_id, now_ms=clock())] * AT_ONCE)
    (made,) = [outcome for outcome in done if not isinstance(outcome, BillingError)]
    assert all(isinstance(outcome, KeyEnded) for outcome in done if outcome is not made)
    assert stored(keyring, key_id).replaced_by == made.issued.key.id
    assert sum(key.name == "reader" for key in keyring.page()) == 2


def test_of_many_keys_at_once_no_more_are_made_than_there_is_room_for(
    keyring: Keyring, clock: Clock
) -> None:
    for _ in range(MAX_KEYS - 3):
        keyring.create("many", now_ms=clock(), powers=READER)
    make = [lambda: keyring.create("more", now_ms=clock(), powers=READER)] * AT_ONCE
    done = at_once(*make)
    assert sum(isinstance(outcome, TooManyKeys) for outcome in done) == AT_ONCE - 2
    assert len(keyring.page()) == MAX_KEYS


def test_a_lost_answer_makes_no_second_key(keyring: Keyring, clock: Clock) -> None:
    forgetful = Keyring(LostAnswers(keyring.kv, lost=1), keyring.account_id)
    issued = forgetful.create("once", now_ms=clock(), powers=READER)
    assert is_let_in(keyring.kv, issued, now_ms=clock())
    assert sum(key.name == "once" for key in keyring.page()) == 1


def test_a_lost_answer_rotates_no_second_time(keyring: Keyring, clock: Clock) -> None:
    old = keyring.create("once", now_ms=clock(), powers=READER)
    forgetful = Keyring(LostAnswers(keyring.kv, lost=1), keyring.account_id)
    new = forgetful.rotate(old.key.id, now_ms=clock()).issued
    assert is_let_in(keyring.kv, new, now_ms=clock())
    assert sum(key.name == "once" for key in keyring.page()) == 2


def test_a_lost_answer_to_an_edit_is_looked_up(keyring: Keyring, clock: Clock) -> None:
    key_id = keyring.create("reader", now_ms=clock(), powers=READER).key.id
    forgetful = Keyring(LostAnswers(keyring.kv, lost=1), keyring.account_id)
    assert forgetful.edit(key_id, Edit(name="other")) == stored(keyring, key_id)
    assert stored(keyring, key_id).name == "other"


def test_who_never_gets_a_turn_gives_up(keyring: Keyring, clock: Clock) -> None:
    key_id = keyring.create("reader", now_ms=clock(), powers=READER).key.id
    contended = Keyring(Contended(keyring.kv), keyring.account_id)
    for use in (
        lambda: contended.create("never", now_ms=clock(), powers=READER),
        lambda: contended.rotate(key_id, now_ms=clock()),
        lambda: contended.edit(key_id, Edit(name="never")),
    ):
        with pytest.raises(Unavailable):
            use()
