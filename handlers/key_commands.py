"""What an operator commands about API keys: the group `keys`."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from billing.accounts import find_account
from billing.administration import create_key
from billing.caps import Caps
from billing.key_use import last_used_day
from billing.keyring import MAX_GRACE_MS, Edit, Keyring
from billing.keys import (
    SANDBOX_SCOPES,
    USUAL_SCOPES,
    ApiKey,
    IssuedKey,
    KeyState,
    Powers,
    Scope,
)
from handlers.key_wire import DAY_S, MAX_CAP, KeyName, instant_ms, shown
from handlers.stores import Data, Stores
from inference.catalogue import MODELS
from jobs.ids import iso_utc, system_clock
from storage.kv import KeyValue

_USUAL, _SANDBOX = ",".join(USUAL_SCOPES), ",".join(SANDBOX_SCOPES)
_HOUR_MS = 60 * 60 * 1000
_LIFTABLE = {name.replace("_", "-"): name for name in Caps.model_fields}


def _words(said: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in said.split(",")))


def _scopes(said: str) -> tuple[Scope, ...]:
    return tuple(Scope(_among(word, tuple(Scope))) for word in _words(said))


def _models(said: str) -> tuple[str, ...]:
    return tuple(_among(word, tuple(MODELS)) for word in _words(said))


def _lifted(said: str) -> tuple[str, ...]:
    if said == "all":
        return tuple(_LIFTABLE.values())
    return tuple(_LIFTABLE[_among(word, tuple(_LIFTABLE))] for word in _words(said))


def _among(word: str, choices: tuple[str, ...]) -> str:
    if word not in choices:
        raise typer.BadParameter(f"{word!r} is none of {', '.join(choices)}")
    return word


def _name(said: str) -> str:
    try:
        name: str = TypeAdapter(KeyName).validate_python(said)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from None
    return name


def _future_ms(said: str) -> int:
    try:
        at_ms = instant_ms(said)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    assert isinstance(at_ms, int)
    if at_ms <= system_clock():
        raise typer.BadParameter("this time has passed")
    return at_ms


AccountId = Annotated[str, typer.Option("--account", help="The account's id, acc_…")]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, key_…")]
Name = Annotated[str, typer.Option(parser=_name, metavar="TEXT", help="What it is for.")]
Expires = Annotated[
    Any, typer.Option(parser=_future_ms, metavar="TIME", help="ISO 8601; UTC if it does not say.")
]
Cap = Annotated[int | None, typer.Option(min=1, max=MAX_CAP)]
Models = Annotated[
    Any, typer.Option(parser=_models, metavar="LIST", help="The only ones allowed, by commas.")
]


def add_key_commands(cli: typer.Typer, stores: Stores) -> None:
    """Add the group of commands."""
    command = KeyCommands(stores)
    sub = typer.Typer(help="API keys.", no_args_is_help=True)
    sub.command("create")(command.create)
    sub.command("list")(command.list)
    sub.command("rename")(command.rename)
    sub.command("caps")(command.cap)
    sub.command("rotate")(command.rotate)
    sub.command("pause")(command.pause)
    sub.command("resume")(command.resume)
    sub.command("revoke")(command.revoke)
    cli.add_typer(sub, name="keys")


@dataclass(frozen=True)
class KeyCommands:
    """The commands. They print JSON, and a serving process obeys with its next request."""

    stores: Stores

    def create(
        self,
        account: AccountId,
        name: Name = "default",
        scopes: Annotated[
            Any,
            typer.Option(
                parser=_scopes,
                metavar="LIST",
                help=f"By commas: {', '.join(Scope)}. "
                f"Without it {_USUAL}; for a sandbox key {_SANDBOX}.",
            ),
        ] = None,
        expires: Expires = None,
        job_credits: Cap = None,
        day_credits: Cap = None,
        day_jobs: Cap = None,
        month_credits: Cap = None,
        month_jobs: Cap = None,
        models: Models = None,
        sandbox: Annotated[
            bool, typer.Option("--sandbox", help="Its jobs cost nothing, and are kept apart.")
        ] = False,
        member: Annotated[
            str | None,
            typer.Option(metavar="MEMBER", help="Whose it is: usr_…, or the founder's."),
        ] = None,
        data: Data = None,
    ) -> None:
        """Make a further key, and print it; it is not shown again."""
        caps = Caps(
            job_credits=job_credits,
            day_credits=day_credits,
            day_jobs=day_jobs,
            month_credits=month_credits,
            month_jobs=month_jobs,
            models=models,
        )
        usual = SANDBOX_SCOPES if sandbox else USUAL_SCOPES
        powers = Powers(scopes or usual, caps, expires, sandbox)
        with self.stores.existing(data) as kv:
            key = create_key(
                kv, account, name=name, now_ms=system_clock(), powers=powers, member_id=member
            )
        _print(shown_once(key))

    def list(self, account: AccountId, data: Data = None) -> None:
        """List an account's keys, without what opens anything."""
        with self.stores.existing(data) as kv:
            find_account(kv, account)
            found = Keyring(kv, account).page()
            _print([_shown(kv, key) for key in found])

    def rename(
        self,
        key: KeyId,
        name: Annotated[str, typer.Argument(parser=_name, metavar="NAME")],
        account: AccountId,
        data: Data = None,
    ) -> None:
        """Give a key another name."""
        self._print_edited(key, account, edit=Edit(name=name), data=data)

    def cap(
        self,
        key: KeyId,
        account: AccountId,
        job_credits: Cap = None,
        day_credits: Cap = None,
        day_jobs: Cap = None,
        month_credits: Cap = None,
        month_jobs: Cap = None,
        models: Models = None,
        lift: Annotated[
            Any,
            typer.Option(
                parser=_lifted, metavar="LIST", help="Caps to take away, by commas, or all."
            ),
        ] = None,
        data: Data = None,
    ) -> None:
        """Set those caps of a key that are named."""
        said = {
            "job_credits": job_credits,
            "day_credits": day_credits,
            "day_jobs": day_jobs,
            "month_credits": month_credits,
            "month_jobs": month_jobs,
            "models": models,
        }
        lifted: dict[str, Any] = dict.fromkeys(lift or ())
        caps = lifted | {cap: limit for cap, limit in said.items() if limit is not None}
        self._print_edited(key, account, edit=Edit(caps=caps), data=data)

    def rotate(
        self,
        key: KeyId,
        account: AccountId,
        grace_hours: Annotated[
            int,
            typer.Option(
                min=0, max=MAX_GRACE_MS // _HOUR_MS, help="How long the old one works on."
            ),
        ] = DAY_S // 3600,
        expires: Expires = None,
        data: Data = None,
    ) -> None:
        """Replace a key by one that may do the same, and print that; it is not shown again."""
        with self.stores.existing(data) as kv:
            replacement = Keyring(kv, account).rotate(
                key,
                now_ms=system_clock(),
                grace_ms=grace_hours * _HOUR_MS,
                expires_at_ms=expires,
            )
        old = replacement.old
        works_until = None if old.state is KeyState.REVOKED else iso_utc(old.expires_at_ms or 0)
        _print(
            shown_once(replacement.issued)
            | {"replaces": {"id": old.id, "works_until": works_until}}
        )

    def pause(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Let a key do nothing for now."""
        self._print_state(key, account, state=KeyState.INACTIVE, data=data)

    def resume(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Let a paused key work again."""
        self._print_state(key, account, state=KeyState.ACTIVE, data=data)

    def revoke(self, key: KeyId, account: AccountId, data: Data = None) -> None:
        """Revoke a key for good."""
        self._print_state(key, account, state=KeyState.REVOKED, data=data)

    def _print_state(self, key: str, account: str, *, state: KeyState, data: Data) -> None:
        with self.stores.existing(data) as kv:
            changed = _shown(kv, Keyring(kv, account).edit(key, Edit(state=state)))
        _print({"id": changed["id"], "state": changed["state"]})

    def _print_edited(self, key: str, account: str, *, edit: Edit, data: Data) -> None:
        with self.stores.existing(data) as kv:
            _print(_shown(kv, Keyring(kv, account).edit(key, edit)))


def _shown(kv: KeyValue, key: ApiKey) -> dict[str, Any]:
    """A key as `GET /v2/keys` shows it."""
    used_day = last_used_day(kv, key.id)
    return shown(key, now_ms=system_clock(), last_used_day=used_day).model_dump(mode="json")


def shown_once(key: IssuedKey) -> dict[str, Any]:
    """A new key in both spellings."""
    return {
        "id": key.key.id,
        "name": key.key.name,
        "scopes": [*key.key.scopes],
        "sandbox": key.key.is_sandbox,
        "apiframe": key.apiframe_spelling,
        "vicsee": key.vicsee_spelling,
    }


def _print(what: object) -> None:
    typer.echo(json.dumps(what, indent=2))
