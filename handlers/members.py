"""Members over HTTP: the routes under `/v2/members`, and what they say on the wire."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from billing.members import Member, MemberState, Role
from billing.team import Team
from handlers.auth import CallerOf, ServicesOf
from handlers.key_wire import KeyName
from jobs.ids import iso_utc

MAX_EMAIL_CHARS = 254

Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        max_length=MAX_EMAIL_CHARS,
        pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f.]+(\.[^@\s\x00-\x1f\x7f.]+)+$",
    ),
]


class MemberWished(BaseModel):
    """The body of `POST /v2/members`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: KeyName
    email: Email
    role: Annotated[Role, Field(strict=False)] = Role.MEMBER


class MemberShown(BaseModel):
    """Somebody in the team."""

    id: str
    name: str
    email: str
    role: Literal["owner", "member"]
    state: Literal["active", "leaving"]
    createdAt: str


class MemberList(BaseModel):
    """The team, its founder first."""

    members: list[MemberShown]


def add_members(router: APIRouter, **options: Any) -> None:
    """Add the routes."""
    router.get("/members", **options)(list_members)
    router.post("/members", status_code=201, **options)(add_member)
    router.delete("/members/{member_id}", status_code=204, **options)(remove_member)


def list_members(caller: CallerOf, services: ServicesOf) -> MemberList:
    """Everybody in the team: who opened the account, and those who were added."""
    found = Team(services.kv, caller.account_id).all()
    return MemberList(members=[shown_member(each) for each in found])


def add_member(body: MemberWished, caller: CallerOf, services: ServicesOf) -> MemberShown:
    """Add somebody to the team. Keys are made for them by `POST /v2/keys` with their `memberId`."""
    team = Team(services.kv, caller.account_id, by=caller)
    now_ms = services.clock()
    return shown_member(team.add(body.name, email=body.email, role=body.role, now_ms=now_ms))


def remove_member(member_id: str, caller: CallerOf, services: ServicesOf) -> None:
    """Take somebody out of the team, and all their keys out of use. Their jobs stay the team's.

    Who opened the account stays: a 409. Should it be interrupted, repeating it goes on.
    """
    Team(services.kv, caller.account_id, by=caller).remove(member_id)


def shown_member(member: Member) -> MemberShown:
    """A member on the wire."""
    state: Literal["active", "leaving"] = (
        "active" if member.state is MemberState.ACTIVE else "leaving"
    )
    return MemberShown(
        id=member.id,
        name=member.name,
        email=member.email,
        role=member.role.value,
        state=state,
        createdAt=iso_utc(member.created_at_ms),
    )
