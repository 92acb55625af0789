"""What tests of the training share."""

from pathlib import Path

import pytest

from tests.training.folders import made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures and their manifest."""
    return made(tmp_path)
