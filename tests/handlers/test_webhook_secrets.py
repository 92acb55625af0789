"""The webhook secret over HTTP and by the command line: shown to admins, replaced without a gap."""

import base64
import json
from typing import Any

import pytest

from billing.accounts import find_account
from jobs.ids import iso_utc
from tests.handlers.clients import Apiframe
from tests.handlers.test_billing_commands import Shell, account, kv, shell
from tests.running import Clock, Running

__all__ = ["account", "kv", "shell"]

HOUR_S = 60 * 60


def rotate(apiframe: Apiframe, **content: Any) -> Any:
    return apiframe.post("/webhooks/secret/rotate", **content)


def test_the_secret_is_shown(apiframe: Apiframe) -> None:
    answer = apiframe.get("/webhooks/secret")
    assert answer.json() == {
        "secret": apiframe.customer.opened.account.webhook_secret,
        "older": None,
    }
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("said", "hours"), [({}, 24), ({"graceHours": 1}, 1)])
def test_a_rotation_shows_both_until_the_old_one_ends(
    apiframe: Apiframe, clock: Clock, said: dict[str, int], hours: int
) -> None:
    before = apiframe.customer.opened.account.webhook_secret
    answer = rotate(apiframe, json=said)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    shown = answer.json()
    assert shown["secret"] != before
    assert len(base64.b64decode(shown["secret"].removeprefix("whsec_"), validate=True)) == 32
    until = iso_utc(clock() + hours * HOUR_S * 1000)
    assert shown["older"] == {"secret": before, "expiresAt": until}
    assert apiframe.get("/webhooks/secret").json() == shown
    clock.advance(seconds=hours * HOUR_S)
    assert apiframe.get("/webhooks/secret").json() == shown | {"older": None}


def test_a_rotation_needs_no_body(apiframe: Apiframe) -> None:
    assert rotate(apiframe).json()["older"] is not None


def test_without_grace_there_is_no_older_one(apiframe: Apiframe) -> None:
    assert rotate(apiframe, json={"graceHours": 0}).json()["older"] is None


def test_a_second_rotation_within_the_grace_is_a_409(apiframe: Apiframe) -> None:
    shown = rotate(apiframe).json()
    answer = rotate(apiframe)
    assert answer.status_code == 409
    assert "signs until" in answer.json()["error"]
    assert apiframe.get("/webhooks/secret").json() == shown


@pytest.mark.parametrize(
    "body",
    [
        {"graceHours": -1},
        {"graceHours": 721},
        {"graceHours": "24"},
        {"graceHours": 1.5},
        {"graceHours": True},
        {"graceHours": None},
        {"grace": 1},
        [],
        "24",
    ],
)
def test_what_is_no_rotation_is_a_400_and_changes_nothing(apiframe: Apiframe, body: Any) -> None:
    before = apiframe.get("/webhooks/secret").json()
    assert rotate(apiframe, json=body).status_code == 400
    assert apiframe.get("/webhooks/secret").json() == before


def test_each_account_has_its_own(service: Running, apiframe: Apiframe) -> None:
    other = Apiframe(service, service.account())
    rotate(apiframe)
    shown = other.get("/webhooks/secret").json()
    assert shown["secret"] == other.customer.opened.account.webhook_secret


def test_an_operator_sees_and_rotates_it(shell: Shell, kv: Any, account: Any) -> None:
    shown = json.loads(shell.run("accounts", "webhook-secret", account.id))
    assert shown == {"secret": account.webhook_secret, "older": None}
    words = ("accounts", "webhook-secret", account.id, "--rotate")
    rotated = json.loads(shell.run(*words, "--grace-hours", "48"))
    assert rotated["older"]["secret"] == account.webhook_secret
    assert find_account(kv, account.id)[0].webhook_secret == rotated["secret"]
    shell.run(*words, status=2)
    assert "signs until" in shell.error
    assert shell.error.count("\n") == 1
    assert json.loads(shell.run(*words, "--grace-hours", "0"))["older"] is None


def test_an_operators_mistakes_are_told(shell: Shell, account: Any) -> None:
    shell.run("accounts", "webhook-secret", "acc_none", status=2)
    assert "No such account" in shell.error
    shell.run("accounts", "webhook-secret", "acc_none", "--rotate", status=2)
    assert "No such account" in shell.error
    shell.run("accounts", "webhook-secret", account.id, "--grace-hours", "721", status=2)
