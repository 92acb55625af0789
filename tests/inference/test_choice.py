"""Which networks serve a request, and what the log says of it."""

import logging
import os
from pathlib import Path

import pytest

from inference.choice import Choice
from inference.errors import ModelUnknown
from inference.params import Factor, UpscaleParams
from inference.published import PHOTO, WEB_PHOTO


def asked(slot: str = "standard-v2", factor: Factor = 4) -> UpscaleParams:
    return UpscaleParams(model="topaz-image-upscale", slot=slot, factor=factor, output_format="png")


def test_a_fallback_is_said_once_for_each_slot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    choice = Choice(tmp_path)
    for factor in (2, 4, 4):
        choice.of(asked(factor=factor))
    choice.of(asked(slot="cgi"))
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "standard-v2" in warnings[0]
    assert "builtin" in warnings[0]
    assert "cgi" in warnings[1]


def test_weights_that_arrive_while_it_runs_are_chosen_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    choice = Choice(tmp_path)
    assert choice.of(asked()).weights == (PHOTO.x4,)
    (tmp_path / WEB_PHOTO.file).touch()
    os.truncate(tmp_path / WEB_PHOTO.file, WEB_PHOTO.size_bytes)
    assert choice.of(asked()).weights == (WEB_PHOTO,)
    assert "is served by 4xnomoswebphoto-realplksr" in caplog.text


def test_what_is_in_no_catalogue_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ModelUnknown, match="no-such-slot"):
        Choice(tmp_path).of(asked(slot="no-such-slot"))
    unknown = asked().model_copy(update={"model": "no-such-model"})
    with pytest.raises(ModelUnknown, match="no-such-model"):
        Choice(tmp_path).of(unknown)
