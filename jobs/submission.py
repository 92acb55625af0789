"""Submission: from an order to a durable, paid job, in one commit."""

import hashlib
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from billing import keys, ledger, usage
from billing.accounts import Account, Balance, find_account
from billing.keys import Caller
from billing.plans import Plans
from billing.usage import Tally, tally_of
from inference.images import ImageInfo, probe
from jobs import sandbox
from jobs.admission import (
    Terms,
    check_affordable,
    check_in_flight,
    check_served,
    terms_for,
)
from jobs.dispatch import Dispatcher
from jobs.errors import IdempotencyMismatch
from jobs.ids import Clock
from jobs.job import Job, Source, Webhook
from jobs.links import CONTENT_TYPES, source_name
from jobs.records import find_job, first_put
from jobs.retention import days_kept
from jobs.sources import Sources
from jobs.turns import Turns
from storage.kv import Change, Conflict, Key, KeyValue, Put, StoreError, Unavailable, Unknown
from storage.objects import Objects, ObjectsError

log = logging.getLogger(__name__)

REQUEST_KEPT_MS = 48 * 60 * 60 * 1000
"""Idempotency keys are promised for 24 hours and kept for twice that."""

_COMMIT_TRIES = 10


class RequestName(NamedTuple):
    """An Idempotency-Key with its scope, and the fingerprint of the body it came with."""

    name: str
    fingerprint: str


@dataclass(frozen=True)
class Order:
    """What a customer asks for, in no dialect.

    `terms` resolves and prices the order for a picture; it raises if the result would be too
    large to offer. Where `retention_days` is None the result is kept as long as any.
    """

    caller: Caller
    source_url: str
    said: dict[str, Any]
    terms: Callable[[ImageInfo], Terms]
    webhook: Webhook | None = None
    retention_days: int | None = None
    request: RequestName | None = None


class Funds(NamedTuple):
    """Who pays, and with what, as read."""

    account: Account
    balance: Balance


class Made(NamedTuple):
    """The job that a commit made, or the one that the same request had made before."""

    job: Job
    is_replay: bool


class Accepted(NamedTuple):
    """The job that an order made, now or when it was first sent, and the balance after it.

    The balance is as read before the commit, less the price: a read after it might fail, and an
    accepted order must not be answered as if it were not.
    """

    job: Job
    is_replay: bool
    credits_left: int


@dataclass(frozen=True)
class Submissions:
    """Takes orders. A refusal leaves nothing behind: no job, no hold, no file.

    The sweeper looks at a job that nobody has taken up `dispatch_grace_ms` after its submission.
    `has_faces` says whether face enhancement can be served now. Results are kept `retention_days`
    at most; a job keeps what holds when it is submitted.
    """

    kv: KeyValue
    objects: Objects
    sources: Sources
    fetches: Turns
    plans: Plans
    dispatcher: Dispatcher
    models: Collection[str]
    has_faces: Callable[[], bool]
    clock: Clock
    new_job_id: Callable[[int], UUID]
    max_source_pixels: int
    dispatch_grace_ms: int
    retention_days: int

    def submit(self, order: Order) -> Accepted:
        """Fetch, probe, price, keep and commit; then hint that work is waiting.

        Raises what the source, the price list, the balance or the store has against it.
        """
        account, balance = self._funds(order.caller)
        replay = self._replay(order)
        if replay is not None:
            return Accepted(replay, is_replay=True, credits_left=balance.spendable)
        days_kept(order.retention_days, most=self.retention_days)  # before anything is fetched
        check_in_flight(account, balance)
        scene = sandbox.name_of(order.source_url, order.caller.key)
        data = self._fetched(order, scene)
        info = probe(data, max_pixels=self.max_source_pixels)
        usual = order.terms(info)
        sandbox.check(scene, sandbox.Usual(usual.price_credits, account.max_in_flight))
        terms = terms_for(order.caller, usual, info)
        check_affordable(account, balance, price_credits=terms.price_credits)
        check_served(order.caller, terms.params, models=self.models, has_faces=self.has_faces)
        job = self._job(order, data, info=info, terms=terms, scene=scene)
        self._check_caps(order.caller, job)
        made = self._made(job, data, order, funds=Funds(account, balance))
        if made.is_replay:
            return Accepted(made.job, is_replay=True, credits_left=balance.spendable)
        self.dispatcher.job(job.id, model=job.works_for)
        left = balance.spendable - job.price_credits
        return Accepted(made.job, is_replay=False, credits_left=left)

    def _fetched(self, order: Order, scene: str | None) -> bytes:
        if scene is not None:
            return sandbox.content_of(scene)
        with self.fetches.taken(order.caller.account_id):
            return self.sources.fetch(order.source_url)

    def _job(
        self, order: Order, data: bytes, *, info: ImageInfo, terms: Terms, scene: str | None
    ) -> Job:
        now_ms = self.clock()
        job_id = self.new_job_id(now_ms)
        source = Source(
            object_name=source_name(job_id, info.format),
            format=info.format,
            width_px=info.width_px,
            height_px=info.height_px,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        return Job(
            id=job_id,
            account_id=order.caller.account_id,
            key_sha256=order.caller.key_sha256,
            params=terms.params,
            said=order.said,
            source=source,
            price_credits=terms.price_credits,
            member_id=order.caller.key.member_id,
            is_sandbox=order.caller.key.is_sandbox,
            scene=scene,
            webhook=order.webhook,
            retention_days=days_kept(order.retention_days, most=self.retention_days),
            created_at_ms=now_ms,
        )

    def _made(self, job: Job, data: bytes, order: Order, *, funds: Funds) -> Made:
        """Keep the file and commit the job; or find the one that the same request has made."""
        # The file goes first: an orphan file is harmless, an orphan job is not.
        content_type = CONTENT_TYPES[job.source.format]
        self.objects.put(job.source.object_name, data, content_type=content_type)
        try:
            made = self._commit(job, order, funds=funds)
        except Unknown:
            raise  # there may be a job, and then it needs its file
        except Exception:
            self._discard(job)
            raise
        if made.is_replay or sandbox.scene_of(job).loses_source:
            self._discard(job)
        return made

    def _discard(self, job: Job) -> None:
        try:
            self.objects.delete(job.source.object_name)
        except ObjectsError as error:
            log.warning("the source of job %s, which was not made, is left: %s", job.id, error)

    def _commit(self, job: Job, order: Order, *, funds: Funds) -> Made:
        """Write the job, or find the one that a simultaneous request with the same key made."""
        caller, absent = order.caller, frozenset[Key]()
        for _ in range(_COMMIT_TRIES):
            job = _charged(job, caller, balance=funds.balance)
            try:
                self.kv.commit(*self._changes(job, order, caller, funds.account, absent=absent))
                return Made(job, is_replay=False)
            except (Unknown, Conflict) as refusal:
                written = self._written(job)
                if written is not None:  # the answer of this or an earlier try was lost
                    return Made(written, is_replay=False)
                if isinstance(refusal, Conflict):
                    replay = self._replay(order)
                    if replay is not None:
                        return Made(replay, is_replay=True)
                    caller, funds = self._explain(caller, job)
                    absent = self._absent(job, refusal.change.key)
        raise Unavailable("the submission could not be committed")

    def _changes(
        self, job: Job, order: Order, caller: Caller, account: Account, *, absent: Collection[Key]
    ) -> tuple[Change, ...]:
        """All that an accepted order is: who paid what, the job, and what it answers to."""
        assert job.tally is not None
        now_ms = job.created_at_ms
        return (
            caller.still_active(),
            *ledger.hold(account, str(job.id), split=job.split, now_ms=now_ms),
            *usage.counted(job.tally, caller.key.caps, credits=job.price_credits, absent=absent),
            *first_put(job, look_at_ms=now_ms + self.dispatch_grace_ms),
            *_request_put(order, job),
        )

    def _absent(self, job: Job, refused: Key) -> frozenset[Key]:
        """The items that the job is to be counted in and that nobody has made yet."""
        keys = job.tally.keys if job.tally is not None else ()
        if refused not in keys:
            return frozenset()
        return frozenset(key for key in keys if self.kv.get(key) is None)

    def _written(self, job: Job) -> Job | None:
        try:
            kept = find_job(self.kv, job.id)
        except StoreError as error:
            raise Unknown("whether the submission was committed cannot be found out") from error
        return None if kept is None else kept.job

    def _explain(self, caller: Caller, job: Job) -> tuple[Caller, Funds]:
        """Raise the refusal behind a conflict; if it has gone by now, what to try with."""
        caller = keys.read_again(self.kv, caller)
        funds = self._funds(caller)
        check_affordable(*funds, price_credits=job.price_credits)
        self._check_caps(caller, job)
        return caller, funds

    def _funds(self, caller: Caller) -> Funds:
        account, balance = find_account(self.kv, caller.account_id)
        return Funds(self.plans.applied(account), balance)

    def _check_caps(self, caller: Caller, job: Job) -> None:
        tally, credits = _tally(job, caller), job.price_credits
        usage.check_caps(self.kv, tally, caller.key.caps, credits=credits)

    def _replay(self, order: Order) -> Job | None:
        if order.request is None:
            return None
        item = self.kv.get(_request_key(order))
        if item is None:
            return None
        if item.value["fingerprint"] != order.request.fingerprint:
            raise IdempotencyMismatch
        kept = find_job(self.kv, UUID(item.value["job_id"]))
        return None if kept is None else kept.job


def _charged(job: Job, caller: Caller, *, balance: Balance) -> Job:
    """The job with the credits that it is to hold, and where it is to be counted."""
    split = ledger.split_of(balance, credits=job.price_credits)
    tally = _tally(job, caller)
    return job.model_copy(update={"promo_credits": split.promo, "tally": tally})


def _tally(job: Job, caller: Caller) -> Tally:
    return tally_of(caller.key, model=job.params.model, now_ms=job.created_at_ms)


def _request_key(order: Order) -> Key:
    name = order.request.name if order.request else ""
    return Key(f"requests#{order.caller.world}", name)


def _request_put(order: Order, job: Job) -> tuple[Put, ...]:
    if order.request is None:
        return ()
    value = {"fingerprint": order.request.fingerprint, "job_id": str(job.id)}
    expires_at_ms = job.created_at_ms + REQUEST_KEPT_MS
    return (Put(_request_key(order), value, expires_at_ms=expires_at_ms),)
