"""`enlarger weights`, as an operator's shell runs it, over a source on loopback."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from handlers import wiring
from handlers.stores import Stores
from handlers.weights import add_weights
from inference.errors import InferenceError
from inference.provenance import Weights
from inference.published import ALL, CLEAN, GENERAL, GENERAL_WDN, X4PLUS
from tests.inference.source import Source, serving


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def source() -> Iterator[Source]:
    with serving(Source(b"weights" * 1000)) as started:
        yield started


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `enlarger weights …` in this process, over rows of the test's own."""

    def run_command(*words: str, rows: Sequence[Weights] = ALL, **settings: str) -> Done:
        cli = typer.Typer()
        stores = Stores({"ENLARGER_DATA": str(tmp_path), **settings}, wiring.open_store)
        add_weights(cli, stores, rows=rows)
        cli.callback()(lambda: None)
        with pytest.raises(SystemExit) as end:
            cli(["weights", *words])
        return Done(int(end.value.code or 0), *capsys.readouterr())

    return run_command


def listed(run: Command, rows: Sequence[Weights] = ALL) -> dict[str, Any]:
    done = run("list", "--json", rows=rows)
    return {each["id"]: each for each in json.loads(done.stdout)}


def test_the_list_tells_what_is_here_and_what_each_file_is_for(run: Command) -> None:
    shown = listed(run)
    assert shown["realesrgan-x4plus"] == {
        "id": "realesrgan-x4plus",
        "licence": "BSD-3-Clause",
        "sizeBytes": 67_040_989,
        "state": "not pulled",
        "slots": ["low-res-v2", "redefine"],
        "file": "RealESRGAN_x4plus.pth",
        "source": X4PLUS.url,
        "sha256": X4PLUS.sha256,
    }
    assert shown[CLEAN.x2.id]["state"] == "built in"
    assert shown["realesr-general-wdn-x4v3"]["slots"] == ["text-refine"]
    assert shown["yunet-2026may"]["slots"] == ["faces"]


def test_the_list_is_a_table_whose_columns_stand_under_each_other(run: Command) -> None:
    head, *lines = run("list").stdout.splitlines()
    assert len(lines) == len(ALL)
    for line, weights in zip(lines, ALL, strict=True):
        assert line.startswith(f"{weights.id} ")
        assert line[head.index("LICENCE") :].startswith(f"{weights.licence} ")


def test_a_pull_by_id_is_listed_and_verified(run: Command, source: Source, tmp_path: Path) -> None:
    rows = [source.row()]
    assert run("pull", "weights", rows=rows) == (0, "weights: pulled\n", "")
    assert run("pull", "weights", rows=rows) == (0, "weights: already here\n", "")
    assert (tmp_path / "weights" / "weights.bin").read_bytes() == source.data
    assert listed(run, rows)["weights"]["state"] == "pulled"
    assert run("verify", rows=rows) == (0, "1 of 1 files are here, and all of them verify\n", "")


def test_a_pull_by_slot_has_all_that_it_wants_twins_included(run: Command, source: Source) -> None:
    rows = [
        replace(source.row(), id=weights.id, file=weights.file)
        for weights in (X4PLUS, GENERAL, GENERAL_WDN)
    ]
    done = run("pull", "text-refine", rows=rows)
    assert done.stdout == "realesr-general-x4v3: pulled\nrealesr-general-wdn-x4v3: pulled\n"
    assert listed(run, rows)["realesrgan-x4plus"]["state"] == "not pulled"


def test_the_face_restorer_is_listed_with_the_hash_that_an_operator_states(run: Command) -> None:
    assert "restoreformer-plus-plus" not in listed(run)
    done = run("list", "--json", ENLARGER_FACE_RESTORER_SHA256="ab" * 32)
    *_, restorer = json.loads(done.stdout)
    assert (restorer["id"], restorer["sha256"]) == ("restoreformer-plus-plus", "ab" * 32)
    assert (restorer["state"], restorer["slots"]) == ("not pulled", ["faces"])


def test_a_pull_of_faces_has_what_finds_them(run: Command, source: Source) -> None:
    rows = [replace(source.row(), id="finder", architecture="yunet"), source.row()]
    assert run("pull", "faces", rows=rows).stdout == "finder: pulled\n"


def test_a_pull_of_everything_goes_on_after_a_failure(run: Command, source: Source) -> None:
    source.statuses = [404]
    rows = [replace(source.row(), id="gone", file="gone.bin"), source.row()]
    done = run("pull", "--all", rows=rows)
    assert done.returncode == 1
    assert done.stdout == "weights: pulled\n"
    assert done.stderr.startswith("gone: ")
    assert "404" in done.stderr


def test_what_is_damaged_is_named_and_ends_with_1(
    run: Command, source: Source, tmp_path: Path
) -> None:
    rows = [source.row(), replace(source.row(), id="absent", file="absent.bin")]
    run("pull", "weights", rows=rows)
    path = tmp_path / "weights" / "weights.bin"
    path.write_bytes(source.data[:-1] + b"!")
    assert run("verify", rows=rows) == (
        1, f"weights: {path} is not the file that the catalogue names\n", "",
    )  # fmt: skip
    path.write_bytes(b"")
    assert listed(run, rows)["weights"]["state"] == "damaged"
    assert run("verify", rows=rows).returncode == 1


@pytest.mark.parametrize("words", [["no-such"], ["creative-upscale"], [], ["--all", "cgi"]])
def test_a_pull_of_nothing_known_is_refused(run: Command, words: list[str]) -> None:
    with pytest.raises(InferenceError, match=r"no-such|creative|weights list"):
        run("pull", *words)
