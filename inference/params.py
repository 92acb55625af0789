"""What the engine is asked to do, with every choice already made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

OutputFormat = Literal["jpg", "png", "webp", "tiff", "avif"]
Factor = Literal[1, 2, 4, 6, 8]
MetadataPolicy = Literal["keep", "strip", "strip_gps"]
DeviceName = Literal["auto", "cpu", "cuda"]


class FaceParams(BaseModel):
    """How faces are restored: `strength` is how much of the restored face shows, 0 to 1;
    `creativity` how far the restorer may leave what it was given, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    strength: float = Field(ge=0, le=1)
    creativity: float = Field(ge=0, le=1)


class CreativeParams(BaseModel):
    """How detail is invented.

    `prompt` says of what, `negative_prompt` of what not; `creativity` is how much of the picture is
    noise at first, 0 to 1; `resemblance` how strongly the picture holds it back, 0 to 3; `dynamic`
    how strongly the prompt pulls, 1 to 50; `steps` are nominal ones, 1 to 100, of which the share
    that `creativity` says is executed; `sharpen` is 0 to 10. The same seed gives the same picture.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt: str
    negative_prompt: str
    creativity: float = Field(ge=0, le=1)
    resemblance: float = Field(ge=0, le=3)
    dynamic: float = Field(ge=1, le=50)
    steps: int = Field(ge=1, le=100)
    sharpen: float = Field(ge=0, le=10)
    seed: int


class Treatment(BaseModel):
    """What the operator decides for every picture.

    `metadata` says what of EXIF and XMP goes into the result; profile and density always do.
    `is_guarded` corrects the result until, reduced again, it matches the source.
    `reports_quality` measures how well it does.
    """

    # Jobs keep it: a field of a newer release survives a rewrite by this one, and one that an
    # older release did not know has a default.
    model_config = ConfigDict(frozen=True, extra="allow")

    metadata: MetadataPolicy = "strip_gps"
    is_guarded: bool = False
    reports_quality: bool = True


USUAL = Treatment()


class UpscaleParams(Treatment):
    """One picture's enlargement: nothing left to a default further in.

    `model` is a key of `inference.catalogue.MODELS`; `slot` is the model's variant (Topaz's
    `model_type`); the output is exactly `factor` times as wide and high as the source is displayed.
    `faces` is None where faces get no treatment of their own, `creative` where nothing is invented.
    """

    model: str
    slot: str
    factor: Factor
    output_format: OutputFormat
    faces: FaceParams | None = None
    creative: CreativeParams | None = None


class Lora(NamedTuple):
    """A file of changes to a network, and how much of them: 1 as they were trained, 0 nothing."""

    file: Path
    weight: FiniteFloat


@dataclass(frozen=True)
class CreativeOptions:
    """What an operator decides about the diffusion.

    `checkpoint` is a folder or a file of theirs in the place of the catalogue's; `loras` are fused
    into it. `is_few_step` adds
    the catalogue's LCM LoRA and takes at most eight steps; `unguided_steps` of each pass, the last
    ones, are done without guidance, at half the work; `is_compiled` has torch compile the networks.
    """

    checkpoint: Path | None = None
    loras: tuple[Lora, ...] = ()
    is_few_step: bool = False
    unguided_steps: int = 0
    is_compiled: bool = False


USUAL_CREATION = CreativeOptions()
