"""What the engine is asked to do, with every choice already made."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

OutputFormat = Literal["jpg", "png", "webp"]
Factor = Literal[1, 2, 4, 6, 8]


class UpscaleParams(BaseModel):
    """One picture's enlargement: nothing optional, nothing left to a default further in.

    `model` is a key of `inference.catalogue.MODELS`; `slot` is the model's variant (Topaz's
    `model_type`); the output is exactly `factor` times as wide and high as the source is displayed.
    """

    # Jobs keep it: a field of a newer release survives a rewrite by this one.
    model_config = ConfigDict(frozen=True, extra="allow")

    model: str
    slot: str
    factor: Factor
    output_format: OutputFormat
