"""The command line, as an operator's shell runs it."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

import local_app
from billing import ledger
from billing.accounts import Account, account_key, all_account_ids, find_account
from billing.keys import authenticate
from billing.ledger import Split
from handlers import wiring
from handlers.cli import DEMO_CREDITS, Serve, create_cli
from handlers.settings import Settings
from inference.published import CLEAN
from jobs.ids import system_clock
from storage.kv import Add, KeyValue
from storage.objects import Objects
from storage.sqlite import SqliteKeyValue
from tests.running import picture
from tests.serving import enlarger


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, on a data folder of the test's own."""

    def run_command(*words: str | Path, serve: Serve | None = None, **env: str) -> Done:
        environment = {f"ENLARGER_{name.upper()}": value for name, value in env.items()}
        cli = create_cli(
            environment={"ENLARGER_DATA": str(tmp_path / "data")} | environment,
            open_store=wiring.open_store,
            load_engine=wiring.load_engine,
            serve=serve or local_app.serve,
        )
        with pytest.raises(SystemExit) as end:
            cli([str(word) for word in words])
        return Done(int(end.value.code or 0), *capsys.readouterr())

    return run_command


@pytest.fixture
def kv(tmp_path: Path) -> Any:
    """The store behind the commands."""
    (tmp_path / "data").mkdir()
    store = SqliteKeyValue(tmp_path / "data" / "enlarger.sqlite", clock=system_clock)
    yield store
    store.close()


def test_a_new_account_is_printed_with_a_key_that_works(run: Command, kv: SqliteKeyValue) -> None:
    printed = _printed(run("accounts", "create", "Ada", "--credits", "50"))
    assert printed["account"]["name"] == "Ada"
    assert printed["account"]["credits"] == 50
    assert printed["account"]["webhookSecret"].startswith("whsec_")
    body = printed["key"]["apiframe"].removeprefix("afk_")
    assert printed["key"]["vicsee"] == f"sk-{body}"
    assert authenticate(kv, body, now_ms=system_clock()).account_id == printed["account"]["id"]


def test_a_keys_life_from_making_to_revoking(run: Command, kv: SqliteKeyValue) -> None:
    account_id = _printed(run("accounts", "create", "Ada"))["account"]["id"]
    made = _printed(run("keys", "create", "--account", account_id, "--name", "second"))
    listed = run("keys", "list", "--account", account_id)
    assert {key["name"] for key in _printed(listed)} == {"default", "second"}
    assert made["apiframe"] not in listed.stdout
    for verb, state in (("pause", "paused"), ("resume", "active"), ("revoke", "revoked")):
        changed = _printed(run("keys", verb, made["id"], "--account", account_id))
        assert changed == {"id": made["id"], "state": state}
        states = _printed(run("keys", "list", "--account", account_id))
        assert {key["id"]: key["state"] for key in states}[made["id"]] == state
    again = run("keys", "resume", made["id"], "--account", account_id)
    _assert_told(again, made["id"])
    assert kv.query("accounts", limit=2)


def test_accounts_are_listed_without_and_shown_with_their_secrets(
    run: Command, kv: SqliteKeyValue
) -> None:
    secrets = {}
    for name in ("Ada", "Bob"):
        opened = _printed(run("accounts", "create", name, "--credits", "50"))["account"]
        secrets[opened["id"]] = opened["webhookSecret"]
    account, _ = find_account(kv, opened["id"])
    kv.commit(*ledger.hold(account, "a-job", split=Split(0, 8), now_ms=0))
    listed = _printed(run("accounts", "list"))
    assert {each["id"] for each in listed} == set(secrets)
    bob = {
        "id": account.id,
        "name": "Bob",
        "credits": {"available": 42, "held": 8},
        "unfinishedJobs": 1,
    }
    assert bob in listed
    shown = _printed(run("accounts", "show", account.id))
    assert shown == bob | {"webhookSecret": secrets[account.id]}


def test_a_list_that_is_cut_says_so(run: Command) -> None:
    for name in ("Ada", "Bob"):
        _printed(run("accounts", "create", name))
    assert len(_printed(run("accounts", "list", "--limit", "2"))) == 2
    cut = run("accounts", "list", "--limit", "1")
    assert (cut.returncode, len(json.loads(cut.stdout))) == (0, 1)
    assert "there are more" in cut.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("accounts", "list"),
        ("accounts", "show", "acc_x"),
        ("keys", "create", "--account", "acc_x"),
        ("keys", "list", "--account", "acc_x"),
        ("keys", "revoke", "key_x", "--account", "acc_x"),
        ("keys", "pause", "key_x", "--account", "acc_x"),
        ("keys", "resume", "key_x", "--account", "acc_x"),
        ("credits", "grant", "acc_x", "5"),
        ("credits", "show", "acc_x"),
        ("ledger", "verify"),
    ],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_without_data_is_told_in_a_line_and_left_as_it_is(
    run: Command, tmp_path: Path, words: tuple[str, ...], is_there: bool
) -> None:
    mistyped = tmp_path / "dta"
    if is_there:
        mistyped.mkdir()
    done = run(*words, "--data", mistyped)
    _assert_told(done, f"there is no Enlarger data in {mistyped}")
    assert mistyped.exists() is is_there
    assert not is_there or not os.listdir(mistyped)


def test_a_store_that_is_not_there_is_told_by_its_own_path(run: Command, tmp_path: Path) -> None:
    mistyped = tmp_path / "mistyped.sqlite"
    done = run("ledger", "verify", store_url=f"sqlite://{mistyped}")
    _assert_told(done, f"there is no Enlarger data in {mistyped}")
    assert not mistyped.exists()


def test_granted_credits_are_in_the_balance_and_the_ledger_verifies(run: Command) -> None:
    account_id = _printed(run("accounts", "create", "Ada", "--credits", "5"))["account"]["id"]
    granted = _printed(run("credits", "grant", account_id, "20"))
    assert granted == {
        "account": account_id, "available": 25, "promo": 0, "held": 0, "spent": 0, "in_flight": 0,
    }  # fmt: skip
    assert _printed(run("credits", "show", account_id)) == granted
    verified = run("ledger", "verify")
    assert (verified.returncode, verified.stdout) == (0, "the ledger verifies\n")


def test_a_planted_error_fails_the_verification_and_is_named(
    run: Command, kv: SqliteKeyValue
) -> None:
    account_id = _printed(run("accounts", "create", "Ada", "--credits", "5"))["account"]["id"]
    kv.commit(Add(account_key(account_id), {"available": 1}))
    verified = run("ledger", "verify")
    assert verified.returncode == 1
    assert verified.stdout == f"{account_id}: available is 6, its entries say 5\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("accounts", "show", "acc_nobody"), "acc_nobody"),
        (("credits", "show", "acc_nobody"), "acc_nobody"),
        (("credits", "grant", "acc_nobody", "5"), "acc_nobody"),
        (("keys", "create", "--account", "acc_nobody"), "acc_nobody"),
        (("keys", "list", "--account", "acc_nobody"), "acc_nobody"),
        (("keys", "revoke", "key_none", "--account", "acc_nobody"), "key_none"),
        (("accounts", "create", "x" * 100_000), "bytes"),
    ],
)
@pytest.mark.usefixtures("kv")
def test_what_cannot_be_done_is_told_in_a_line(
    run: Command, words: tuple[str, ...], told: str
) -> None:
    _assert_told(run(*words), told)


@pytest.mark.parametrize(
    "words",
    [
        ("credits", "grant", "acc_x", "0"),
        ("credits", "grant", "acc_x", "-5"),
        ("accounts", "create", "Ada", "--credits", "-1"),
        ("accounts", "create"),
        ("nonsense",),
        ("upscale", "only-one"),
    ],
)
def test_wrong_usage_ends_with_status_two(run: Command, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("nonsense", "1"), ("workers", "many"), ("store_url", "redis://x"), ("prices", "/nowhere")],
)
def test_a_bad_setting_is_told_in_a_line(run: Command, name: str, value: str) -> None:
    _assert_told(run("ledger", "verify", **{name: value}), f"ENLARGER_{name.upper()}")


def test_a_folder_that_cannot_be_used_is_told_in_a_line(run: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    _assert_told(run("ledger", "verify", "--data", tmp_path / "file"), "file")
    _assert_told(run("accounts", "create", "Ada", "--data", tmp_path / "file"), "file")


def test_the_option_wins_over_the_variable(run: Command, tmp_path: Path) -> None:
    _printed(run("accounts", "create", "Ada", "--data", tmp_path / "other"))
    assert (tmp_path / "other" / "enlarger.sqlite").exists()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "factor", "format_"),
    [
        ("out.png", "2", "PNG"),
        ("out.JPG", "4", "JPEG"),
        ("out.webp", "1", "WEBP"),
        ("out.tif", "2", "TIFF"),
        ("out.TIFF", "2", "TIFF"),
        ("out.avif", "2", "AVIF"),
    ],
)
def test_one_file_is_enlarged_without_a_server(
    run: Command, tmp_path: Path, name: str, factor: str, format_: str
) -> None:
    (tmp_path / "in.png").write_bytes(picture(12, 9))
    done = run("upscale", tmp_path / "in.png", tmp_path / name, "--factor", factor)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO((tmp_path / name).read_bytes())) as image:
        assert image.size == (12 * int(factor), 9 * int(factor))
        assert image.format == format_
    assert f"{12 * int(factor)} x {9 * int(factor)}" in done.stdout
    assert set(os.listdir(tmp_path)) == {"in.png", name}
    assert not (tmp_path / "data").exists()


def test_every_choice_can_be_made_for_one_file(run: Command, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(picture(12, 9))
    for spelling in ("--model-type", "--slot"):
        done = run(
            "upscale", tmp_path / "in.png", tmp_path / "out.png", spelling, "high-fidelity-v2",
            "--device", "cpu", "--metadata", "strip", "--guard",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"by {CLEAN.x4.id}, which stands in" in done.stdout
        assert "against the source: PSNR" in done.stdout


def test_what_is_not_said_for_one_file_is_as_the_settings_have_it(
    run: Command, tmp_path: Path
) -> None:
    (tmp_path / "in.png").write_bytes(picture(12, 9))
    done = run("upscale", tmp_path / "in.png", tmp_path / "out.png", quality_report="off")
    assert done.returncode == 0, done.stderr
    assert "PSNR" not in done.stdout


def test_a_result_replaces_what_was_there_and_a_failure_leaves_it(
    run: Command, tmp_path: Path
) -> None:
    (tmp_path / "in.png").write_bytes(picture(12, 9))
    (tmp_path / "cut.png").write_bytes(picture(40, 40)[:-30])
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    assert run("upscale", tmp_path / "cut.png", target).returncode == 2
    assert target.read_bytes() == b"old"
    assert run("upscale", tmp_path / "in.png", target).returncode == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert set(os.listdir(tmp_path)) == {"in.png", "cut.png", "out.png"}


@pytest.mark.parametrize(
    ("option", "value"), [("--model-type", "nonsense"), ("--device", "abacus"), ("--metadata", "x")]
)
def test_a_choice_that_there_is_not_is_told(
    run: Command, tmp_path: Path, option: str, value: str
) -> None:
    (tmp_path / "in.png").write_bytes(picture())
    done = run("upscale", tmp_path / "in.png", tmp_path / "out.png", option, value)
    assert done.returncode == 2
    assert option in done.stderr
    assert value in done.stderr
    assert os.listdir(tmp_path) == ["in.png"]


@pytest.mark.parametrize(
    ("source", "target", "factor", "told"),
    [
        ("in.png", "out.png", "3", "--factor"),
        ("in.png", "out.png", "16", "--factor"),
        ("in.png", "out.gif", "2", "out.gif"),
        ("in.png", "out", "2", "out"),
        ("missing.png", "out.png", "2", "missing.png"),
        ("text.png", "out.png", "2", "not a JPEG, PNG, WebP or TIFF"),
        ("cut.png", "out.png", "2", "incomplete"),
        ("in.png", "nowhere/out.png", "2", "nowhere"),
        (".", "out.png", "2", "directory"),
    ],
)
def test_a_file_that_cannot_be_enlarged_is_told_in_a_line(
    run: Command, tmp_path: Path, source: str, target: str, factor: str, told: str
) -> None:
    (tmp_path / "in.png").write_bytes(picture())
    (tmp_path / "cut.png").write_bytes(picture()[:60])
    (tmp_path / "text.png").write_text("not a picture")
    files = set(os.listdir(tmp_path))
    _assert_told(run("upscale", tmp_path / source, tmp_path / target, "--factor", factor), told)
    assert set(os.listdir(tmp_path)) == files


def test_a_first_start_opens_a_demo_account_and_shows_its_key_once(run: Command) -> None:
    served: list[tuple[Settings, str, int]] = []
    accounts: list[Account] = []

    def serve(settings: Settings, kv: KeyValue, objects: Objects, *, host: str, port: int) -> None:
        (account_id,) = all_account_ids(kv)
        assert objects.get("nothing") is None
        accounts.append(find_account(kv, account_id)[0])
        served.append((settings, host, port))

    first = run("serve", "--port", "8123", serve=serve, workers="2")
    second = run("serve", "--host", "0.0.0.0", serve=serve)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "http://127.0.0.1:8123/v2/images/upscale" in first.stdout
    assert f"{DEMO_CREDITS} credits" in first.stdout
    assert "afk_" in first.stdout
    assert accounts[0].id in first.stdout
    assert accounts[0].webhook_secret in first.stdout
    assert second.stdout == ""
    assert [(host, port) for _, host, port in served] == [("127.0.0.1", 8123), ("0.0.0.0", 8000)]
    assert served[0][0].workers == 2


@pytest.mark.parametrize(
    ("words", "env", "status"),
    [
        (("accounts", "create", "Ada"), {}, 0),
        (("ledger", "verify"), {}, 2),
        (("ledger", "verify"), {"ENLARGER_NONSENSE": "1"}, 2),
        ((), {}, 2),
    ],
)
def test_the_installed_command_ends_the_same_way(
    tmp_path: Path, words: tuple[str, ...], env: dict[str, str], status: int
) -> None:
    done = enlarger(*words, env=env | {"ENLARGER_DATA": str(tmp_path)})
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def _printed(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def _assert_told(done: Done, what: str) -> None:
    """One line on standard error that names what is wrong, and exit status 2."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("enlarger: ")
    assert what in lines[0]
