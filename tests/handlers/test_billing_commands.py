"""The commands about plans and statements, as an operator's shell runs them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from billing import ledger
from billing.accounts import Account, find_account
from billing.administration import open_account
from handlers import administration
from handlers.cli import create_cli
from handlers.wiring import load_engine, open_store
from jobs.ids import system_clock
from storage.kv import KeyValue
from storage.sqlite import SqliteKeyValue


class Shell:
    """Runs commands on a data folder of the test's own."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self.error = ""
        self._capsys = capsys

    def run(self, *words: str, status: int = 0, environment: dict[str, str] | None = None) -> str:
        """What the command prints; it must end with that status."""
        cli = create_cli(
            environment={"ENLARGER_DATA": str(self.data), **(environment or {})},
            open_store=open_store,
            load_engine=load_engine,
            serve=lambda *_, **__: None,
        )
        with pytest.raises(SystemExit) as end:
            cli(words)
        printed, self.error = self._capsys.readouterr()
        assert int(end.value.code or 0) == status, self.error
        return printed


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    data = tmp_path / "data"
    data.mkdir()
    return Shell(data, capsys)


@pytest.fixture
def kv(shell: Shell) -> Any:
    store = SqliteKeyValue(shell.data / "enlarger.sqlite", clock=system_clock)
    yield store
    store.close()


@pytest.fixture
def account(kv: KeyValue) -> Account:
    account = open_account(kv, "Ada", credits=10, now_ms=1).account
    kv.commit(*ledger.grant(account.id, "second", credits=5, now_ms=2))
    return account


def test_an_account_is_put_on_a_plan(
    shell: Shell, kv: KeyValue, account: Account, tmp_path: Path
) -> None:
    plans = tmp_path / "plans.json"
    plans.write_text('{"pro": {"max_in_flight": 7, "requests_per_minute": 60}}')
    said = {"ENLARGER_PLANS": str(plans)}
    shown = json.loads(
        shell.run("accounts", "plan", account.id, "pro", "--daily-requests", "9", environment=said)
    )
    assert shown == {
        "id": account.id,
        "plan": "pro",
        "maxInFlight": 7,
        "requestsPerMinute": 60,
        "dailyRequests": 9,
    }
    assert find_account(kv, account.id)[0].plan == "pro"
    shown = json.loads(shell.run("accounts", "plan", account.id, "pro", environment=said))
    assert shown["dailyRequests"] == 500


def test_an_unknown_plan_or_account_is_told_in_a_line(shell: Shell, account: Account) -> None:
    shell.run("accounts", "plan", account.id, "gold", status=2)
    assert shell.error == "enlarger: There is no plan gold; there are self-hosted\n"
    shell.run("accounts", "plan", "acc_none", "self-hosted", status=2)
    assert shell.error == "enlarger: No such account: acc_none\n"


def test_a_new_account_has_its_plans_limits_unless_they_are_said(
    shell: Shell, kv: KeyValue
) -> None:
    own = []
    for more in ([], ["--max-in-flight", "3"]):
        made = json.loads(shell.run("accounts", "create", "Ada", *more))
        own.append(find_account(kv, made["account"]["id"])[0].own_limits)
    assert own == [(), ("max_in_flight",)]


def test_a_statement_is_printed_newest_first(shell: Shell, account: Account) -> None:
    shown = json.loads(shell.run("ledger", "statement", account.id))
    assert [(each["id"], each["credits"]) for each in shown] == [
        ("grant:second", 5),
        ("grant:opening", 10),
    ]
    rows = [*csv.DictReader(io.StringIO(shell.run("ledger", "statement", account.id, "--csv")))]
    assert [{**each, "jobId": each["jobId"] or ""} for each in shown] == [
        {**row, **{name: int(row[name]) for name in ("credits", "promoCredits", "heldCredits")}}
        for row in rows
    ]


def test_a_statement_that_is_cut_says_so(shell: Shell, account: Account) -> None:
    assert len(json.loads(shell.run("ledger", "statement", account.id, "--limit", "2"))) == 2
    assert shell.error == ""
    assert len(json.loads(shell.run("ledger", "statement", account.id, "--limit", "1"))) == 1
    assert "there are more" in shell.error


def test_a_statement_may_be_longer_than_a_page(
    shell: Shell, kv: KeyValue, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        kv.commit(*ledger.grant(account.id, f"more-{number}", credits=1, now_ms=10 + number))
    monkeypatch.setattr(administration, "MAX_PAGE", 2)
    shown = json.loads(shell.run("ledger", "statement", account.id))
    assert [each["credits"] for each in shown] == [1, 1, 1, 5, 10]


def test_a_statement_of_nobody_is_told_in_a_line(shell: Shell, kv: KeyValue) -> None:
    assert kv.query("accounts") == []
    shell.run("ledger", "statement", "acc_none", status=2)
    assert shell.error == "enlarger: No such account: acc_none\n"
