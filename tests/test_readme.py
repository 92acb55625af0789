"""The README's requests, run as they stand there, answer what it shows."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inference.published import ALL
from tests.running import picture
from tests.serving import ROOT, Server, enlarger, eventually

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Server(tmp_path_factory.mktemp("readme") / "data").running() as running:
        yield running


def blocks(language: str) -> list[str]:
    """The README's fenced blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shape(value: Any) -> Any:
    """The members of JSON, all the way down, without their values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value).__name__


def test_the_requests_answer_what_is_shown(server: Server, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(picture(48, 36, kind="JPEG"))
    script = "\n".join(blocks("sh")).replace("http://127.0.0.1:8000", server.url)
    body = server.demo_key.removeprefix("afk_")
    ran = subprocess.run(
        ["bash", "-euc", script],
        env={"BODY": body, "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(ran.stdout)
    second, _ = decoder.raw_decode(ran.stdout[end:])
    shown = [json.loads(text) for text in blocks("json")]
    assert [shape(first), shape(second)] == [shape(answer) for answer in shown]

    headers = {"X-API-Key": server.demo_key}
    job = f"{server.url}/v2/jobs/{first['jobId']}"
    eventually(
        lambda: httpx2.get(job, headers=headers).json()["status"] == "COMPLETED",
        what="the README's job",
    )


def test_the_welcome_is_printed_on_an_empty_folder_only(server: Server) -> None:
    assert "A demo account with 1000 credits is ready" in server.printed
    assert f"{server.url}/v2/images/upscale" in server.printed
    server.kill()
    server.start()
    assert server.printed.count("A demo account") == 1


def test_a_single_file_needs_no_server(tmp_path: Path) -> None:
    source, target = tmp_path / "photo.jpg", tmp_path / "large.png"
    source.write_bytes(picture(20, 15, kind="JPEG"))
    ran = enlarger("upscale", source, target, "--factor", "4")
    served, quality = ran.stdout.splitlines()
    shown = next(block for block in blocks("console") if "enlarger upscale" in block).splitlines()
    assert served == shown[1].replace("large.png: 2560 x 1920", f"{target}: 80 x 60")
    without_seams = shown[2].partition(", seams")[0]  # so small a picture is one tile
    assert re.sub(r"[\d.]+", "", quality) == re.sub(r"[\d.]+", "", without_seams)


def test_every_setting_is_in_the_table() -> None:
    from handlers.settings import PREFIX, Settings

    told = set(re.findall(rf"^\| `{PREFIX}(\w+)`", README, re.MULTILINE))
    assert told == {name.upper() for name in Settings.model_fields}


def test_every_scene_of_the_sandbox_is_in_its_table() -> None:
    from jobs.sandbox import HOST, SCENES

    section = README.partition("## Test against it")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", section, re.MULTILINE)
    assert told == [(name, scene.what) for name, scene in SCENES.items()]
    assert f"`https://{HOST}/<name>.png`" in section


def test_every_figure_is_one_that_was_measured() -> None:
    told = re.findall(r"^\| ([^|`]+) \| ([\d.]+) \| ([\d.]+) \| (.*) \|$", README, re.MULTILINE)
    assert len(told) >= 9
    measured = {
        (row["what"], f"{row['asked'] or 0:g}", f"{row['measured']:g}", row["note"])
        for path in (ROOT / "benchmarks" / "results").glob("*.json")
        for row in json.loads(path.read_text())["rows"]
    }
    assert set(told) <= measured


def test_the_credits_name_every_file_that_can_be_pulled_with_its_licence() -> None:
    credits = README.partition("## Credits")[2].partition("\n## ")[0]
    for weights in ALL:
        if weights.url is not None:
            (row,) = [line for line in credits.splitlines() if f"`{weights.file}`" in line]
            assert weights.licence in row
