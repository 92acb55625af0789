"""Accounts: who pays, what they may do, and the counters that hold their balance."""

import base64
import secrets
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from billing.errors import AccountUnknown
from storage.kv import MAX_PAGE, Key, KeyValue, Put
from storage.record import Record

DEFAULT_PLAN = "self-hosted"
DEFAULT_MAX_IN_FLIGHT = 100
DEFAULT_DAILY_REQUESTS = 500
_WEBHOOK_SECRET_BYTES = 32


class Account(Record):
    """An account as stored; its balance is in the item's counters, see `Balance`.

    Of the limits those count that `own_limits` names; `billing.plans` puts the plan's in the place
    of the others. Accounts from before there were plans have both for their own. The
    `older_webhook_secret` signs beside `webhook_secret` until `older_webhook_secret_until_ms`.
    """

    id: str
    name: str
    email: str
    plan: str = DEFAULT_PLAN
    max_in_flight: int
    daily_requests: int = DEFAULT_DAILY_REQUESTS
    own_limits: tuple[str, ...] = ("max_in_flight", "daily_requests")
    webhook_secret: str
    older_webhook_secret: str | None = None
    older_webhook_secret_until_ms: int = 0
    created_at_ms: int


class Balance(BaseModel):
    """An account's counters: paid credits, promotional ones, those on hold, those spent, and the
    unfinished jobs. Paid credits fall below zero when a payment is taken back after its credits
    were spent; what is missing is owed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    available: int = 0
    promo: int = 0
    held: int = 0
    spent: int = 0
    in_flight: int = 0

    @property
    def owed(self) -> int:
        """Credits that must be paid before anything more is spent."""
        return max(0, -self.available)

    @property
    def spendable(self) -> int:
        """Credits that a job can be paid with, of both kinds: none while anything is owed."""
        return 0 if self.owed else self.available + self.promo


def account_key(account_id: str) -> Key:
    """Where an account lives."""
    return Key(f"account#{account_id}", "account")


def new_account(
    name: str,
    *,
    now_ms: int,
    max_in_flight: int | None = None,
    daily_requests: int | None = None,
) -> Account:
    """A fresh account with its own id and webhook secret (Standard Webhooks' `whsec_` form).

    A limit that is None is the plan's.
    """
    said = {"max_in_flight": max_in_flight, "daily_requests": daily_requests}
    own = {name: limit for name, limit in said.items() if limit is not None}
    account_id = f"acc_{secrets.token_hex(8)}"
    return Account(
        id=account_id,
        name=name,
        email=f"{account_id}@accounts.invalid",
        max_in_flight=own.get("max_in_flight", DEFAULT_MAX_IN_FLIGHT),
        daily_requests=own.get("daily_requests", DEFAULT_DAILY_REQUESTS),
        own_limits=tuple(own),
        webhook_secret=new_webhook_secret(),
        created_at_ms=now_ms,
    )


def new_webhook_secret() -> str:
    """A fresh secret of 256 bits, in Standard Webhooks' form."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_WEBHOOK_SECRET_BYTES)).decode()}"


def live_webhook_secrets(account: Account, *, now_ms: int) -> tuple[str, ...]:
    """The secrets that sign now, the newest first: two while one replaces the other."""
    older = account.older_webhook_secret
    if older is None or now_ms >= account.older_webhook_secret_until_ms:
        return (account.webhook_secret,)
    return (account.webhook_secret, older)


def opened(account: Account, *, credits: int) -> tuple[Put, ...]:
    """The changes that open an account: its item, and its row in the list of all accounts.

    `credits` are there from the start; `billing.ledger.opening` writes the entry that explains
    them.
    """
    counters = dict.fromkeys(Balance.model_fields, 0) | {"available": credits}
    return (
        Put(account_key(account.id), account.model_dump(), counters=counters),
        Put(Key("accounts", account.id), {}),
    )


def find_account(kv: KeyValue, account_id: str) -> tuple[Account, Balance]:
    """The account and its balance now; `AccountUnknown` if there is none."""
    item = kv.get(account_key(account_id))
    if item is None:
        raise AccountUnknown(f"No such account: {account_id}")
    return Account.model_validate(item.value), Balance.model_validate(item.counters)


def all_account_ids(kv: KeyValue) -> Iterator[str]:
    """Every account's id, in order, a page at a time."""
    after: str | None = None
    while page := kv.query("accounts", after=after, limit=MAX_PAGE):
        yield from (item.key.sort for item in page)
        after = page[-1].key.sort
