"""Key use: on which days a key was used, kept apart from everything that money hangs on.

    key_use#<key>, <day>   nothing: that it is there says that the key was used on that day

A day's item is written once, by whichever process sees the key first on that day, so that neither
the key's own item nor the account's ever changes because somebody asked for something.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from storage.kv import Conflict, Key, KeyValue, Put, StoreError

log = logging.getLogger(__name__)

DAY_MS = 24 * 60 * 60 * 1000
KEPT_MS = 400 * DAY_MS
"""How long a day of use is remembered; a key that was not used for longer looks like a new one."""

RETRY_MS = 60 * 60 * 1000
"""How long a process leaves a key alone whose use it could not write down."""

MAX_KEYS = 10_000
"""How many keys a process knows to be written down; of more, those that asked last."""


class KeyUse:
    """Writes down which keys are used, and never fails. Safe to call from threads."""

    def __init__(self, kv: KeyValue, *, clock: Callable[[], int], max_keys: int = MAX_KEYS) -> None:
        self._kv = kv
        self._clock = clock
        self._max_keys = max_keys
        self._not_before_ms: OrderedDict[str, int] = OrderedDict()
        self._changing = threading.Lock()

    def note(self, key_id: str) -> None:
        """A key is being used: the first time on a day, this is written down."""
        now_ms = self._clock()
        if not self._is_due(key_id, now_ms=now_ms):
            return
        day = now_ms // DAY_MS
        try:
            self._kv.commit(Put(_day_key(key_id, day), {}, expires_at_ms=now_ms + KEPT_MS))
        except Conflict:
            pass  # another process was first
        except StoreError as error:
            log.warning("that key %s was used could not be written down: %s", key_id, error)
            return
        self._leave(key_id, until_ms=(day + 1) * DAY_MS)

    def _is_due(self, key_id: str, *, now_ms: int) -> bool:
        """Whether to write now; then it is nobody else's turn for a while."""
        with self._changing:
            if now_ms < self._not_before_ms.get(key_id, 0):
                self._not_before_ms.move_to_end(key_id)
                return False
            self._not_before_ms[key_id] = now_ms + RETRY_MS
            self._not_before_ms.move_to_end(key_id)
            while len(self._not_before_ms) > self._max_keys:
                self._not_before_ms.popitem(last=False)
        return True

    def _leave(self, key_id: str, *, until_ms: int) -> None:
        with self._changing:
            if key_id in self._not_before_ms:
                self._not_before_ms[key_id] = until_ms


def last_used_day(kv: KeyValue, key_id: str) -> int | None:
    """The last day, counted from 1970 in UTC, on which a key was used; None if it is not known."""
    days = kv.query(f"key_use#{key_id}", limit=1, newest_first=True)
    return int(days[0].key.sort) if days else None


def _day_key(key_id: str, day: int) -> Key:
    return Key(f"key_use#{key_id}", f"{day:06}")
