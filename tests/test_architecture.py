"""The arrows of the design: which package may import which, and what starts without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("handlers", "jobs", "billing", "inference", "storage")

MAY_IMPORT = {
    "handlers": {"handlers", "jobs", "billing", "inference", "storage"},
    "jobs": {"jobs", "billing", "inference", "storage"},
    "billing": {"billing", "storage.kv", "storage.record"},
    "inference": {"inference"},
    "storage": {"storage"},
}
"""What each package may import of ours; a package stands for all its modules."""

ONLY_IN = {
    "torch": {"inference"},
    "safetensors": {"inference"},
    "onnxruntime": {"inference"},
    "PIL": {"inference"},
    "numpy": {"inference"},
    "pyvips": {"inference"},
    "zlib_ng": {"inference"},
    "httpcore2": {"jobs", "inference"},
    "sqlite3": {"storage"},
    "fastapi": {"handlers"},
    "starlette": {"handlers"},
    "typer": {"handlers"},
    "rich": {"handlers"},
    "diffusers": {"inference"},
    "transformers": {"inference"},
    "peft": {"inference"},
    "boto3": {"storage"},
    "botocore": {"storage"},
    "psycopg": {"storage"},
    "psycopg_pool": {"storage"},
    "pytest": {"storage"},
    "hypothesis": {"storage"},
    "prometheus_client": {"handlers"},
    "pythonjsonlogger": {"handlers"},
    "stripe": {"billing"},
    "modal": set(),
}
"""Which of our packages may import a library; the applications at the top wire and may too."""

HEAVY = (
    "torch",
    "onnxruntime",
    "pyvips",
    "diffusers",
    "transformers",
    "modal",
    "boto3",
    "psycopg",
    "stripe",
    "pytest",
)


def modules() -> list[Path]:
    """Every module of the packages."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    """The full names that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        top = name.partition(".")[0]
        if top in PACKAGES:
            assert is_within(name, MAY_IMPORT[package]), f"{package} must not import {name}"
        elif top in ("local_app", "modal_app", "training", "benchmarks", "tests"):
            pytest.fail(f"{package} must not import {name}")
        elif top in ONLY_IN:
            assert package in ONLY_IN[top], f"{package} must not import {name}"


def test_the_rules_cover_every_package() -> None:
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert ours - {"training", "benchmarks", "tests"} == set(PACKAGES) == set(MAY_IMPORT)


@pytest.mark.parametrize("module", ["handlers.app", "local_app"])
def test_the_web_app_starts_without_what_is_heavy(module: str) -> None:
    program = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words", [["serve", "--port", "1"], ["upscale", "pyproject.toml", "out.png"]]
)
def test_a_missing_engine_is_told_in_a_line(words: list[str], tmp_path: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; import local_app; local_app.main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        env={"ENLARGER_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "enlarger[engine]" in ran.stderr


def test_no_file_has_a_name_that_says_nothing() -> None:
    nothing = {"utils", "helpers", "common", "base", "core", "manager", "misc"}
    assert not [path for path in modules() if path.stem in nothing]


def test_only_the_settings_read_the_environment() -> None:
    readers = [path for path in modules() if "os.environ" in path.read_text()]
    assert readers == []
