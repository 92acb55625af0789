"""The `keys` and `members` commands, as an operator's shell runs them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import local_app
from billing import keys
from billing.errors import KeyUnknown
from billing.key_use import KeyUse
from billing.keyring import MAX_KEYS
from billing.keys import EVERY_SCOPE, USUAL_SCOPES, Scope
from handlers import wiring
from handlers.cli import create_cli
from jobs.ids import iso_utc, system_clock
from storage.sqlite import SqliteKeyValue

DAY_MS = 24 * 60 * 60 * 1000


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, on a data folder of the test's own."""

    def run_command(*words: str) -> Done:
        cli = create_cli(
            environment={"ENLARGER_DATA": str(tmp_path / "data")},
            open_store=wiring.open_store,
            load_engine=wiring.load_engine,
            serve=local_app.serve,
        )
        with pytest.raises(SystemExit) as end:
            cli(words)
        return Done(int(end.value.code or 0), *capsys.readouterr())

    return run_command


@pytest.fixture
def kv(tmp_path: Path) -> Any:
    """The store behind the commands."""
    (tmp_path / "data").mkdir()
    store = SqliteKeyValue(tmp_path / "data" / "enlarger.sqlite", clock=system_clock)
    yield store
    store.close()


@pytest.fixture
def opened(run: Command, kv: SqliteKeyValue) -> Any:  # noqa: ARG001, it is there before
    """What was printed of a new account."""
    return printed(run("accounts", "create", "Ada"))


@pytest.fixture
def account(opened: Any) -> str:
    """A new account's id."""
    return str(opened["account"]["id"])


def printed(done: Done) -> Any:
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def listed(run: Command, account: str) -> dict[str, Any]:
    """The account's keys by their ids."""
    return {key["id"]: key for key in printed(run("keys", "list", "--account", account))}


def created(run: Command, account: str, *options: str) -> Any:
    return printed(run("keys", "create", "--account", account, *options))


def body_of(shown: Any) -> str:
    return str(shown["apiframe"]).removeprefix("afk_")


def test_the_first_key_of_an_account_may_do_everything(opened: Any) -> None:
    assert opened["key"]["scopes"] == list(EVERY_SCOPE)


def test_a_further_key_may_do_everything_but_manage_keys(run: Command, account: str) -> None:
    assert created(run, account)["scopes"] == list(USUAL_SCOPES)


def test_a_key_is_made_as_the_options_have_it(
    run: Command, account: str, kv: SqliteKeyValue
) -> None:
    made = created(
        run, account, "--name", "  build  ", "--scopes", "jobs:read, jobs:write,jobs:read",
        "--expires", "2999-01-01", "--job-credits", "5", "--day-credits", "50", "--day-jobs", "10",
        "--month-credits", "500", "--month-jobs", "100", "--models", "clarity-upscale",
    )  # fmt: skip
    key = keys.authenticate(kv, body_of(made), now_ms=system_clock()).key
    assert (key.name, key.scopes) == ("build", (Scope.JOBS_READ, Scope.JOBS_WRITE))
    assert key.expires_at_ms is not None
    assert iso_utc(key.expires_at_ms) == "2999-01-01T00:00:00.000Z"
    assert key.caps.model_dump() == {
        "job_credits": 5, "day_credits": 50, "day_jobs": 10, "month_credits": 500,
        "month_jobs": 100, "models": ("clarity-upscale",),
    }  # fmt: skip


def test_a_sandbox_key_is_made_listed_and_rotated_as_one(
    run: Command, account: str, kv: SqliteKeyValue
) -> None:
    made = created(run, account, "--sandbox")
    assert (made["sandbox"], made["scopes"]) == (True, ["jobs:write", "jobs:read"])
    assert (made["apiframe"][:9], made["vicsee"][:8]) == ("afk_test_", "sk-test_")
    assert keys.authenticate(kv, body_of(made), now_ms=system_clock()).key.is_sandbox
    assert listed(run, account)[made["id"]]["sandbox"] is True
    assert printed(run("keys", "rotate", made["id"], "--account", account))["sandbox"] is True


def test_a_sandbox_key_with_a_scope_over_money_is_told(run: Command, account: str) -> None:
    done = run("keys", "create", "--account", account, "--sandbox", "--scopes", "billing")
    assert done.returncode == 2
    assert "jobs:write and jobs:read alone" in done.stderr


def test_a_list_says_when_a_key_was_last_used_and_opens_nothing(
    run: Command, opened: Any, account: str, kv: SqliteKeyValue
) -> None:
    unused = created(run, account)["id"]
    KeyUse(kv, clock=lambda: DAY_MS * 50_000).note(opened["key"]["id"])
    found = listed(run, account)
    used = {key_id: key["lastUsedOn"] for key_id, key in found.items()}
    assert used == {opened["key"]["id"]: "2106-11-24", unused: None}
    assert body_of(opened["key"]) not in json.dumps(found)


def test_a_key_is_renamed(run: Command, account: str) -> None:
    made = created(run, account)["id"]
    renamed = printed(run("keys", "rename", made, "new name", "--account", account))
    assert renamed["name"] == listed(run, account)[made]["name"] == "new name"


def test_caps_that_are_not_named_stay(run: Command, account: str) -> None:
    made = created(run, account, "--day-jobs", "3", "--models", "clarity-upscale")["id"]
    capped = printed(run("keys", "caps", made, "--account", account, "--job-credits", "7"))
    assert (capped["caps"]["jobCredits"], capped["caps"]["dayJobs"]) == (7, 3)
    lifted = printed(run("keys", "caps", made, "--account", account, "--lift", "day-jobs,models"))[
        "caps"
    ]
    assert (lifted["jobCredits"], lifted["dayJobs"], lifted["models"]) == (7, None, None)
    bare = printed(run("keys", "caps", made, "--account", account, "--lift", "all"))["caps"]
    assert set(bare.values()) == {None}


def test_a_rotated_key_works_on_beside_the_new_one(
    run: Command, account: str, kv: SqliteKeyValue
) -> None:
    old = created(run, account, "--name", "build")
    new = printed(run("keys", "rotate", old["id"], "--account", account))
    assert new["name"] == "build"
    assert new["replaces"]["id"] == old["id"]
    assert new["replaces"]["works_until"] > iso_utc(system_clock() + DAY_MS // 2)
    for key in (old, new):
        keys.authenticate(kv, body_of(key), now_ms=system_clock())


def test_a_key_rotated_without_grace_is_revoked(
    run: Command, account: str, kv: SqliteKeyValue
) -> None:
    old = created(run, account)
    new = printed(run("keys", "rotate", old["id"], "--account", account, "--grace-hours", "0"))
    assert new["replaces"] == {"id": old["id"], "works_until": None}
    with pytest.raises(KeyUnknown):
        keys.authenticate(kv, body_of(old), now_ms=system_clock())


def test_revoking_twice_is_quiet(run: Command, account: str) -> None:
    made = created(run, account)["id"]
    for _ in range(2):
        revoked = printed(run("keys", "revoke", made, "--account", account))
        assert revoked == {"id": made, "state": "revoked"}


def test_one_key_too_many_is_told_in_a_line(run: Command, account: str) -> None:
    for _ in range(MAX_KEYS - 1):
        created(run, account)
    done = run("keys", "create", "--account", account)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"enlarger: An account may have {MAX_KEYS} keys: revoke one first"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("rename", "key_none", "name"),
        ("caps", "key_none", "--day-jobs", "1"),
        ("rotate", "key_none"),
        ("pause", "key_0123456789abcdef"),
        ("revoke", "key_\0"),
        ("resume", "key_" + "x" * 5000),
    ],
)
def test_a_key_that_the_account_does_not_have_is_told(
    run: Command, account: str, words: tuple[str, ...]
) -> None:
    done = run("keys", *words, "--account", account)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("enlarger: No such key: key_")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scopes", "jobs:delete"), "jobs:delete"),
        (("--scopes", ""), "jobs:write"),
        (("--expires", "tomorrow"), "ISO 8601"),
        (("--expires", "2020-01-01"), "passed"),
        (("--expires", "9" * 50), "ISO 8601"),
        (("--name", " "), "at least 1"),
        (("--name", "x" * 101), "at most 100"),
        (("--name", "two\nlines"), "pattern"),
        (("--day-credits", "0"), "--day-credits"),
        (("--day-credits", "-5"), "--day-credits"),
        (("--day-credits", "1.5"), "--day-credits"),
        (("--month-jobs", "9" * 30), "--month-jobs"),
        (("--models", "nonsense"), "nonsense"),
    ],
)
def test_an_option_that_makes_no_sense_is_told_and_no_key_made(
    run: Command, account: str, options: tuple[str, str], told: str
) -> None:
    done = run("keys", "create", "--account", account, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert len(listed(run, account)) == 1


def test_a_grace_over_thirty_days_is_refused(run: Command, opened: Any, account: str) -> None:
    words = ("rotate", opened["key"]["id"], "--account", account, "--grace-hours")
    assert run("keys", *words, "721").returncode == 2
    assert run("keys", *words, "720").returncode == 0


def test_a_member_comes_gets_a_key_and_goes_with_it(
    run: Command, account: str, kv: SqliteKeyValue
) -> None:
    member = printed(run("members", "add", account, "Bo", "bo@example.org", "--owner"))
    assert (member["name"], member["email"], member["role"]) == ("Bo", "bo@example.org", "owner")
    key = created(run, account, "--member", member["id"])
    assert listed(run, account)[key["id"]]["memberId"] == member["id"]
    team = printed(run("members", "list", account))
    assert [each["id"] for each in team] == [account, member["id"]]
    gone = printed(run("members", "remove", account, member["id"]))
    assert gone == {"id": member["id"], "state": "removed"}
    with pytest.raises(KeyUnknown):
        keys.authenticate(kv, body_of(key), now_ms=system_clock())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "acc_none", "Bo", "bo@example.org"), "No such account: acc_none"),
        (("list", "acc_none"), "No such account: acc_none"),
        (("remove", "{account}", "usr_0123456789abcdef"), "No such member: usr_0123456789abcdef"),
        (("remove", "{account}", "{account}"), "cannot be removed"),
        (("add", "{account}", "Bo", "nowhere"), "pattern"),
        (("add", "{account}", " ", "bo@example.org"), "at least 1"),
    ],
)
def test_what_makes_no_sense_about_members_is_told(
    run: Command, account: str, words: tuple[str, ...], told: str
) -> None:
    done = run("members", *(word.replace("{account}", account) for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.replace("│", " ").split())
