"""What quotes say on the wire, in both dialects: the submission's body, or a picture's size."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from handlers import apiframe_wire as apiframe
from handlers import vicsee_wire as vicsee
from handlers.vicsee_wire import ErrorBody
from inference.images import ImageInfo
from inference.params import OutputFormat
from jobs.quotes import Quote

MAX_SIDE_PX = 1_000_000

Side = Annotated[
    int | None,
    Field(ge=1, le=MAX_SIDE_PX, description="In pixels, as displayed; with the other side"),
]
SourceFormat = Literal["jpg", "png", "webp", "tiff"]


class _Sized(BaseModel):
    """A picture's size, in the place of the picture."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    width: Side = None
    height: Side = None

    def size(self, format_: SourceFormat) -> ImageInfo | None:
        """The picture that there would be; None if none is described."""
        if self.width is None or self.height is None:
            return None
        return ImageInfo(format_, self.width, self.height)


class _Pictured(_Sized):
    image: apiframe.Image | None = None

    @property
    def source(self) -> str | ImageInfo:
        """The address, or the size."""
        source = self.size("jpg") if self.image is None else self.image  # priced alike in any
        assert source is not None, "the model's own check"
        return source

    @model_validator(mode="after")
    def _has_one_of_both(self) -> Self:
        sides = [side for side in (self.width, self.height) if side is not None]
        if len(sides) != (2 if self.image is None else 0):
            raise ValueError("there must be image, or else width and height")
        return self


class TopazQuoteParams(_Pictured, apiframe.TopazKnobs):
    """`topazUpscaleParams`, of which `image` may be replaced by `width` and `height`."""


class ClarityQuoteParams(_Pictured, apiframe.ClarityKnobs):
    """`clarityUpscaleParams`, of which `image` may be replaced by `width` and `height`."""


class TopazQuoteBody(apiframe.Wishes):
    """A faithful enlargement."""

    model: apiframe.Topaz
    topazUpscaleParams: TopazQuoteParams


class ClarityQuoteBody(apiframe.Wishes):
    """A creative enlargement."""

    model: apiframe.Clarity
    clarityUpscaleParams: ClarityQuoteParams


class QuoteRequest(RootModel[TopazQuoteBody | ClarityQuoteBody]):
    """The body of `POST /v2/images/upscale/quote`: that of the submission, or with a size."""

    root: TopazQuoteBody | ClarityQuoteBody = Field(discriminator="model")


ExpectedSeconds = Annotated[
    float | None,
    Field(
        description=(
            "Work on one picture of this size, by our benchmarks' measurements on the kind of "
            "device that serves here; without time spent waiting. Null where it was not measured"
        )
    ),
]


class Quoted(BaseModel):
    """What a submission would cost and make, and whether it would be accepted now."""

    model: str
    credits: int
    creditsAvailable: int
    width: int
    height: int
    megapixels: float
    format: str
    expectedSeconds: ExpectedSeconds
    allowed: bool
    reason: str | None


class VicSeeQuoteRequest(_Sized):
    """The body of `POST /tools/upscale-image/quote`: that of the submission, or with a size.

    `format` is the source's, and goes with `width` and `height`.
    """

    image_url: Annotated[str, Field(min_length=1, max_length=apiframe.MAX_IMAGE_CHARS)] | None = (
        None
    )
    format: SourceFormat | None = None
    upscale_factor: vicsee.UpscaleFactor = 2
    max_credits: apiframe.MaxCredits = None

    @property
    def misplaced(self) -> str | None:
        """The first member that is missing or out of place, if any is."""
        sides = {"width": self.width, "height": self.height}
        if self.image_url is not None:
            beside = sides | {"format": self.format}
            return next((name for name, said in beside.items() if said is not None), None)
        missing = [name for name, said in sides.items() if said is None]
        return "image_url" if len(missing) == 2 else next(iter(missing), None)


class VicSeeOutput(BaseModel):
    """What would be made; `format` is null where the source's is not known."""

    width: int
    height: int
    megapixels: float
    format: str | None


class VicSeeQuoted(BaseModel):
    """What a task would cost and make, and whether it would be accepted now."""

    model: str
    credits: int
    creditsAvailable: int
    output: VicSeeOutput
    expectedSeconds: ExpectedSeconds
    allowed: bool
    reason: ErrorBody | None


def megapixels(quote: Quote) -> float:
    """Millions of pixels that would be made."""
    return quote.width_px * quote.height_px / 1e6


def shown_s(expected_s: float | None) -> float | None:
    """An expected time to a digit that means something."""
    return None if expected_s is None else round(expected_s, 1 if expected_s >= 1 else 3)


def output_format(quote: Quote, said: VicSeeQuoteRequest) -> OutputFormat | None:
    """The output's format; VicSee's follows the source's, which a size alone does not tell."""
    return None if said.image_url is None and said.format is None else quote.format
