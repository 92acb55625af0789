"""The file of packs: what an operator may sell, and what is refused by its place in the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from billing.packs import USUAL_PACKS, Pack
from handlers.settings import Settings, SettingsError

MONTHLY = {
    "name": "Each month",
    "credits": 2000,
    "amount_minor": 1500,
    "currency": "usd",
    "every": "month",
    "plan": "pro",
}


def read(folder: Path, packs: Any, plans: Any = None) -> Settings:
    """The settings with files of those packs and plans."""
    files = {"PACKS": packs} | ({"PLANS": plans} if plans is not None else {})
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return Settings.from_environment({f"ENLARGER_{name}": str(folder / name) for name in files})


def test_without_a_file_the_usual_packs_are_sold_each_once() -> None:
    packs = Settings.from_environment({}).packs
    assert packs == USUAL_PACKS
    assert {pack.every for pack in packs.packs.values()} == {None}


def test_a_file_says_all_that_is_sold(tmp_path: Path) -> None:
    packs = read(tmp_path, {"monthly": MONTHLY}, {"pro": {"max_in_flight": 7}}).packs
    assert packs.packs == {"monthly": Pack.model_validate(MONTHLY)}


def test_the_plan_that_every_account_is_on_may_be_sold_too(tmp_path: Path) -> None:
    assert read(tmp_path, {"monthly": MONTHLY | {"plan": "self-hosted"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": "gone"}, "there is no plan gone in ENLARGER_PLANS"),
        ({"every": None}, "a plan is sold by a subscription only"),
        ({"every": "week"}, "monthly.every"),
        ({"currency": "USD"}, "monthly.currency"),
        ({"amount_minor": 15.5}, "monthly.amount_minor"),
        ({"amount_minor": 0}, "monthly.amount_minor"),
        ({"credits": -1}, "monthly.credits"),
        ({"credits": True}, "monthly.credits"),
        ({"credits": "2000"}, "monthly.credits"),
        ({"credits": 1e9 + 1}, "monthly.credits"),
        ({"amount_minor": 100_000_000}, "monthly.amount_minor"),
        ({"trial": 7}, "monthly.trial"),
    ],
)
def test_a_pack_that_cannot_be_sold_is_refused_by_its_place(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, {"monthly": MONTHLY | change}, {"pro": {}})


def test_of_two_files_that_are_wrong_both_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, {"monthly": MONTHLY | {"credits": 0}}, {"pro": {"max_in_flight": 0}})
    assert "ENLARGER_PACKS" in str(refused.value)
    assert "ENLARGER_PLANS" in str(refused.value)
