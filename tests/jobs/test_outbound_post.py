"""What the guarded client posts, and what it makes of the answer, against real servers."""

from ipaddress import ip_network

import pytest

from jobs.outbound import MAX_RETRY_AFTER_S, Answer, Outbound
from tests.jobs.loopback import Answers, endless, is_untouched, listening, ok, serving, status

LOOPBACK = ip_network("127.0.0.1/32")
GENEROUS_S = 5.0


def post_to(answers: Answers) -> Answer:
    with serving(answers) as server:
        return Outbound(allow=[LOOPBACK]).post(
            server.url(), body=b"{}", headers={"webhook-id": "1"}, deadline_s=GENEROUS_S
        )


def test_a_post_carries_its_body_and_headers() -> None:
    with serving({"/hook": ok(b"thanks")}) as server:
        answer = Outbound(allow=[LOOPBACK]).post(
            server.url("/hook"), body=b'{"a":1}', headers={"webhook-id": "1"}, deadline_s=GENEROUS_S
        )
    assert answer == Answer(200, None)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"\r\nwebhook-id: 1" in head


@pytest.mark.parametrize("code", [204, 301, 307, 410, 500])
def test_a_post_returns_any_status_and_follows_nothing(code: int) -> None:
    with listening() as (listener, port):
        answer = post_to({"/": status(code, f"Location: http://127.0.0.1:{port}/")})
        assert is_untouched(listener)
    assert answer == Answer(code, None)


def test_a_post_reads_only_so_much_of_an_answer() -> None:
    assert post_to({"/": endless(status(200), b"x" * 9999)}).status == 200


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [
        ("0", 0),
        ("120", 120),
        ("9" * 30, MAX_RETRY_AFTER_S),
        ("9" * 5000, None),
        ("Fri, 20 Nov 2026 20:31:30 GMT", 90),
        ("Fri, 20 Nov 2026 20:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\xb2", None),
    ],
)
def test_a_post_tells_how_long_to_wait(asked: str, wait_s: int | None) -> None:
    dated = status(503, "Date: Fri, 20 Nov 2026 20:30:00 GMT", f"Retry-After: {asked}")
    assert post_to({"/": dated}) == Answer(503, wait_s)


def test_a_date_to_wait_for_needs_a_date_to_count_from() -> None:
    answer = post_to({"/": status(503, "Retry-After: Fri, 20 Nov 2026 20:31:30 GMT")})
    assert answer == Answer(503, None)
