"""What an operator does to accounts, keys and credits: read, decide, commit."""

import secrets
from typing import NamedTuple

from billing import keys, ledger
from billing.accounts import Account, Balance, find_account, new_account
from billing.errors import TooManyPromotions
from billing.keyring import Edit, Keyring
from billing.keys import EVERY_SCOPE, IssuedKey, KeyState, Powers
from billing.plans import Plans, put_on_plan
from billing.promotions import MAX_PROMOTIONS, Promotion, promoted, promotions_of
from storage.kv import KeyValue


class OpenedAccount(NamedTuple):
    """A new account and its first key, whose body is shown this once."""

    account: Account
    key: IssuedKey


def open_account(
    kv: KeyValue,
    name: str,
    *,
    credits: int,
    now_ms: int,
    max_in_flight: int | None = None,
    daily_requests: int | None = None,
) -> OpenedAccount:
    """Open an account with its first key and `credits`, in one commit."""
    account = new_account(
        name, now_ms=now_ms, max_in_flight=max_in_flight, daily_requests=daily_requests
    )
    key = keys.issue(account.id, "default", now_ms=now_ms, powers=Powers(EVERY_SCOPE))
    kv.commit(*ledger.opening(account, credits=credits, now_ms=now_ms), *key.changes)
    return OpenedAccount(account, key)


def set_plan(
    kv: KeyValue, account_id: str, *, plan: str, plans: Plans, **own_limits: int
) -> Account:
    """Put an account on a plan; besides `own_limits` it has the plan's. The account afterwards."""
    kv.commit(put_on_plan(kv, account_id, plan=plan, plans=plans, **own_limits))
    return find_account(kv, account_id)[0]


def create_key(
    kv: KeyValue,
    account_id: str,
    *,
    name: str,
    now_ms: int,
    powers: Powers = Powers(),  # noqa: B008, immutable
    member_id: str | None = None,
) -> IssuedKey:
    """A further key for an account, of its founder's unless another member is named.

    Raises `AccountUnknown`, `TooManyKeys`, `MemberNotFound`.
    """
    find_account(kv, account_id)
    return Keyring(kv, account_id).create(name, now_ms=now_ms, powers=powers, member_id=member_id)


def set_key_state(kv: KeyValue, account_id: str, *, key_id: str, state: KeyState) -> None:
    """Pause, resume or revoke a key, effective with the next request.

    Raises `KeyNotFound`; `KeyEnded` if a revoked key is to be anything else.
    """
    Keyring(kv, account_id).edit(key_id, Edit(state=state))


def grant_credits(kv: KeyValue, account_id: str, *, credits: int, now_ms: int) -> Balance:
    """Give an account credits, and return its balance afterwards."""
    find_account(kv, account_id)
    kv.commit(*ledger.grant(account_id, _new_cause(), credits=credits, now_ms=now_ms))
    return find_account(kv, account_id)[1]


def grant_promotion(
    kv: KeyValue, account_id: str, *, credits: int, expires_at_ms: int | None, now_ms: int
) -> Balance:
    """Give an account promotional credits, and return its balance afterwards.

    Raises `TooManyPromotions` if it has `MAX_PROMOTIONS` that are not over.
    """
    find_account(kv, account_id)
    if len(promotions_of(kv, account_id)) >= MAX_PROMOTIONS:
        raise TooManyPromotions(f"An account may have {MAX_PROMOTIONS} promotions at a time")
    promotion = Promotion(
        account_id=account_id, cause=_new_cause(), credits=credits, expires_at_ms=expires_at_ms
    )
    kv.commit(*promoted(promotion, now_ms=now_ms))
    return find_account(kv, account_id)[1]


def _new_cause() -> str:
    return f"operator-{secrets.token_hex(8)}"
