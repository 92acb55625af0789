"""Quotes: what a submission would cost and make, and whether it would be accepted now."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from billing import usage
from billing.accounts import Account, Balance, find_account
from billing.errors import BillingError
from billing.keys import Caller
from billing.plans import Plans
from billing.pricing import check_max_credits
from inference.errors import TooManyPixels
from inference.images import ImageInfo, output_size, probe
from inference.params import OutputFormat
from jobs import sandbox
from jobs.admission import (
    Terms,
    check_affordable,
    check_in_flight,
    check_served,
    terms_for,
)
from jobs.errors import JobsError
from jobs.estimates import Estimates
from jobs.ids import Clock
from jobs.sources import Sources
from jobs.turns import Turns
from storage.kv import KeyValue


@dataclass(frozen=True)
class Wanted:
    """What a customer wants quoted, in no dialect.

    `source` is a picture's address, or what it would be if there were one; `terms` are the very
    ones of a submission.
    """

    caller: Caller
    source: str | ImageInfo
    terms: Callable[[ImageInfo], Terms]
    max_credits: int | None = None


class Quote(NamedTuple):
    """The answer; `refusal` is what a submission would be refused with now, None if with nothing.

    `expected_s` is None where nothing was measured.
    """

    model: str
    price_credits: int
    width_px: int
    height_px: int
    format: OutputFormat
    expected_s: float | None
    spendable_credits: int
    refusal: BillingError | JobsError | None


@dataclass(frozen=True)
class Quotes:
    """Answers what a submission would. Nothing is stored, charged or counted.

    `works_on` says which device works on a model's jobs, None if that is not known.
    """

    kv: KeyValue
    sources: Sources
    fetches: Turns
    models: Collection[str]
    has_faces: Callable[[], bool]
    plans: Plans
    estimates: Estimates
    works_on: Callable[[str], str | None]
    clock: Clock
    max_source_pixels: int

    def quote(self, wanted: Wanted) -> Quote:
        """Fetch, probe and price as a submission does.

        Raises what the source or the price list has against it; whatever else would refuse the
        submission is in the quote.
        """
        account, balance = find_account(self.kv, wanted.caller.account_id)
        info = self._info(wanted)
        usual = wanted.terms(info)
        terms = terms_for(wanted.caller, usual, info)
        width_px, height_px = output_size(info, terms.params.factor)
        is_sandbox = wanted.caller.key.is_sandbox
        device = None if is_sandbox else self.works_on(terms.params.model)
        return Quote(
            model=terms.params.model,
            price_credits=terms.price_credits,
            width_px=width_px,
            height_px=height_px,
            format=terms.params.output_format,
            expected_s=self.estimates.expected_s(terms.params, info, device=device),
            spendable_credits=balance.spendable,
            refusal=self._refusal(wanted, usual, terms, self.plans.applied(account), balance),
        )

    def _info(self, wanted: Wanted) -> ImageInfo:
        source = wanted.source
        if isinstance(source, str):
            data = self._fetched(source, wanted.caller)
            return probe(data, max_pixels=self.max_source_pixels)
        if source.width_px * source.height_px > self.max_source_pixels:
            raise TooManyPixels(
                f"The image has {source.width_px} x {source.height_px} pixels; "
                f"at most {self.max_source_pixels} are allowed"
            )
        return source

    def _fetched(self, url: str, caller: Caller) -> bytes:
        scene = sandbox.name_of(url, caller.key)
        if scene is not None:
            return sandbox.content_of(scene)
        with self.fetches.taken(caller.account_id):
            return self.sources.fetch(url)

    def _refusal(
        self, wanted: Wanted, usual: Terms, terms: Terms, account: Account, balance: Balance
    ) -> BillingError | JobsError | None:
        try:
            self._check_scene(wanted, usual, account)
            self._check(wanted, terms, account, balance)
        except (BillingError, JobsError) as refusal:
            return refusal
        return None

    def _check_scene(self, wanted: Wanted, usual: Terms, account: Account) -> None:
        if isinstance(wanted.source, str):
            scene = sandbox.name_of(wanted.source, wanted.caller.key)
            sandbox.check(scene, sandbox.Usual(usual.price_credits, account.max_in_flight))

    def _check(self, wanted: Wanted, terms: Terms, account: Account, balance: Balance) -> None:
        """In the order in which a submission is checked."""
        check_in_flight(account, balance)
        check_max_credits(terms.price_credits, wanted.max_credits)
        check_affordable(account, balance, price_credits=terms.price_credits)
        check_served(wanted.caller, terms.params, models=self.models, has_faces=self.has_faces)
        limits = wanted.caller.key.caps
        key, model = wanted.caller.key, terms.params.model
        tally = usage.tally_of(key, model=model, now_ms=self.clock())
        usage.check_caps(self.kv, tally, limits, credits=terms.price_credits)
