"""Usage: what each key spent on each model, by day; and against its caps, by day and month.

A job is counted in the commit that takes its price, and what it gives back in the commit that
ends it, so that the figures are exact and caps hold however many jobs are submitted at once.

    usage#<account>, <day>#<key>#<model>    jobs, credits, refunded_jobs, refunded_credits
    caps#<key>, day#<day> and month#<month>  jobs, credits: only of keys whose caps need it
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from billing import caps
from billing.caps import Caps
from billing.keys import ApiKey
from storage.kv import MAX_PAGE, Add, Change, Key, KeyValue, Put
from storage.record import Part

DAY_MS = 24 * 60 * 60 * 1000


class Tally(Part):
    """Where a job is counted. `day` is in days since 1970, UTC; `capped_as` names the items that
    the key's caps count in, None if they need none. A sandbox job is no usage; caps hold for it.
    """

    account_id: str
    key_id: str
    model: str
    day: int
    capped_as: str | None
    is_sandbox: bool = False

    @property
    def usage_key(self) -> Key:
        """The item of the key's day with the model."""
        return Key(f"usage#{self.account_id}", f"{self.day:06}#{self.key_id}#{self.model}")

    @property
    def day_key(self) -> Key:
        """The item of the key's day."""
        return Key(f"caps#{self.capped_as}", f"day#{self.day:06}")

    @property
    def month_key(self) -> Key:
        """The item of the key's month."""
        month = datetime.fromtimestamp(self.day * DAY_MS // 1000, UTC).strftime("%Y-%m")
        return Key(f"caps#{self.capped_as}", f"month#{month}")

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every item that the job is counted in."""
        used = () if self.is_sandbox else (self.usage_key,)
        return (*used, *((self.day_key, self.month_key) if self.capped_as else ()))


def tally_of(key: ApiKey, *, model: str, now_ms: int) -> Tally:
    """Where a job of that key is counted now."""
    return Tally(
        account_id=key.account_id,
        key_id=key.id,
        model=model,
        day=now_ms // DAY_MS,
        capped_as=(key.capped_as or key.id) if key.caps.are_counted else None,
        is_sandbox=key.is_sandbox,
    )


def counted(
    tally: Tally, limits: Caps, *, credits: int, absent: Collection[Key]
) -> tuple[Change, ...]:
    """The changes that count a job; refused if it is over a cap of the key's day or month.

    `absent` are the items that are not there yet: nothing can be added to those.
    """
    ceilings: dict[Key, Mapping[str, int]] = {tally.usage_key: {}}
    if tally.capped_as:
        ceilings |= {
            tally.day_key: limits.day.ceilings,
            tally.month_key: limits.month.ceilings,
        }
    amounts = {"jobs": 1, "credits": credits}
    return tuple(
        Put(key, {}, counters=amounts)
        if key in absent
        else Add(key, amounts, ceilings=ceilings[key])
        for key in tally.keys
    )


def given_back(tally: Tally, *, credits: int) -> tuple[Change, ...]:
    """The changes that take a failed job's credits out again."""
    if tally.is_sandbox:
        return ()
    refunded = Add(tally.usage_key, {"refunded_jobs": 1, "refunded_credits": credits})
    return (refunded, *(Add(key, {"credits": -credits}) for key in tally.keys[1:]))


def check_caps(kv: KeyValue, tally: Tally, limits: Caps, *, credits: int) -> None:
    """Raise `CapReached` if a job is over one of the key's caps as things stand."""
    day, month = (
        ({}, {})
        if not tally.capped_as
        else (_spent(kv, tally.day_key), _spent(kv, tally.month_key))
    )
    caps.check(limits, model=tally.model, credits=credits, day=day, month=month)


def _spent(kv: KeyValue, key: Key) -> Mapping[str, int]:
    item = kv.get(key)
    return {} if item is None else item.counters


class UsageRow(NamedTuple):
    """What one key did with one model on one day; `credits` were taken, some given back."""

    day: int
    key_id: str
    model: str
    jobs: int
    credits: int
    refunded_jobs: int
    refunded_credits: int


def usage(kv: KeyValue, account_id: str, *, first_day: int, last_day: int) -> Iterator[UsageRow]:
    """An account's usage in those days, both included, in their order."""
    after, end = f"{first_day:06}", f"{last_day + 1:06}"
    while page := kv.query(f"usage#{account_id}", after=after, limit=MAX_PAGE):
        for item in page:
            if item.key.sort >= end:
                return
            day, key_id, model = item.key.sort.split("#", 2)
            counters = {name: item.counters.get(name, 0) for name in UsageRow._fields[3:]}
            yield UsageRow(int(day), key_id, model, **counters)
        after = page[-1].key.sort
