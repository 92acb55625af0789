"""What an operator commands about the people of an account: the group `members`."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from billing.members import Role
from billing.team import Team
from handlers.key_wire import KeyName
from handlers.members import Email, shown_member
from handlers.stores import Data, Stores
from jobs.ids import system_clock


def _checked(kind: Any, said: str) -> str:
    try:
        checked: str = TypeAdapter(kind).validate_python(said)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from None
    return checked


def _name(said: str) -> str:
    return _checked(KeyName, said)


def _email(said: str) -> str:
    return _checked(Email, said)


Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id, acc_…")]


def add_member_commands(cli: typer.Typer, stores: Stores) -> None:
    """Add the group of commands."""
    command = MemberCommands(stores)
    sub = typer.Typer(help="The people of an account.", no_args_is_help=True)
    sub.command("add")(command.add)
    sub.command("list")(command.list)
    sub.command("remove")(command.remove)
    cli.add_typer(sub, name="members")


@dataclass(frozen=True)
class MemberCommands:
    """The commands. They print JSON."""

    stores: Stores

    def add(
        self,
        account: Account,
        name: Annotated[str, typer.Argument(parser=_name, metavar="NAME")],
        email: Annotated[str, typer.Argument(parser=_email, metavar="EMAIL")],
        owner: Annotated[
            bool, typer.Option("--owner", help="As an owner, not as a mere member.")
        ] = False,
        data: Data = None,
    ) -> None:
        """Add somebody to an account; `keys create --member` makes keys for them."""
        role = Role.OWNER if owner else Role.MEMBER
        with self.stores.existing(data) as kv:
            added = Team(kv, account).add(name, email=email, role=role, now_ms=system_clock())
        _print(shown_member(added).model_dump())

    def list(self, account: Account, data: Data = None) -> None:
        """List an account's members, who opened it first."""
        with self.stores.existing(data) as kv:
            found = Team(kv, account).all()
        _print([shown_member(each).model_dump() for each in found])

    def remove(
        self,
        account: Account,
        member: Annotated[str, typer.Argument(metavar="MEMBER", help="Their id, usr_…")],
        data: Data = None,
    ) -> None:
        """Remove somebody from an account, and revoke their keys."""
        with self.stores.existing(data) as kv:
            Team(kv, account).remove(member)
        _print({"id": member, "state": "removed"})


def _print(what: object) -> None:
    typer.echo(json.dumps(what, indent=2))
