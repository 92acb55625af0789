"""Quotes in both dialects: the routes that price a submission without making it."""

from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError

from handlers import apiframe_errors, vicsee_errors
from handlers import quote_wire as wire
from handlers.auth import CallerOf, ServicesOf
from handlers.terms import apiframe_pricing, vicsee_pricing
from handlers.vicsee_wire import Envelope
from jobs.quotes import Wanted

DEFAULT_FORMAT: wire.SourceFormat = "png"
"""What an output's format is reckoned from where only a size is known; the price is the same."""


def add_apiframe_quotes(router: APIRouter, **options: Any) -> None:
    """Add the route of the Apiframe dialect."""

    @router.post("/images/upscale/quote", **options)
    def quote(body: wire.QuoteRequest, caller: CallerOf, services: ServicesOf) -> wire.Quoted:
        """Price a submission without making it, by its own body or by a picture's size.

        In the params, `image` may be replaced by `width` and `height`. The picture is fetched and
        looked at as it is for a submission; nothing is stored or charged. `allowed` says whether a
        submission would be accepted now, `reason` why not.
        """
        said = body.root
        if isinstance(said, wire.TopazQuoteBody):
            params: wire.TopazQuoteParams | wire.ClarityQuoteParams = said.topazUpscaleParams
        else:
            params = said.clarityUpscaleParams
        terms = apiframe_pricing(params, services)
        made = services.quotes.quote(Wanted(caller, params.source, terms, said.maxCredits))
        refusal = made.refusal
        return wire.Quoted(
            model=made.model,
            credits=made.price_credits,
            creditsAvailable=made.spendable_credits,
            width=made.width_px,
            height=made.height_px,
            megapixels=wire.megapixels(made),
            format=made.format,
            expectedSeconds=wire.shown_s(made.expected_s),
            allowed=refusal is None,
            reason=None if refusal is None else apiframe_errors.told(refusal),
        )


def add_vicsee_quotes(router: APIRouter, **options: Any) -> None:
    """Add the route of the VicSee dialect."""

    @router.post("/tools/upscale-image/quote", **options)
    def quote(
        body: wire.VicSeeQuoteRequest, caller: CallerOf, services: ServicesOf
    ) -> Envelope[wire.VicSeeQuoted]:
        """Price a task without making it, by its own body or by a picture's size.

        `image_url` may be replaced by `width` and `height`, with `format`, the source's, if the
        output's is of interest. Nothing is stored, charged, or counted in the day's requests.
        """
        if body.misplaced is not None:
            problem = {"type": "missing", "loc": ("body", body.misplaced), "msg": "Misplaced"}
            raise RequestValidationError([problem])
        size = body.size(body.format or DEFAULT_FORMAT)
        source = body.image_url if size is None else size
        assert source is not None
        terms = vicsee_pricing(body.upscale_factor, services)
        made = services.quotes.quote(Wanted(caller, source, terms, body.max_credits))
        refusal = made.refusal
        return Envelope(
            data=wire.VicSeeQuoted(
                model=made.model,
                credits=made.price_credits,
                creditsAvailable=made.spendable_credits,
                output=wire.VicSeeOutput(
                    width=made.width_px,
                    height=made.height_px,
                    megapixels=wire.megapixels(made),
                    format=wire.output_format(made, body),
                ),
                expectedSeconds=wire.shown_s(made.expected_s),
                allowed=refusal is None,
                reason=None if refusal is None else vicsee_errors.told(refusal),
            )
        )
