"""The wiring: which device is said to work on the jobs."""

from pathlib import Path
from typing import Any

import pytest

from handlers import wiring
from handlers.settings import Settings


@pytest.mark.parametrize(
    ("said", "has_card", "device"),
    [
        ({"device": "cpu"}, True, "cpu"),
        ({"device": "cuda"}, False, "cuda"),
        ({}, True, "cuda"),
        ({}, False, "cpu"),
        ({"workers": 0}, False, None),
        ({"workers": 0, "device": "cpu"}, False, None),
    ],
)
def test_the_device_is_told_without_torch_and_not_guessed_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, Any],
    has_card: bool,
    device: str | None,
) -> None:
    card = tmp_path / "card"
    monkeypatch.setattr(wiring, "CARD", card)
    if has_card:
        card.touch()
    assert wiring.device_here(Settings(**said)) == device
