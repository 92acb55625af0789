"""Automatic top-ups, at `/v2/billing/auto-topup`: how one is set up, seen and turned off."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from billing.autotopup import AutoTopUp, AutoTopUps, State, find_setting
from billing.errors import PaymentsOff
from billing.packs import MAX_CREDITS
from handlers.auth import CallerOf, ServicesOf
from jobs.services import Services


class AutoTopUpRequest(BaseModel):
    """Below how many credits which pack is bought, with the card that was saved."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    threshold: Annotated[int, Field(ge=1, le=MAX_CREDITS)]
    pack: Annotated[str, Field(max_length=50)]


class AutoTopUpInfo(BaseModel):
    """An automatic top-up. `resting`: it has bought, and is `armed` again above the threshold."""

    state: State
    threshold: int | None = None
    pack: str | None = None
    problem: str | None = None


def add_auto_topup(router: APIRouter, **options: Any) -> None:
    """Add the routes."""
    router.get("/billing/auto-topup", **options)(seen)
    router.put("/billing/auto-topup", **options)(set_up)
    router.delete("/billing/auto-topup", **options)(turned_off)


def seen(caller: CallerOf, services: ServicesOf) -> AutoTopUpInfo:
    """How far it is."""
    kept = find_setting(services.kv, caller.account_id)
    return AutoTopUpInfo(state=State.OFF) if kept is None else _shown(kept.setting)


def set_up(body: AutoTopUpRequest, caller: CallerOf, services: ServicesOf) -> AutoTopUpInfo:
    """Have a pack bought when credits run low. It needs a card: buy a pack with `saveCard`."""
    made = _auto_topups(services).set_up(
        caller.account_id, threshold=body.threshold, pack_id=body.pack
    )
    return _shown(made)


def turned_off(caller: CallerOf, services: ServicesOf) -> AutoTopUpInfo:
    """Buy nothing more by itself."""
    _auto_topups(services).turn_off(caller.account_id)
    return seen(caller, services)


def _auto_topups(services: Services) -> AutoTopUps:
    if services.auto_topups is None:
        raise PaymentsOff
    return services.auto_topups


def _shown(setting: AutoTopUp) -> AutoTopUpInfo:
    return AutoTopUpInfo(
        state=setting.state,
        threshold=setting.threshold,
        pack=setting.pack_id,
        problem=setting.problem,
    )
