"""Plants a bug in the code, one after another, and says which the tests let pass.

    python -m tests.mutants [--only WORD]

Each runs in a copy of the repository. Exit 1 if any bug survives, or is out of date: its place in
the code is not there exactly once any more.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
COPIED = ("billing", "handlers", "inference", "jobs", "storage", "tests", "pyproject.toml")
SUITE = (
    "tests/jobs/test_money.py",
    "tests/jobs/test_caps.py",
    "tests/jobs/test_submission.py",
    "tests/jobs/test_idempotency.py",
    "tests/jobs/test_sandbox.py",
    "tests/billing",
)
HISTORIES = ("tests/simulation/test_histories.py",)
PATIENCE_S = 600


class Mutant(NamedTuple):
    """A bug: where it is planted, what is there, what stands there then, and who is to catch it."""

    name: str
    file: str
    right: str
    wrong: str
    suite: tuple[str, ...] = SUITE


MUTANTS = (
    Mutant(
        "a sandbox job is charged",
        "jobs/admission.py",
        "    return usual._replace(price_credits=0)\n",
        "    return usual\n",
    ),
    Mutant(
        "a sandbox job wants a balance",
        "jobs/admission.py",
        "if balance.owed and price_credits:",
        "if balance.owed:",
    ),
    Mutant(
        "a sandbox job counts as usage",
        "billing/usage.py",
        "used = () if self.is_sandbox else (self.usage_key,)",
        "used = (self.usage_key,)",
    ),
    Mutant(
        "a sandbox key may have a scope over money",
        "billing/keyring.py",
        "            raise SandboxBounded\n",
        "            pass\n",
    ),
    Mutant(
        "a hold may overdraw",
        "billing/ledger.py",
        'floors={"available": 0, "promo": 0} if split.credits else {},',
        "floors={},",
    ),
    Mutant(
        "no limit of jobs in flight",
        "billing/ledger.py",
        'ceilings={"in_flight": account.max_in_flight},',
        "ceilings={},",
    ),
    Mutant(
        "a settlement needs no hold",
        "billing/ledger.py",
        "return Add(hold, {}, floors=exactly, ceilings=exactly)",
        "return Add(hold, {})",
    ),
    Mutant(
        "a release is named unlike a capture",
        "billing/ledger.py",
        '*_moved(account_id, f"settle:{job_id}", entry=entry, in_flight=-1),',
        '*_moved(account_id, f"release:{job_id}", entry=entry, in_flight=-1),',
    ),
    Mutant(
        "a release gives everything back as paid credits",
        "billing/ledger.py",
        "credits=split.paid,\n        promo=split.promo,\n        held=-split.credits,",
        "credits=split.credits,\n        promo=0,\n        held=-split.credits,",
    ),
    Mutant(
        "paid credits are spent first",
        "billing/ledger.py",
        "promo = min(balance.promo, credits)",
        "promo = max(0, credits - balance.available)",
    ),
    Mutant(
        "an expiry takes what others left meanwhile",
        "billing/ledger.py",
        'floors={"promo": left})',
        "floors={})",
    ),
    Mutant(
        "all of a promotion expires, spent or not",
        "billing/promotions.py",
        "unspent = min(max(balance.promo - lasting, 0), promotion.credits)",
        "unspent = min(balance.promo, promotion.credits)",
    ),
    Mutant(
        "a revoked key may still commit",
        "jobs/submission.py",
        "            caller.still_active(),\n            *ledger.hold",
        "            *ledger.hold",
    ),
    Mutant(
        "an idempotency key is not part of the commit",
        "jobs/submission.py",
        "            *_request_put(order, job),\n",
        "",
    ),
    Mutant(
        "caps are only looked at beforehand",
        "billing/usage.py",
        "Add(key, amounts, ceilings=ceilings[key])",
        "Add(key, amounts)",
    ),
    Mutant(
        "a failed job's credits stay counted",
        "jobs/endings.py",
        "    return released + usage.given_back(job.tally, credits=split.credits)\n",
        "    return released\n",
    ),
    Mutant(
        "refunds are added up though Stripe tells their sum",
        "billing/purchases.py",
        "max(purchase.refunded_minor, fact.refunded_minor)",
        "purchase.refunded_minor + fact.refunded_minor",
    ),
    Mutant(
        "a won dispute gives nothing back",
        "billing/purchases.py",
        "_TAKEN_RANK <= self.rank < _WON_RANK",
        "_TAKEN_RANK <= self.rank",
    ),
    Mutant(
        "any amount pays for a purchase",
        "billing/purchases.py",
        "if said != (purchase.amount_minor, purchase.currency):",
        "if said[1] != purchase.currency:",
    ),
    Mutant(
        "credits are there before they are paid",
        "billing/purchases.py",
        "if self.is_paid else 0",
        "if True else 0",
    ),
    Mutant(
        "an automatic top-up that rests is armed by being set up again",
        "billing/autotopup.py",
        "        if old.state is State.RESTING:\n            return {}\n",
        "",
    ),
    Mutant(
        "an automatic top-up buys again what was just taken back",
        "billing/autotopup.py",
        "last.purchase.is_paid and last.purchase.target == 0",
        "False",
    ),
    Mutant(
        "an automatic top-up is given up by a look while its card is charged",
        "billing/autotopup.py",
        "now.due.queue != queue",
        "False",
    ),
    Mutant(
        "an automatic top-up is charged again under another name",
        "billing/stripe_client.py",
        'key = f"charge-{purchase.id}"',
        'key = f"charge-{purchase.id}-{id(wanted)}"',
    ),
    Mutant(
        "an invoice is credited by its event, not by its id",
        "billing/settlement.py",
        "return self.invoice(Invoice.model_validate(said), source=event.id)",
        'return self.invoice(Invoice.model_validate(said | {"id": event.id}), source=event.id)',
    ),
    Mutant(
        "a subscription's session is credited besides its invoice",
        "billing/settlement.py",
        "            return self._heard(session.subscription_id, heard, source=source)",
        """            self._heard(session.subscription_id, heard, source=source)
            details = {"metadata": session.metadata, "subscription": session.subscription}
            said = {
                "id": session.id,
                "amount_paid": session.amount_total,
                "currency": session.currency,
                "parent": {"subscription_details": details},
            }
            return self.invoice(Invoice.model_validate(said), source=source)""",
    ),
    Mutant(
        "the refund of an invoice is nobody's",
        "billing/settlement.py",
        "invoice = self.stripe.invoice_of(payment_id)",
        "invoice = None",
    ),
    Mutant(
        "what an invoice comes to counts, not what was paid of it",
        "billing/settlement.py",
        "Paid(invoice.amount_paid, invoice.currency",
        "Paid(purchase.amount_minor, invoice.currency",
    ),
    Mutant(
        "a subscription that has ended begins again",
        "billing/subscriptions.py",
        "subscription.has_ended or heard.has_ended",
        "heard.has_ended",
    ),
    Mutant(
        "the end of one subscription takes the plan of another",
        "billing/subscriptions.py",
        "for s in (changed, *others) if",
        "for s in (changed,) if",
    ),
    Mutant(
        "the other subscriptions are read before the account",
        "billing/subscriptions.py",
        """    item = kv.get(account_key(changed.account_id))
    if item is None:
        raise AccountUnknown(f"No such account: {changed.account_id}")
    account = Account.model_validate(item.value)
    others = [o for o in subscriptions_of(kv, account.id) if o.id != changed.id]
""",
        """    others = [o for o in subscriptions_of(kv, changed.account_id) if o.id != changed.id]
    item = kv.get(account_key(changed.account_id))
    if item is None:
        raise AccountUnknown(f"No such account: {changed.account_id}")
    account = Account.model_validate(item.value)
""",
    ),
    Mutant(
        "a worker may end what another has claimed since",
        "jobs/lease.py",
        "            or kept.job.attempt != job.attempt\n",
        "",
        suite=HISTORIES,
    ),
    Mutant(
        "an order whose answer was lost counts as accepted",
        "jobs/submission.py",
        "                written = self._written(job)\n",
        "                written = job if isinstance(refusal, Unknown) else self._written(job)\n",
        suite=HISTORIES,
    ),
    Mutant(
        "a delivery that another has claimed is made all the same",
        "jobs/courier.py",
        "            return None\n        return begun\n",
        "        return begun\n",
        suite=HISTORIES,
    ),
    Mutant(
        "the webhook of an end has a commit of its own",
        "jobs/endings.py",
        "        self.kv.commit(ended, *_settlement(job, now_ms=now_ms), *outbox)\n",
        "        self.kv.commit(ended, *_settlement(job, now_ms=now_ms))\n"
        "        if outbox:\n            self.kv.commit(*outbox)\n",
        suite=HISTORIES,
    ),
    Mutant(
        "a cancellation whose answer was lost counts as made",
        "jobs/cancellation.py",
        "            except (Conflict, Unknown):\n                continue",
        "            except (Conflict, Unknown):\n                return kept.job",
        suite=HISTORIES,
    ),
    Mutant(
        "the end does not wait for progress that is on its way",
        "jobs/courier.py",
        'if delivery.event == "progress" or delivery.attempts:',
        "if True:",
        suite=HISTORIES,
    ),
)


def main() -> None:
    """Try every mutant, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a word in the names of those to try")
    args = parser.parse_args()
    table = Table("bug", "in", "")
    outcomes = {each: outcome_of(each) for each in MUTANTS if args.only in each.name}
    for mutant, outcome in outcomes.items():
        table.add_row(mutant.name, mutant.file, outcome)
    Console(width=120).print(table)
    if set(outcomes.values()) - {"caught"}:
        sys.exit(1)


def outcome_of(mutant: Mutant) -> str:
    """Whether the tests catch it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for each in COPIED:
            source = ROOT / each
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / each)
        place = folder / mutant.file
        code = place.read_text()
        if code.count(mutant.right) != 1:
            return "out of date"
        place.write_text(code.replace(mutant.right, mutant.wrong))
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-k", "not postgresql", *mutant.suite],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    # 1 says that tests failed; anything else, that they could not be run.
    return {0: "SURVIVED", 1: "caught"}.get(ran.returncode, f"pytest ended with {ran.returncode}")


if __name__ == "__main__":
    main()
