"""What an operator commands besides serving: `accounts`, `credits`, `ledger`; `keys` and `members`
join."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import typer

from billing import ledger
from billing.accounts import (
    Account,
    Balance,
    all_account_ids,
    find_account,
)
from billing.administration import (
    grant_credits,
    grant_promotion,
    open_account,
    set_plan,
)
from billing.ledger import Line
from billing.verification import verify
from handlers.key_commands import add_key_commands, shown_once
from handlers.member_commands import add_member_commands
from handlers.settings import SettingsError
from handlers.statement_wire import entries_csv, shown_entry
from handlers.stores import Data, Stores
from handlers.webhook_secrets import shown_secrets
from jobs.ids import system_clock
from jobs.webhook_secrets import MAX_GRACE_HOURS, USUAL_GRACE_HOURS, rotate_webhook_secret
from storage.kv import MAX_PAGE, KeyValue

MAX_ACCOUNTS_LISTED = 1000
USUAL_ENTRIES = 100
DAY_MS = 24 * 60 * 60 * 1000

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id, acc_…")]
MaxInFlight = Annotated[
    int | None,
    typer.Option(min=1, help="Unfinished jobs at a time, in the place of the plan's."),
]
DailyRequests = Annotated[
    int | None, typer.Option(min=1, help="VicSee requests a day, in the place of the plan's.")
]


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
                "plan": command.set_plan,
                "webhook-secret": command.webhook_secret,
            },
        ),
        ("credits", "Balances.", {"grant": command.grant, "show": command.balance}),
        (
            "ledger",
            "The entries behind the balances.",
            {"verify": command.verify, "statement": command.statement},
        ),
    )
    for name, about, group in groups:
        sub = typer.Typer(help=about, no_args_is_help=True)
        for verb, do in group.items():
            sub.command(verb)(do)
        cli.add_typer(sub, name=name)
    add_key_commands(cli, stores)
    add_member_commands(cli, stores)


@dataclass(frozen=True)
class Administration:
    """The commands. They print JSON; only a new account may make a store."""

    stores: Stores

    def create_account(
        self,
        name: str,
        credits: Annotated[int, typer.Option(min=0, help="The opening balance.")] = 0,
        max_in_flight: MaxInFlight = None,
        daily_requests: DailyRequests = None,
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
                "key": shown_once(opened.key),
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

    def set_plan(
        self,
        account: AccountArgument,
        plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's name.")],
        max_in_flight: MaxInFlight = None,
        daily_requests: DailyRequests = None,
        data: Data = None,
    ) -> None:
        """Put an account on a plan; the limits that are not said here are the plan's."""
        said = {"max_in_flight": max_in_flight, "daily_requests": daily_requests}
        own = {name: limit for name, limit in said.items() if limit is not None}
        plans = self.stores.settings(data).plans
        with self.stores.existing(data) as kv:
            found = plans.applied(set_plan(kv, account, plan=plan, plans=plans, **own))
        _print(
            {
                "id": found.id,
                "plan": found.plan,
                "maxInFlight": found.max_in_flight,
                "requestsPerMinute": plans.of(found).requests_per_minute,
                "dailyRequests": found.daily_requests,
            }
        )

    def webhook_secret(
        self,
        account: AccountArgument,
        rotate: Annotated[bool, typer.Option("--rotate", help="Make a new one.")] = False,
        grace_hours: Annotated[
            int,
            typer.Option(
                min=0,
                max=MAX_GRACE_HOURS,
                help="With --rotate: how long the one before signs as well.",
            ),
        ] = USUAL_GRACE_HOURS,
        data: Data = None,
    ) -> None:
        """Print the secret that an account's webhooks are signed with, or replace it first."""
        now_ms = system_clock()
        with self.stores.existing(data) as kv:
            if rotate:
                found = rotate_webhook_secret(kv, account, grace_hours=grace_hours, now_ms=now_ms)
            else:
                found, _ = find_account(kv, account)
        _print(shown_secrets(found, now_ms=now_ms).model_dump())

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
            found = list(verify(kv))
        for discrepancy in found:
            typer.echo(f"{discrepancy.account_id}: {discrepancy.what}")
        if found:
            raise typer.Exit(1)
        typer.echo("the ledger verifies")

    def statement(
        self,
        account: AccountArgument,
        csv: Annotated[bool, typer.Option("--csv", help="As CSV, not as JSON.")] = False,
        limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = USUAL_ENTRIES,
        data: Data = None,
    ) -> None:
        """Print what moved an account's credits, newest first."""
        with self.stores.existing(data) as kv:
            find_account(kv, account)
            lines = list(islice(_lines(kv, account), limit + 1))
        shown = [shown_entry(line) for line in lines[:limit]]
        if csv:
            typer.echo(entries_csv(shown), nl=False)
        else:
            _print([each.model_dump() for each in shown])
        if len(lines) > limit:
            typer.echo(f"These are the last {limit}; there are more. See --limit.", err=True)


def _lines(kv: KeyValue, account_id: str) -> Iterator[Line]:
    """An account's entries, newest first, a page at a time."""
    before: str | None = None
    while page := ledger.statement(kv, account_id, before=before, limit=MAX_PAGE):
        yield from page
        before = page[-1].place


def _print(what: object) -> None:
    typer.echo(json.dumps(what, indent=2))


def _shown(account: Account, balance: Balance) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "credits": {"available": balance.available, "held": balance.held},
        "unfinishedJobs": balance.in_flight,
    }


def _shown_balance(account_id: str, balance: Balance) -> dict[str, str | int]:
    return {"account": account_id, **balance.model_dump()}
