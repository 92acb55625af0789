"""From what a dialect said to what the engine will do and what it costs: said becomes resolved."""

from collections.abc import Callable
from functools import partial

from billing.errors import OutputTooLarge
from billing.keys import Caller
from billing.pricing import Prices, check_max_credits
from handlers.apiframe_wire import ClarityKnobs, TopazKnobs
from inference.catalogue import CLARITY, TOPAZ
from inference.images import MAX_SIDE_PX, ImageInfo, check_fits, output_size
from inference.params import (
    CreativeParams,
    FaceParams,
    Factor,
    OutputFormat,
    Treatment,
    UpscaleParams,
)
from jobs.admission import Terms
from jobs.services import Services

MAX_CREATIVE_PIXELS = 2**26
"""What Clarity's one price goes up to: 8192 x 8192, minutes of a large card."""

VICSEE_MAX_SIDE_PX = 20_000
"""VicSee's limit of the output's longer side; 20,000 itself passes."""


Pricing = Callable[[ImageInfo], Terms]
"""Resolves and prices what was said for a picture: a submission's and a quote's are the same."""


def apiframe_pricing(said: TopazKnobs | ClarityKnobs, services: Services) -> Pricing:
    """Apiframe's pricing of what was said."""
    prices, treatment = services.prices, services.treatment
    if isinstance(said, TopazKnobs):
        return partial(topaz_terms, said, prices=prices, treatment=treatment)
    return partial(
        clarity_terms, said, prices=prices, treatment=treatment, new_seed=services.new_seed
    )


def vicsee_pricing(factor: Factor, services: Services) -> Pricing:
    """VicSee's pricing of a factor."""
    return partial(vicsee_terms, factor, prices=services.prices, treatment=services.treatment)


def within(pricing: Pricing, max_credits: int | None, caller: Caller) -> Pricing:
    """The same pricing, which raises `OverMaxCredits` above what the request said.

    In the sandbox nothing is charged, so that no price is too high.
    """
    if caller.key.is_sandbox:
        return pricing

    def priced(info: ImageInfo) -> Terms:
        terms = pricing(info)
        check_max_credits(terms.price_credits, max_credits)
        return terms

    return priced


def topaz_terms(
    said: TopazKnobs, info: ImageInfo, *, prices: Prices, treatment: Treatment
) -> Terms:
    """Apiframe's Topaz: priced by the output's megapixels."""
    params = UpscaleParams(
        model=TOPAZ.id,
        slot=said.model_type,
        factor=said.upscale_factor,
        output_format=said.output_format,
        faces=_faces(said),
        **treatment.model_dump(),
    )
    width_px, height_px = output_size(info, said.upscale_factor)
    price_credits = prices.topaz(width_px * height_px)
    check_fits(width_px, height_px, format_=said.output_format)
    return Terms(params, price_credits)


def _faces(said: TopazKnobs) -> FaceParams | None:
    if not said.face_enhance:
        return None
    return FaceParams(strength=said.face_enhance_strength, creativity=said.face_enhance_creativity)


def clarity_terms(
    said: ClarityKnobs,
    info: ImageInfo,
    *,
    prices: Prices,
    treatment: Treatment,
    new_seed: Callable[[], int],
) -> Terms:
    """Apiframe's Clarity: one price, up to a size; who names no seed gets one."""
    params = UpscaleParams(
        model=CLARITY.id,
        slot="clarity",
        factor=said.scale_factor,
        output_format=said.output_format,
        creative=CreativeParams(
            prompt=said.prompt,
            negative_prompt=said.negative_prompt,
            creativity=said.creativity,
            resemblance=said.resemblance,
            dynamic=said.dynamic,
            steps=said.num_inference_steps,
            sharpen=said.sharpen,
            seed=new_seed() if said.seed is None else said.seed,
        ),
        **treatment.model_dump(),
    )
    width_px, height_px = output_size(info, said.scale_factor)
    if width_px * height_px > MAX_CREATIVE_PIXELS:
        raise OutputTooLarge(
            f"The output would be {width_px}×{height_px}; "  # noqa: RUF001, as below
            f"{CLARITY.id} makes at most {MAX_CREATIVE_PIXELS:,} pixels"
        )
    check_fits(width_px, height_px, format_=said.output_format)
    return Terms(params, prices.clarity())


def vicsee_terms(factor: Factor, info: ImageInfo, *, prices: Prices, treatment: Treatment) -> Terms:
    """VicSee's upscale: priced by the factor, in the source's format where that can hold it."""
    width_px, height_px = output_size(info, factor)
    if max(width_px, height_px) > VICSEE_MAX_SIDE_PX:
        raise OutputTooLarge(
            f"The output would be {width_px}×{height_px}; "  # noqa: RUF001, the contract's sign
            f"its longer side may have at most {VICSEE_MAX_SIDE_PX} pixels"
        )
    prices.topaz(width_px * height_px)
    params = UpscaleParams(
        model=TOPAZ.id,
        slot="standard-v2",
        factor=factor,
        output_format=_holding_format(info.format, width_px, height_px),
        **treatment.model_dump(),
    )
    return Terms(params, prices.vicsee(factor))


def _holding_format(wanted: OutputFormat, width_px: int, height_px: int) -> OutputFormat:
    is_too_large = max(width_px, height_px) > MAX_SIDE_PX[wanted]
    return "png" if is_too_large else wanted
