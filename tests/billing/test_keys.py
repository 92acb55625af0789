"""Keys: typos told without the store, two spellings of one digest, and what a key may do."""

import hashlib
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing import keys
from billing.accounts import Account
from billing.administration import create_key, open_account, set_key_state
from billing.caps import Caps
from billing.errors import (
    KeyEnded,
    KeyExpired,
    KeyFormatInvalid,
    KeyInactive,
    KeyNotFound,
    KeyUnknown,
)
from billing.keys import SANDBOX_SCOPES, IssuedKey, KeyState, Powers, Scope
from storage.kv import Conflict, KeyValue, Put, Unavailable
from tests.running import Clock

ALPHABET = string.ascii_letters + string.digits
NOW_MS = Clock().now_ms


@pytest.fixture
def issued(kv: KeyValue, account: Account, clock: Clock) -> IssuedKey:
    return create_key(kv, account.id, name="laptop", now_ms=clock())


def single_typos(body: str) -> Iterator[str]:
    """Every text that has one character of `body` replaced, left out, doubled or swapped."""
    for at, right in enumerate(body):
        others = (wrong for wrong in ALPHABET + "-_ é\0" if wrong != right)
        yield from (body[:at] + wrong + body[at + 1 :] for wrong in others)
        yield body[:at] + body[at + 1 :]
        yield body[:at] + right + body[at:]
        swapped = body[:at] + body[at + 1 : at + 2] + right + body[at + 2 :]
        if swapped != body:
            yield swapped


def test_every_single_typo_is_told_without_asking_the_store(
    kv: KeyValue, issued: IssuedKey
) -> None:
    kv.close()
    with pytest.raises(Unavailable):
        keys.authenticate(kv, issued.body, now_ms=NOW_MS)
    for typo in single_typos(issued.body):
        with pytest.raises(KeyFormatInvalid):
            keys.authenticate(kv, typo, now_ms=NOW_MS)


@pytest.mark.parametrize("text", ["", "afk_", "0" * 30, "é" * 30, "0" * 10_000])
def test_what_never_was_a_key_is_told_without_asking_the_store(kv: KeyValue, text: str) -> None:
    kv.close()
    with pytest.raises(KeyFormatInvalid):
        keys.authenticate(kv, text, now_ms=NOW_MS)


def test_a_well_formed_key_that_nobody_was_given_is_unknown(kv: KeyValue, clock: Clock) -> None:
    stranger = keys.issue("acc_stranger", "never stored", now_ms=clock())
    with pytest.raises(KeyUnknown):
        keys.authenticate(kv, stranger.body, now_ms=NOW_MS)


def test_a_key_says_whose_it_is(kv: KeyValue, account: Account, issued: IssuedKey) -> None:
    caller = keys.authenticate(kv, issued.body, now_ms=NOW_MS)
    assert caller.account_id == account.id
    assert caller.key == issued.key
    assert (issued.key.name, issued.key.state) == ("laptop", KeyState.ACTIVE)


def test_both_spellings_have_one_body_and_one_digest(kv: KeyValue, issued: IssuedKey) -> None:
    assert issued.apiframe_spelling == f"afk_{issued.body}"
    assert issued.vicsee_spelling == f"sk-{issued.body}"
    digest = hashlib.sha256(issued.apiframe_spelling.encode()).hexdigest()
    assert keys.authenticate(kv, issued.body, now_ms=NOW_MS).key_sha256 == digest


def test_no_two_keys_are_alike(clock: Clock) -> None:
    issued = [keys.issue("acc", "key", now_ms=clock()) for _ in range(100)]
    assert len({key.body for key in issued}) == len({key.key.id for key in issued}) == 100
    assert all(keys.has_valid_checksum(key.body) for key in issued)


def test_the_file_has_the_digest_and_never_the_key(
    tmp_path: Path, kv: KeyValue, issued: IssuedKey
) -> None:
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    kv.close()
    written += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    random_part, checksum = issued.body[:24], issued.body[24:]
    assert hashlib.sha256(issued.apiframe_spelling.encode()).hexdigest().encode() in written
    assert random_part.encode() not in written
    assert checksum.encode() not in written
    assert issued.body[4:12].encode() not in written


def test_the_prefix_that_may_be_shown_is_short(issued: IssuedKey) -> None:
    assert issued.key.prefix == issued.apiframe_spelling[:8]


@pytest.fixture
def sandboxed(kv: KeyValue, account: Account, clock: Clock) -> IssuedKey:
    powers = Powers(SANDBOX_SCOPES, is_sandbox=True)
    return create_key(kv, account.id, name="tests", now_ms=clock(), powers=powers)


def test_a_sandbox_key_says_so_in_both_spellings(kv: KeyValue, sandboxed: IssuedKey) -> None:
    assert sandboxed.apiframe_spelling.startswith("afk_test_")
    assert sandboxed.vicsee_spelling.startswith("sk-test_")
    assert sandboxed.key.prefix == sandboxed.apiframe_spelling[: len("afk_test_") + 4]
    digest = hashlib.sha256(sandboxed.apiframe_spelling.encode()).hexdigest()
    caller = keys.authenticate(kv, sandboxed.body, now_ms=NOW_MS)
    assert (caller.key_sha256, caller.key.is_sandbox) == (digest, True)


def test_every_single_typo_in_a_sandbox_key_is_told_without_asking_the_store(
    kv: KeyValue, sandboxed: IssuedKey
) -> None:
    kv.close()
    for typo in single_typos(sandboxed.body):
        with pytest.raises(KeyFormatInvalid):
            keys.authenticate(kv, typo, now_ms=NOW_MS)


def test_a_sandbox_key_without_its_mark_opens_nothing_nor_does_a_live_one_with_it(
    kv: KeyValue, issued: IssuedKey, sandboxed: IssuedKey
) -> None:
    for body in (sandboxed.body.removeprefix("test_"), f"test_{issued.body}"):
        with pytest.raises(KeyUnknown):
            keys.authenticate(kv, body, now_ms=NOW_MS)


def test_a_paused_key_is_inactive_until_it_is_resumed(
    kv: KeyValue, account: Account, issued: IssuedKey
) -> None:
    set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.INACTIVE)
    with pytest.raises(KeyInactive):
        keys.authenticate(kv, issued.body, now_ms=NOW_MS)
    set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.ACTIVE)
    assert keys.authenticate(kv, issued.body, now_ms=NOW_MS).account_id == account.id


def test_a_revoked_key_is_unknown_for_good(
    kv: KeyValue, account: Account, issued: IssuedKey
) -> None:
    set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.REVOKED)
    with pytest.raises(KeyUnknown):
        keys.authenticate(kv, issued.body, now_ms=NOW_MS)
    with pytest.raises(KeyEnded, match="for good"):
        set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.ACTIVE)
    with pytest.raises(KeyUnknown):
        keys.authenticate(kv, issued.body, now_ms=NOW_MS)


def test_a_callers_condition_fails_once_the_key_has_changed(
    kv: KeyValue, account: Account, issued: IssuedKey
) -> None:
    caller = keys.authenticate(kv, issued.body, now_ms=NOW_MS)
    kv.commit(caller.still_active())
    set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.INACTIVE)
    with pytest.raises(Conflict):
        kv.commit(caller.still_active())


def test_reading_a_caller_again_tells_why_its_key_no_longer_serves(
    kv: KeyValue, account: Account, issued: IssuedKey
) -> None:
    caller = keys.authenticate(kv, issued.body, now_ms=NOW_MS)
    assert keys.read_again(kv, caller) == caller
    set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.INACTIVE)
    with pytest.raises(KeyInactive):
        keys.read_again(kv, caller)
    set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.ACTIVE)
    kv.commit(keys.read_again(kv, caller).still_active())
    set_key_state(kv, account.id, key_id=issued.key.id, state=KeyState.REVOKED)
    with pytest.raises(KeyUnknown):
        keys.read_again(kv, caller)


def test_an_account_lists_its_own_keys_only(
    kv: KeyValue, account: Account, issued: IssuedKey, clock: Clock
) -> None:
    kv.commit(*keys.issue("acc_other", "not mine", now_ms=clock()).changes)
    assert {key.name for key in keys.keys_of(kv, account.id)} == {"default", "laptop"}
    with pytest.raises(KeyNotFound):
        set_key_state(kv, "acc_other", key_id=issued.key.id, state=KeyState.REVOKED)


def test_a_key_from_before_there_were_scopes_may_do_all_but_manage_keys(
    kv: KeyValue, issued: IssuedKey
) -> None:
    caller = keys.authenticate(kv, issued.body, now_ms=NOW_MS)
    item = kv.get(caller.still_active().key)
    assert item is not None
    added = ("scopes", "caps", "expires_at_ms", "replaced_by")
    old = {name: each for name, each in item.value.items() if name not in added}
    kv.commit(Put(item.key, old, replaces=item.version))
    key = keys.authenticate(kv, issued.body, now_ms=NOW_MS).key
    assert key.scopes == (Scope.JOBS_WRITE, Scope.JOBS_READ, Scope.BILLING)
    assert (key.caps, key.expires_at_ms, key.replaced_by) == (Caps(), None, None)


def test_the_first_key_of_an_account_may_do_everything(kv: KeyValue, clock: Clock) -> None:
    opened = open_account(kv, "Ada", credits=0, now_ms=clock())
    key = keys.authenticate(kv, opened.key.body, now_ms=clock()).key
    assert all(key.may(scope) for scope in Scope)


def test_a_key_expires_to_the_millisecond(kv: KeyValue, account: Account) -> None:
    powers = Powers(expires_at_ms=NOW_MS + 1000)
    issued = create_key(kv, account.id, name="short", now_ms=NOW_MS, powers=powers)
    assert keys.authenticate(kv, issued.body, now_ms=NOW_MS + 999).key == issued.key
    with pytest.raises(KeyExpired):
        keys.authenticate(kv, issued.body, now_ms=NOW_MS + 1000)


def test_an_expiry_that_passes_after_a_request_was_let_in_does_it_no_harm(
    kv: KeyValue, account: Account
) -> None:
    powers = Powers(expires_at_ms=NOW_MS + 1000)
    issued = create_key(kv, account.id, name="short", now_ms=NOW_MS, powers=powers)
    caller = keys.authenticate(kv, issued.body, now_ms=NOW_MS + 999)
    kv.commit(caller.still_active())
    assert keys.read_again(kv, caller) == caller
