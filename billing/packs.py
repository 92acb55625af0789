"""Packs: what credits are sold in and for how much, as data; an operator writes a JSON file."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from billing.errors import PackUnknown
from billing.plans import PlanName

MAX_PACKS = 100
MAX_CREDITS = 10**9
MAX_AMOUNT_MINOR = 99_999_999
"""The most that Stripe charges at once."""

PackId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")]
Every = Literal["month", "year"]


class Pack(BaseModel):
    """Credits for money; `amount_minor` is in the currency's smallest unit: cents, or whole yen.

    With `every` it is a subscription: so much is paid, and so many credits come, each month or
    year. The limits of `plan` hold for its account as long as it runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    credits: Annotated[int, Field(strict=True, ge=1, le=MAX_CREDITS)]
    amount_minor: Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT_MINOR)]
    currency: Annotated[str, Field(pattern=r"^[a-z]{3}$")]
    every: Every | None = None
    plan: PlanName | None = None

    @model_validator(mode="after")
    def _plans_end(self) -> "Pack":
        if self.plan is not None and self.every is None:
            raise ValueError("a plan is sold by a subscription only: say `every`")
        return self


class Packs(BaseModel):
    """Every pack on sale, by its id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packs: Annotated[Mapping[PackId, Pack], Field(min_length=1, max_length=MAX_PACKS)] = {
        "small": Pack(name="1,000 credits", credits=1_000, amount_minor=1_000, currency="usd"),
        "medium": Pack(name="5,500 credits", credits=5_500, amount_minor=5_000, currency="usd"),
        "large": Pack(name="24,000 credits", credits=24_000, amount_minor=20_000, currency="usd"),
    }

    def named(self, pack_id: str) -> Pack:
        """The pack of that id; `PackUnknown` if none is sold."""
        if pack_id not in self.packs:
            raise PackUnknown(f"There is no such pack; there are {', '.join(self.packs)}")
        return self.packs[pack_id]

    def single(self, pack_id: str) -> Pack:
        """The pack of that id, if it is no subscription; `PackUnknown` otherwise."""
        pack = self.named(pack_id)
        if pack.every is not None:
            raise PackUnknown(f"{pack_id} is a subscription; it cannot be bought by itself")
        return pack


USUAL_PACKS = Packs()
