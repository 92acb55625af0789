"""What an operator commands about payments: `stripe reconcile`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from billing.errors import PaymentsOff
from billing.reconciliation import Reconciled
from handlers.settings import Settings
from handlers.stores import Data, Stores
from handlers.wiring import payments_over
from jobs.ids import iso_utc, system_clock

DAY_MS = 24 * 60 * 60 * 1000
_ROW = "{:<24}  {:<8}  {:<66}  {:>20}  {:<29}  {}"


def add_stripe(cli: typer.Typer, stores: Stores) -> None:
    """Add the group of commands."""
    command = StripeCommands(stores)
    sub = typer.Typer(help="Payments.", no_args_is_help=True)

    @sub.callback()
    def _group() -> None:
        """Payments."""  # a group, although it has one command only

    sub.command("reconcile")(command.reconcile)
    cli.add_typer(sub, name="stripe")


@dataclass(frozen=True)
class StripeCommands:
    """The commands, with the key that the settings have."""

    stores: Stores

    def reconcile(
        self,
        days: Annotated[int, typer.Option(min=1, max=90, help="How far back.")] = 3,
        data: Data = None,
    ) -> None:
        """Take in what Stripe knows and the ledger does not: payments, invoices, refunds, disputes
        and events that did not arrive; exit 1 if something cannot be put right."""
        settings: Settings = self.stores.settings(data)
        with self.stores.opened(settings, may_create=False) as kv:
            payments = payments_over(kv, settings)
            if payments is None:
                raise PaymentsOff("ENLARGER_STRIPE_KEY is not set")
            typer.echo(_ROW.format("created", "what", "id", "amount", "order", "outcome"))
            rows = 0
            wrong = 0
            since_ms = system_clock() - days * DAY_MS
            for row in payments.reconciliation().run(since_ms=since_ms):
                typer.echo(_shown(row))
                rows, wrong = rows + 1, wrong + (not row.is_well)
        typer.echo(f"{rows} looked at, {wrong} that could not be put right")
        if wrong:
            raise typer.Exit(1)


def _shown(row: Reconciled) -> str:
    order = row.order.id if row.order else "none"
    created = iso_utc(row.created_s * 1000)
    return _ROW.format(created, row.what, row.id, row.amount, order, row.outcome)
