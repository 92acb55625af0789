"""What a job costs, in credits: both dialects' price tables, as data."""

from pydantic import BaseModel, ConfigDict, model_validator

from billing.errors import OutputTooLarge, OverMaxCredits


class Tier(BaseModel):
    """Outputs of up to `megapixels` (millions of pixels) cost `credits`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    megapixels: int
    credits: int


def _tiers(*pairs: tuple[int, int]) -> tuple[Tier, ...]:
    return tuple(Tier(megapixels=megapixels, credits=credits) for megapixels, credits in pairs)


class Prices(BaseModel):
    """The whole price list. The defaults are those of the published APIs where they are public.

    Topaz's follow the megapixels of the output, Clarity's are flat (both Apiframe); VicSee's
    follow the factor, whatever the input's size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topaz_tiers: tuple[Tier, ...] = _tiers(
        (24, 8), (48, 16), (60, 24), (96, 32), (132, 40), (168, 48), (336, 88), (512, 136)
    )
    clarity_credits: int = 3
    vicsee_credits: dict[int, int] = {1: 20, 2: 20, 4: 40, 8: 80}

    @model_validator(mode="after")
    def _ordered_and_positive(self) -> "Prices":
        sizes = [tier.megapixels for tier in self.topaz_tiers]
        if not sizes or sizes != sorted(set(sizes)):
            raise ValueError("topaz_tiers must rise in megapixels")
        if sizes[0] < 1:
            raise ValueError("a tier must be of at least 1 megapixel")
        if set(self.vicsee_credits) != {1, 2, 4, 8}:
            raise ValueError("vicsee_credits must price the factors 1, 2, 4 and 8")
        credits = [tier.credits for tier in self.topaz_tiers]
        if min([*credits, self.clarity_credits, *self.vicsee_credits.values()]) < 1:
            raise ValueError("every price must be at least 1 credit")
        return self

    def topaz(self, output_pixels: int) -> int:
        """Credits for a Topaz output of that many pixels; `OutputTooLarge` above the last tier."""
        for tier in self.topaz_tiers:
            if output_pixels <= tier.megapixels * 1_000_000:
                return tier.credits
        raise OutputTooLarge(
            f"The output would have {output_pixels / 1e6:.1f} megapixels; "
            f"at most {self.topaz_tiers[-1].megapixels} are offered"
        )

    def clarity(self) -> int:
        """Credits for a Clarity job."""
        return self.clarity_credits

    def vicsee(self, factor: int) -> int:
        """Credits for a VicSee task of that factor (1, 2, 4 or 8)."""
        return self.vicsee_credits[factor]


def check_max_credits(price_credits: int, max_credits: int | None) -> None:
    """Raise `OverMaxCredits` if a price is above what the request said it may be."""
    if max_credits is not None and price_credits > max_credits:
        raise OverMaxCredits(required=price_credits, most=max_credits)
