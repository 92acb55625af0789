"""The days on which a key was used: one write a day, on no item that money hangs on."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from billing import keys
from billing.accounts import Account
from billing.administration import create_key
from billing.key_use import KEPT_MS, MAX_KEYS, KeyUse, last_used_day
from storage.kv import Change, KeyValue, Unavailable
from tests.running import Clock
from tests.watched import WatchedStore

DAY_S = 24 * 60 * 60
KEY = "key_0123456789abcdef"


class Counted(WatchedStore):
    """A store that counts commits, and refuses them while it is `is_down`."""

    def __init__(self, kv: KeyValue) -> None:
        super().__init__(kv)
        self.commits = 0
        self.is_down = False

    def commit(self, *changes: Change) -> None:
        self.commits += 1
        if self.is_down:
            raise Unavailable("down")
        super().commit(*changes)


@pytest.fixture
def counted(kv: KeyValue) -> Counted:
    return Counted(kv)


@pytest.fixture
def use(counted: Counted, clock: Clock) -> KeyUse:
    return KeyUse(counted, clock=clock)


def today(clock: Clock) -> int:
    return clock() // (DAY_S * 1000)


def test_a_key_that_was_never_used_has_no_day(kv: KeyValue) -> None:
    assert last_used_day(kv, KEY) is None


def test_the_last_day_of_use_is_told(use: KeyUse, kv: KeyValue, clock: Clock) -> None:
    for days in (0, 1, 5):
        clock.advance(seconds=days * DAY_S)
        use.note(KEY)
        assert last_used_day(kv, KEY) == today(clock)


def test_a_key_is_written_down_once_a_day(use: KeyUse, counted: Counted, clock: Clock) -> None:
    for _ in range(48):
        use.note(KEY)
        clock.advance(seconds=DAY_S // 24)
    assert counted.commits in (2, 3)  # two days, which need not begin at midnight


def test_several_processes_agree(counted: Counted, kv: KeyValue, clock: Clock) -> None:
    for _ in range(3):
        KeyUse(counted, clock=clock).note(KEY)
    assert last_used_day(kv, KEY) == today(clock)


def test_many_requests_at_once_write_once(use: KeyUse, counted: Counted) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use.note, [KEY] * 100))
    assert counted.commits == 1


def test_a_failure_is_logged_and_tried_again_an_hour_later(
    use: KeyUse, counted: Counted, kv: KeyValue, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    counted.is_down = True
    with caplog.at_level(logging.WARNING):
        use.note(KEY)
        use.note(KEY)
    assert [KEY in record.message for record in caplog.records] == [True]
    counted.is_down = False
    clock.advance(seconds=3599)
    use.note(KEY)
    assert last_used_day(kv, KEY) is None
    clock.advance(seconds=1)
    use.note(KEY)
    assert last_used_day(kv, KEY) == today(clock)


def test_use_spoils_nobodys_commit(
    use: KeyUse, kv: KeyValue, account: Account, clock: Clock
) -> None:
    issued = create_key(kv, account.id, name="busy", now_ms=clock())
    caller = keys.authenticate(kv, issued.body, now_ms=clock())
    use.note(issued.key.id)
    kv.commit(caller.still_active())


def test_a_process_remembers_so_many_keys(counted: Counted, clock: Clock) -> None:
    assert MAX_KEYS == 10_000
    use = KeyUse(counted, clock=clock, max_keys=2)
    for key_id in ("key_a", "key_b", "key_c", "key_c", "key_b", "key_a"):
        use.note(key_id)
    assert counted.commits == 4  # key_a was forgotten


def test_days_of_use_are_forgotten_in_the_end(use: KeyUse, kv: KeyValue, clock: Clock) -> None:
    use.note(KEY)
    clock.advance(seconds=KEPT_MS / 1000)
    assert last_used_day(kv, KEY) is None
