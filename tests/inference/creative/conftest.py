"""What tests of the creative engine's files share: a folder of them, and one to break."""

import shutil
from pathlib import Path

import pytest

from tests.inference.creative.written import write_all


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `write_all` makes it; nothing in it is changed."""
    folder = tmp_path_factory.mktemp("written")
    write_all(folder)
    return folder


@pytest.fixture
def files(written: Path, tmp_path: Path) -> Path:
    """Such a folder to break."""
    return Path(shutil.copytree(written, tmp_path / "files"))
