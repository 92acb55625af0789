"""The audit: once a day the ledger is verified, and what is off is an alarm."""

import logging
from dataclasses import dataclass

from billing.verification import Discrepancy, verify
from jobs.ids import Clock
from storage.kv import Conflict, Key, KeyValue, Put
from storage.record import Record

log = logging.getLogger(__name__)

EVERY_MS = 24 * 60 * 60 * 1000
MAX_LOGGED = 100
"""How many of an audit's discrepancies are logged one by one."""

AUDIT_KEY = Key("audit", "last")


class Audited(Record):
    """What the last audit found, and when it ended."""

    discrepancies: int
    ended_at_ms: int


@dataclass(frozen=True)
class Audit:
    """Verifies the ledger. What it found is kept in the store, for whoever asks."""

    kv: KeyValue
    clock: Clock

    def run(self) -> list[Discrepancy]:
        """Verify every account, log an error for each discrepancy, and keep their number."""
        found = list(verify(self.kv))
        for discrepancy in found[:MAX_LOGGED]:
            log.error("the ledger is off: %s: %s", discrepancy.account_id, discrepancy.what)
        if len(found) > MAX_LOGGED:
            log.error("the ledger is off: %d more discrepancies", len(found) - MAX_LOGGED)
        if not found:
            log.info("the ledger verifies")
        self._keep(len(found))
        return found

    def run_if_due(self) -> bool:
        """Run if the last audit, by whichever process, was a day ago; whether it was."""
        last = self.last()
        if last is not None and 0 <= self.clock() - last.ended_at_ms < EVERY_MS:
            return False
        self.run()
        return True

    def last(self) -> Audited | None:
        """What the last audit found; None before the first."""
        item = self.kv.get(AUDIT_KEY)
        return None if item is None else Audited.model_validate(item.value)

    def _keep(self, discrepancies: int) -> None:
        found = {"discrepancies": discrepancies, "ended_at_ms": self.clock()}
        item = self.kv.get(AUDIT_KEY)
        if item is None:
            change = Put(AUDIT_KEY, Audited(**found).model_dump())
        else:
            kept = Audited.model_validate(item.value).model_copy(update=found)
            change = Put(AUDIT_KEY, kept.model_dump(), replaces=item.version)
        try:
            self.kv.commit(change)
        except Conflict:
            return  # another process has just kept what it found
