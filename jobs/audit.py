"""The audit: once a day the ledger is verified, and what is off is an alarm.

Where credits are sold, it is then compared with what Stripe knows of the last days, and repaired.
"""

import logging
from dataclasses import dataclass

from billing.payments import Payments
from billing.verification import Discrepancy, verify
from jobs.ids import Clock
from storage.kv import Conflict, Key, KeyValue, Put
from storage.record import Record

log = logging.getLogger(__name__)

EVERY_MS = 24 * 60 * 60 * 1000
RECONCILED_MS = 3 * EVERY_MS
"""How far back the ledger is compared with Stripe: two audits in a row may fail at that."""

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
    payments: Payments | None = None

    def run(self) -> list[Discrepancy]:
        """Verify every account, log an error for each discrepancy, and keep their number.

        Then reconcile, where credits are sold. If that fails it is logged, and left to the next.
        """
        found = list(verify(self.kv))
        for discrepancy in found[:MAX_LOGGED]:
            log.error("the ledger is off: %s: %s", discrepancy.account_id, discrepancy.what)
        if len(found) > MAX_LOGGED:
            log.error("the ledger is off: %d more discrepancies", len(found) - MAX_LOGGED)
        if not found:
            log.info("the ledger verifies")
        self._keep(len(found))
        if self.payments is not None:
            self._reconcile(self.payments)
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

    def _reconcile(self, payments: Payments) -> None:
        try:
            rows = list(payments.reconciliation().run(since_ms=self.clock() - RECONCILED_MS))
        except Exception:  # whatever it is, the ledger itself has been verified
            log.exception("the ledger could not be compared with Stripe")
            return
        wrong = sum(not row.is_well for row in rows)
        level = logging.ERROR if wrong else logging.INFO
        log.log(level, "of %d compared with Stripe, %d could not be put right", len(rows), wrong)

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
