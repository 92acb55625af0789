"""What became of a job's events, as its customer sees it, and sending one again."""

import re
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from jobs.dispatch import Dispatcher
from jobs.errors import DeliveryOver, DeliveryUnknown
from jobs.ids import Clock
from jobs.records import find_own_job
from jobs.webhooks import Delivery, DeliveryState, delivery_key, delivery_put, outbox_of
from storage.kv import MAX_PAGE, Conflict, Item, KeyValue, Unavailable

_NAME = re.compile(r"[a-z0-9-]{1,100}")
_COMMIT_TRIES = 5


class Sent(NamedTuple):
    """A delivery as it stands; `next_at_ms` is when it is tried next, None if that is not planned
    or an attempt is under way.
    """

    delivery: Delivery
    next_at_ms: int | None


@dataclass(frozen=True)
class Redeliveries:
    """Shows the deliveries of the last 30 days, and makes them again."""

    kv: KeyValue
    dispatcher: Dispatcher
    clock: Clock

    def of_job(self, world: str, job_id: UUID) -> list[Sent]:
        """The deliveries of the world's job, oldest first. Raises `JobUnknown`, `JobForeign`."""
        find_own_job(self.kv, world, job_id=job_id)
        # One for each per cent of each attempt at the most, and the end: less than a page.
        items = self.kv.query(outbox_of(job_id), limit=MAX_PAGE)
        sent = [_sent(item, now_ms=self.clock()) for item in items]
        return sorted(sent, key=lambda each: (each.delivery.created_at_ms, each.delivery.name))

    def redeliver(self, world: str, job_id: UUID, event: str) -> Sent:
        """Send an event again at once, with its id and its body, and by the whole schedule if that
        fails; one that is under way, or about to be, stays as it is. `event` is the delivery's name
        or its webhook id.

        Raises `JobUnknown`, `JobForeign`, `DeliveryUnknown`, and `DeliveryOver` for progress of a
        job that has ended.
        """
        job = find_own_job(self.kv, world, job_id=job_id)
        name = event.removeprefix(f"msg_{job_id}_")
        if not _NAME.fullmatch(name):
            raise DeliveryUnknown
        for _ in range(_COMMIT_TRIES):
            item, now_ms = self.kv.get(delivery_key(job_id, name)), self.clock()
            if item is None:
                raise DeliveryUnknown
            delivery = Delivery.model_validate(item.value)
            if delivery.event == "progress" and job.status.is_terminal:
                raise DeliveryOver
            if delivery.is_asked_for or _is_under_way(item, delivery, now_ms=now_ms):
                return _sent(item, now_ms=now_ms)
            anew = delivery.anew(now_ms=now_ms)
            try:
                self.kv.commit(delivery_put(anew, replaces=item.version, due_at_ms=now_ms))
            except Conflict:
                continue
            self.dispatcher.delivery(item.key)
            return Sent(anew, now_ms)
        raise Unavailable(f"webhook {event} is too contended to be sent again")


def _sent(item: Item, *, now_ms: int) -> Sent:
    delivery = Delivery.model_validate(item.value)
    is_planned = delivery.state is DeliveryState.PENDING and item.due is not None
    if not is_planned or item.due is None or _is_under_way(item, delivery, now_ms=now_ms):
        return Sent(delivery, None)
    return Sent(delivery, item.due.at_ms)


def _is_under_way(item: Item, delivery: Delivery, *, now_ms: int) -> bool:
    """Whether somebody makes an attempt: it has begun, and its lease has not run out."""
    return delivery.begun_at_ms is not None and item.due is not None and item.due.at_ms > now_ms
