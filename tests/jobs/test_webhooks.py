"""What a webhook says to the byte, how it is signed, and when it is tried again."""

import hashlib
import hmac
import json

import pytest
from standardwebhooks import Webhook as StandardWebhook
from standardwebhooks import WebhookVerificationError

from billing.accounts import new_account, new_webhook_secret
from jobs.ids import iso_utc, system_clock
from jobs.job import Status, WebhookEvent
from jobs.links import Links
from jobs.outbound import UnsupportedUrl
from jobs.webhooks import (
    LOST,
    MAX_LOGGED,
    RETRY_DELAYS_S,
    Delivery,
    DeliveryState,
    HmacKey,
    Reason,
    Tried,
    announcement,
    any_share,
    delivery_put,
    headers,
    next_attempt_at_ms,
    payload,
)
from storage.kv import MAX_VALUE_BYTES, check_limits
from tests.jobs.machine import PUBLIC_URL
from tests.jobs.test_job import FAILURE, NOW_MS, RESULT, a_job

LINKS = Links(PUBLIC_URL)
EVENTS: tuple[WebhookEvent, ...] = ("progress", "completed", "failed")
RUNNING = a_job(Status.PROCESSING, events=EVENTS).advanced(42, 100)
COMPLETED = RUNNING.completed(RESULT, now_ms=NOW_MS + 1)
FAILED = RUNNING.failed(FAILURE, now_ms=NOW_MS + 1)
ACCOUNT = new_account("Ada", now_ms=NOW_MS)
JOB_ID = "00000000-0000-0000-0000-000000000007"


def never() -> float:
    """The least chance."""
    return 0.0


def delivery_of(event: WebhookEvent = "completed", *, attempts: int = 0) -> Delivery:
    job = {"progress": RUNNING, "completed": COMPLETED, "failed": FAILED}[event]
    (put,) = announcement(job, event, links=LINKS, now_ms=NOW_MS)
    return Delivery.model_validate(put.value).model_copy(update={"attempts": attempts})


def signed(
    delivery: Delivery, *, hmac_key: HmacKey = "raw", now_ms: int = NOW_MS
) -> dict[str, str]:
    return headers(
        delivery, webhook_secrets=[ACCOUNT.webhook_secret], hmac_key=hmac_key, now_ms=now_ms
    )


def test_completed_says_what_the_contract_lists() -> None:
    assert payload(COMPLETED, "completed", links=LINKS) == {
        "event": "completed",
        "jobId": JOB_ID,
        "status": "COMPLETED",
        "progress": 100,
        "result": {"images": ["https://enlarger.test/files/images/a-1.png"]},
        "model": "topaz-image-upscale",
        "creditCost": 8,
        "sequence": 2,
        "completedAt": "2027-01-15T08:00:00.001Z",
    }


def test_failed_says_what_the_contract_lists_and_that_it_costs_nothing() -> None:
    assert payload(FAILED, "failed", links=LINKS) == {
        "event": "failed",
        "jobId": JOB_ID,
        "status": "FAILED",
        "creditCost": 0,
        "sequence": 2,
        "error": "The image is damaged",
        "model": "topaz-image-upscale",
    }


def test_progress_says_what_the_contract_lists() -> None:
    assert payload(RUNNING, "progress", links=LINKS) == {
        "event": "progress",
        "jobId": JOB_ID,
        "status": "PROCESSING",
        "progress": 42,
        "sequence": 1,
        "model": "topaz-image-upscale",
    }


def test_an_end_that_has_not_come_cannot_be_told() -> None:
    with pytest.raises(ValueError, match="neither result nor failure"):
        payload(RUNNING, "completed", links=LINKS)


@pytest.mark.parametrize("event", EVENTS)
def test_only_what_was_asked_for_is_announced(event: WebhookEvent) -> None:
    others = tuple(other for other in EVENTS if other != event)
    deaf = a_job(Status.PROCESSING, events=others)
    assert announcement(deaf, event, links=LINKS, now_ms=NOW_MS) == ()
    assert announcement(a_job(), event, links=LINKS, now_ms=NOW_MS) == ()
    assert json.loads(delivery_of(event).body)["event"] == event


def test_each_event_has_an_id_of_its_own() -> None:
    assert delivery_of("completed").webhook_id == f"msg_{JOB_ID}_completed"
    assert delivery_of("failed").webhook_id == f"msg_{JOB_ID}_failed"
    assert delivery_of("progress").webhook_id == f"msg_{JOB_ID}_progress-0-42"


def test_the_standard_signature_satisfies_the_standards_own_library() -> None:
    delivery = delivery_of()
    sent = signed(delivery, now_ms=system_clock())
    lower = {name.lower(): value for name, value in sent.items()}
    verifier = StandardWebhook(ACCOUNT.webhook_secret)
    assert verifier.verify(delivery.body, lower) == json.loads(delivery.body)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(delivery.body.replace("100", "101"), lower)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(delivery.body, lower | {"webhook-id": "msg_other"})
    with pytest.raises(WebhookVerificationError):
        StandardWebhook("whsec_" + "A" * 44).verify(delivery.body, lower)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("reading", ["raw", "hex"])
def test_apiframes_signature_is_an_hmac_by_the_digest_of_the_api_key(
    event: WebhookEvent, reading: HmacKey
) -> None:
    digest = hashlib.sha256(b"afk_some key").hexdigest()
    delivery = delivery_of(event).model_copy(update={"key_sha256": digest})
    key = bytes.fromhex(digest) if reading == "raw" else digest.encode("ascii")
    sent = signed(delivery, hmac_key=reading)
    expected = hmac.new(key, delivery.body.encode(), hashlib.sha256).hexdigest()
    assert sent["X-Webhook-Signature"] == f"sha256={expected}"
    assert sent["X-Webhook-Event"] == event
    assert sent["Content-Type"] == "application/json"


def test_the_timestamp_is_that_of_the_attempt_in_seconds() -> None:
    assert signed(delivery_of(), now_ms=NOW_MS + 1999)["webhook-timestamp"] == "1800000001"


@pytest.mark.parametrize(("attempts", "wait_s"), list(enumerate(RETRY_DELAYS_S, start=1)))
def test_each_attempt_waits_longer_than_the_last(attempts: int, wait_s: int) -> None:
    delivery = delivery_of(attempts=attempts)
    at_ms = next_attempt_at_ms(delivery, now_ms=NOW_MS, retry_after_s=None, share=never)
    assert at_ms == NOW_MS + wait_s * 1000


@pytest.mark.parametrize(("attempts", "wait_s"), list(enumerate(RETRY_DELAYS_S, start=1)))
@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_each_wait_is_lengthened_by_chance_up_to_a_tenth(
    attempts: int, wait_s: int, share: float
) -> None:
    delivery = delivery_of(attempts=attempts)
    at_ms = next_attempt_at_ms(delivery, now_ms=NOW_MS, retry_after_s=None, share=lambda: share)
    assert at_ms == NOW_MS + round(wait_s * 1000 * (1 + share / 10))


def test_chance_never_takes_anything_off_what_a_receiver_asks_for() -> None:
    delivery = delivery_of(attempts=1)
    at_ms = next_attempt_at_ms(delivery, now_ms=NOW_MS, retry_after_s=900, share=lambda: 0.5)
    assert at_ms == NOW_MS + 945_000


def test_what_is_tried_anew_has_its_whole_schedule_again() -> None:
    anew = delivery_of(attempts=len(RETRY_DELAYS_S) + 1).anew(now_ms=NOW_MS)
    waits_s = []
    for _ in range(len(RETRY_DELAYS_S)):
        anew = anew.begun(now_ms=NOW_MS)
        at_ms = next_attempt_at_ms(anew, now_ms=NOW_MS, retry_after_s=None, share=never)
        assert at_ms is not None
        waits_s.append((at_ms - NOW_MS) // 1000)
    assert waits_s == [*RETRY_DELAYS_S]
    last = anew.begun(now_ms=NOW_MS)
    assert next_attempt_at_ms(last, now_ms=NOW_MS, retry_after_s=None, share=never) is None


def test_chance_is_a_share() -> None:
    drawn = [any_share() for _ in range(100)]
    assert all(0 <= share < 1 for share in drawn)
    assert len(set(drawn)) > 50


def test_the_log_has_the_last_attempts_and_all_are_counted() -> None:
    delivery = delivery_of()
    for number in range(MAX_LOGGED + 5):
        tried = Tried(at_ms=number, status=500, duration_ms=1)
        delivery = delivery.begun(now_ms=number).tried(tried, state=DeliveryState.PENDING)
    assert delivery.attempts == MAX_LOGGED + 5
    assert [each.at_ms for each in delivery.log] == list(range(5, MAX_LOGGED + 5))


def test_a_delivery_with_a_full_log_has_a_place_in_every_store() -> None:
    delivery = delivery_of().model_copy(update={"url": "http://h.test/" + "x" * 8000})
    error = Reason(code="unsupported_address", message=str(UnsupportedUrl()))
    for number in range(MAX_LOGGED):
        tried = Tried(at_ms=NOW_MS + number, duration_ms=15_000, error=error)
        delivery = delivery.tried(tried, state=DeliveryState.PENDING)
    check_limits((delivery_put(delivery, replaces=None, due_at_ms=NOW_MS),))
    assert len(delivery.model_dump_json()) < MAX_VALUE_BYTES / 2


def test_an_attempt_that_nobody_lived_to_tell_of_is_shown_as_lost() -> None:
    delivery = delivery_of().begun(now_ms=5).begun(now_ms=9)
    assert [(each.at_ms, each.error) for each in delivery.log] == [(5, LOST)]
    assert (delivery.attempts, delivery.begun_at_ms) == (2, 9)


def test_two_secrets_sign_beside_each_other() -> None:
    delivery, second = delivery_of(), new_webhook_secret()
    both = [ACCOUNT.webhook_secret, second]
    sent = headers(delivery, webhook_secrets=both, hmac_key="raw", now_ms=system_clock())
    assert len(sent["webhook-signature"].split(" ")) == 2
    for secret in both:
        StandardWebhook(secret).verify(delivery.body, sent)
    with pytest.raises(WebhookVerificationError):
        StandardWebhook(new_webhook_secret()).verify(delivery.body, sent)


def test_the_schedule_is_the_standards_and_then_over() -> None:
    hours = [round(delay / 3600, 3) for delay in RETRY_DELAYS_S]
    assert hours == [0.001, 0.083, 0.5, 2, 5, 10, 14, 20, 24]
    last = delivery_of(attempts=len(RETRY_DELAYS_S) + 1)
    assert next_attempt_at_ms(last, now_ms=NOW_MS, retry_after_s=None, share=never) is None
    assert next_attempt_at_ms(last, now_ms=NOW_MS, retry_after_s=60, share=never) is None


@pytest.mark.parametrize(
    ("asked_s", "wait_s"), [(0, 5), (4, 5), (5, 5), (900, 900), (86_400, 86_400), (10**9, 86_400)]
)
def test_a_receiver_can_lengthen_the_wait_to_a_day_at_most(asked_s: int, wait_s: int) -> None:
    at_ms = next_attempt_at_ms(
        delivery_of(attempts=1), now_ms=NOW_MS, retry_after_s=asked_s, share=never
    )
    assert at_ms == NOW_MS + wait_s * 1000


def test_progress_is_told_once_or_not() -> None:
    told = delivery_of("progress", attempts=1)
    assert next_attempt_at_ms(told, now_ms=NOW_MS, retry_after_s=5, share=never) is None


def test_times_are_iso_8601_with_milliseconds() -> None:
    assert iso_utc(0) == "1970-01-01T00:00:00.000Z"
    assert iso_utc(NOW_MS + 23) == "2027-01-15T08:00:00.023Z"
