"""The breaker: a receiver that is away is left alone for a while, so that it delays nobody else.

Each account has its own for each host and port. Five failures in a row that say the host is absent
or overloaded open it: until the rest is over nothing is sent there, and no attempt is used up. Then
one delivery probes. If that fails the next rest is twice as long; any other answer closes it.

    breaker#<account>, <host>:<port>    a receiver that has failed; no item means that all is well

It lies in the store and not in a process: couriers come and go within a minute, several work at
once, and of all of them one may probe.
"""

import logging
from dataclasses import dataclass
from typing import NamedTuple

from jobs.address_guard import parsed
from jobs.ids import Clock
from jobs.webhooks import Share
from storage.kv import Change, Conflict, Delete, Key, KeyValue, Put
from storage.record import Record

log = logging.getLogger(__name__)

FAILURES = 5
"""In a row; with four attempts at once, one short fault does not reach it."""

FIRST_REST_MS = 15_000
MAX_REST_MS = 60 * 60 * 1000
PROBE_MS = 30_000
"""How long nobody else probes, should who does never tell."""

_KEPT_MS = 24 * 60 * 60 * 1000
_MAX_DOUBLINGS = 8
_COMMIT_TRIES = 5


class Breaker(Record):
    """What is known of a receiver that has failed: how often in a row, and until when it rests.

    `probed_at_ms` is when the last probe began, None once it has told.
    """

    failures: int
    changed_at_ms: int
    rests_until_ms: int | None = None
    probed_at_ms: int | None = None

    @property
    def rest_ms(self) -> int:
        """How long a rest is after so many failures."""
        doublings = min(max(self.failures - FAILURES, 0), _MAX_DOUBLINGS)
        return int(min(FIRST_REST_MS * 2**doublings, MAX_REST_MS))


class Pass(NamedTuple):
    """Whether an attempt may be made: not before `not_before_ms` if that is set, else now, in one
    commit with `changes`. `was_away` says that the receiver has failed lately.
    """

    not_before_ms: int | None = None
    changes: tuple[Change, ...] = ()
    was_away: bool = False


@dataclass(frozen=True)
class Breakers:
    """All breakers. `share` spreads what was put off over the rest that follows."""

    kv: KeyValue
    clock: Clock
    share: Share

    def ask(self, account_id: str, receiver: str, *, is_asked_for: bool) -> Pass:
        """Whether an attempt may be made now. One that a customer asked for need not wait for the
        end of the rest: it is the probe, if there is none already.
        """
        item = self.kv.get(_key(account_id, receiver))
        if item is None:
            return Pass()
        breaker, now_ms = Breaker.model_validate(item.value), self.clock()
        if breaker.rests_until_ms is None:
            return Pass(was_away=True)
        told_by_ms = 0 if breaker.probed_at_ms is None else breaker.probed_at_ms + PROBE_MS
        ends_ms = told_by_ms if is_asked_for else max(breaker.rests_until_ms, told_by_ms)
        if now_ms < ends_ms:
            spread_ms = round(breaker.rest_ms * self.share())
            return Pass(not_before_ms=ends_ms + spread_ms, was_away=True)
        probed = breaker.model_copy(update={"probed_at_ms": now_ms})
        return Pass(changes=(_put(item.key, probed, replaces=item.version),), was_away=True)

    def note_answer(self, account_id: str, receiver: str) -> None:
        """The receiver is there: it has answered something else than that it is overloaded."""
        key = _key(account_id, receiver)
        for _ in range(_COMMIT_TRIES):
            item = self.kv.get(key)
            if item is None:
                return
            try:
                self.kv.commit(Delete(key, replaces=item.version))
                return
            except Conflict:
                continue
        log.warning("webhooks of %s to %s: too contended to count", account_id, receiver)

    def note_absence(
        self, account_id: str, receiver: str, *, begun_at_ms: int, retry_after_s: int | None
    ) -> None:
        """An attempt that began then has found the receiver away; it rests as long as it asks for,
        within `MAX_REST_MS`.
        """
        key, asked_ms = _key(account_id, receiver), (retry_after_s or 0) * 1000
        for _ in range(_COMMIT_TRIES):
            item, now_ms = self.kv.get(key), self.clock()
            before = None if item is None else Breaker.model_validate(item.value)
            if before is not None and _is_known(before, begun_at_ms=begun_at_ms):
                return
            breaker = _failed(before, now_ms=now_ms, asked_ms=min(asked_ms, MAX_REST_MS))
            try:
                self.kv.commit(_put(key, breaker, replaces=item.version if item else None))
            except Conflict:
                continue
            if breaker.rests_until_ms is not None:
                rest_s = (breaker.rests_until_ms - now_ms) // 1000
                log.info("webhooks of %s to %s rest for %d s", account_id, receiver, rest_s)
            return
        log.warning("webhooks of %s to %s: too contended to count", account_id, receiver)


def receiver_of(url: str) -> str:
    """The host and port that a webhook's address leads to; all that lead nowhere are one."""
    target = parsed(url)
    return "nowhere" if target is None else f"{target.host}:{target.port}"


def _is_known(breaker: Breaker, *, begun_at_ms: int) -> bool:
    """Whether the receiver rests since the attempt began: it says nothing new, and must not
    lengthen the rest."""
    return breaker.rests_until_ms is not None and begun_at_ms < breaker.changed_at_ms


def _failed(before: Breaker | None, *, now_ms: int, asked_ms: int) -> Breaker:
    if before is None:
        return Breaker(failures=1, changed_at_ms=now_ms)
    failed = before.model_copy(
        update={
            "failures": before.failures + 1,
            "changed_at_ms": now_ms,
            "probed_at_ms": None,
        }
    )
    if failed.failures < FAILURES:
        return failed
    rest_ms = max(failed.rest_ms, asked_ms)
    return failed.model_copy(update={"rests_until_ms": now_ms + rest_ms})


def _key(account_id: str, receiver: str) -> Key:
    return Key(f"breaker#{account_id}", receiver)


def _put(key: Key, breaker: Breaker, *, replaces: int | None) -> Put:
    # Forgotten in time: of a receiver that nothing is sent to any more there is nothing to know.
    return Put(
        key,
        breaker.model_dump(mode="json"),
        replaces=replaces,
        expires_at_ms=breaker.changed_at_ms + _KEPT_MS,
    )
