"""What an operator commands besides serving: `accounts`, `keys`, `credits` and `ledger`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from billing import keys, ledger
from billing.accounts import (
    DEFAULT_DAILY_REQUESTS,
    DEFAULT_MAX_IN_FLIGHT,
    Account,
    Balance,
    all_account_ids,
    find_account,
)
from billing.administration import (
    create_key,
    grant_credits,
    grant_promotion,
    open_account,
    set_key_state,
)
from billing.keys import IssuedKey, KeyState
from handlers.settings import SettingsError
from handlers.stores import Data, Stores
from jobs.ids import system_clock

MAX_ACCOUNTS_LISTED = 1000
DAY_MS = 24 * 60 * 60 * 1000

AccountId = Annotated[str, typer.Option("--account", help="The account's id, acc_…")]
AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id, acc_…")]
KeyId = Annotated[str, typer.Argument(help="The key's id, key_…")]


def add_administration(cli: typer.Typer, stores: Stores) -> None:
    """Add the groups of commands, which work on those stores, beside a serving process or not."""
    command = Administration(stores)
    groups: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
        (
            "accounts",
            "Who pays.",
            {
                "create": command.create_account,
                "list": command.list_accounts,
                "show": command.show_account,
            },
        ),
        (
            "keys",
            "API keys.",
            {
                "create": command.create_key,
                "list": command.list_keys,
                "revoke": command.revoke_key,
                "pause": command.pause_key,
                "resume": command.resume_key,
            },
        ),
        ("credits", "Balances.", {"grant": command.grant, "show": command.balance}),
        ("ledger", "The entries behind the balances.", {"verify": command.verify}),
    )
    for name, about, group in groups:
        sub = typer.Typer(help=about, no_args_is_help=True)
        for verb, do in group.items():
            sub.command(verb)(do)
        cli.add_typer(sub, name=name)


@dataclass(frozen=True)
class Administration:
    """The commands. They print JSON; only a new account may make a store."""

    stores: Stores

    def create_account(
        self,
        name: str,
        credits: Annotated[int, typer.Option(min=0, help="The opening balance.")] = 0,
        max_in_flight: Annotated[
            int, typer.Option(min=1, help="Unfinished jobs at a time.")
        ] = DEFAULT_MAX_IN_FLIGHT,
        daily_requests: Annotated[
            int, typer.Option(min=1, help="VicSee requests a day.")
        ] = DEFAULT_DAILY_REQUESTS,
        data: Data = None,
    ) -> None:
        """Open an account, and print it with its key, which is not shown again."""
        with self.stores.opened(self.stores.settings(data), may_create=True) as kv:
            opened = open_account(
                kv,
                name,
                credits=credits,
                now_ms=system_clock(),
                max_in_flight=max_in_flight,
                daily_requests=daily_requests,
            )
        _print(
            {
                "account": {
                    "id": opened.account.id,
                    "name": opened.account.name,
                    "credits": credits,
                    "webhookSecret": opened.account.webhook_secret,
                },
                "key": _shown_once(opened.key),
            }
        )

    def list_accounts(
        self,
        limit: Annotated[
            int, typer.Option(min=1, help="How many at the most.")
        ] = MAX_ACCOUNTS_LISTED,
        data: Data = None,
    ) -> None:
        """List the accounts with their credits, without their secrets."""
        with self.stores.existing(data) as kv:
            ids = list(islice(all_account_ids(kv), limit + 1))
            found = [find_account(kv, account_id) for account_id in ids[:limit]]
        _print([_shown(account, balance) for account, balance in found])
        if len(ids) > limit:
            typer.echo(f"These are the first {limit}; there are more. See --limit.", err=True)

    def show_account(self, account: AccountArgument, data: Data = None) -> None:
        """Print an account with the secret that its webhooks are signed with."""
        with self.stores.existing(data) as kv:
            found, balance = find_account(kv, account)
        _print(_shown(found, balance) | {"webhookSecret": found.webhook_secret})

    def create_key(self, account: AccountId, name: str = "default", data: Data = None) -> None:
        """Make a further key, and print it; it is not shown again."""
        with self.stores.existing(data) as kv:
            key = create_key(kv, account, name=name, now_ms=system_clock())
        _print(_shown_once(key))

    def list_keys(self, account: AccountId, data: Data = None) -> None:
        """List an account's keys, without what opens anything."""
        with self.stores.existing(data) as kv:
            find_account(kv, account)
            found = keys.keys_of(kv, account)
        _print([key.model_dump() for key in found])

    def revoke_key(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Revoke a key for good."""
        self._set_key_state(key, account, state=KeyState.REVOKED, data=data)

    def pause_key(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Let a key do nothing for now."""
        self._set_key_state(key, account, state=KeyState.INACTIVE, data=data)

    def resume_key(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Let a paused key work again."""
        self._set_key_state(key, account, state=KeyState.ACTIVE, data=data)

    def grant(
        self,
        account: AccountArgument,
        credits: Annotated[int, typer.Argument(min=1)],
        promotional: Annotated[
            bool, typer.Option("--promotional", help="Given for nothing; spent first.")
        ] = False,
        expires_days: Annotated[
            int | None,
            typer.Option(min=1, max=3650, help="Promotional credits only: for how many days."),
        ] = None,
        data: Data = None,
    ) -> None:
        """Give an account credits, and print its balance."""
        if expires_days is not None and not promotional:
            raise SettingsError("--expires-days is for --promotional credits: others never expire")
        now_ms = system_clock()
        with self.stores.existing(data) as kv:
            if promotional:
                until_ms = None if expires_days is None else now_ms + expires_days * DAY_MS
                balance = grant_promotion(
                    kv, account, credits=credits, expires_at_ms=until_ms, now_ms=now_ms
                )
            else:
                balance = grant_credits(kv, account, credits=credits, now_ms=now_ms)
        _print(_shown_balance(account, balance))

    def balance(self, account: AccountArgument, data: Data = None) -> None:
        """Print an account's balance."""
        with self.stores.existing(data) as kv:
            _print(_shown_balance(account, find_account(kv, account)[1]))

    def verify(self, data: Data = None) -> None:
        """Check that the entries add up to the balances; print what does not, and exit 1."""
        with self.stores.existing(data) as kv:
            found = list(ledger.verify(kv))
        for discrepancy in found:
            typer.echo(f"{discrepancy.account_id}: {discrepancy.what}")
        if found:
            raise typer.Exit(1)
        typer.echo("the ledger verifies")

    def _set_key_state(
        self, key_id: str, account_id: str, *, state: KeyState, data: Path | None
    ) -> None:
        with self.stores.existing(data) as kv:
            set_key_state(kv, account_id, key_id=key_id, state=state)
        _print({"id": key_id, "state": state})


def _print(what: object) -> None:
    typer.echo(json.dumps(what, indent=2))


def _shown(account: Account, balance: Balance) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "credits": {"available": balance.available, "held": balance.held},
        "unfinishedJobs": balance.in_flight,
    }


def _shown_once(key: IssuedKey) -> dict[str, str]:
    return {
        "id": key.key.id,
        "name": key.key.name,
        "apiframe": key.apiframe_spelling,
        "vicsee": key.vicsee_spelling,
    }


def _shown_balance(account_id: str, balance: Balance) -> dict[str, str | int]:
    return {"account": account_id, **balance.model_dump()}
