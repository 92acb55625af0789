"""The price list: what containers and stores cost, and when that was read. It is configuration."""

from datetime import date

from pydantic import BaseModel, ConfigDict, NonNegativeFloat


class Price(BaseModel):
    """What one of something costs while a container has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_a_second: NonNegativeFloat
    read: date | None


class ModalPrices(BaseModel):
    """Of a physical core, a GiB, and each card by Modal's name for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    cpu_core: Price
    memory_gib: Price
    cards: dict[str, Price]


class StorePrices(BaseModel):
    """What a store asks, by what it counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    read: date
    usd: dict[str, NonNegativeFloat]


class Prices(BaseModel):
    """A price list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str
    note: str
    modal: ModalPrices
    stores: dict[str, StorePrices]
