"""One attempt: what is noted of each outcome, and that it is ours alone."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from jobs.attempts import Outcome, Sender
from jobs.metrics import Attempt
from jobs.outbound import Outbound
from jobs.webhooks import Delivery
from tests.jobs.loopback import Answers, Names, listening, reset, serving, status, waiting
from tests.jobs.machine import Machine
from tests.jobs.test_webhooks import ACCOUNT, delivery_of
from tests.running import LOOPBACK, Origin


def at(url: str) -> Delivery:
    return delivery_of().model_copy(update={"url": url})


@pytest.fixture
def send(machine: Machine) -> Callable[..., Outcome]:
    def send(url: str, *, outbound: Outbound = machine.outbound) -> Outcome:
        sender: Sender = replace(machine.services.sender, outbound=outbound)
        return sender.send(at(url), webhook_secrets=[ACCOUNT.webhook_secret])

    return send


Send = Callable[..., Outcome]


def code_of(outcome: Outcome) -> tuple[int | None, str | None]:
    error = outcome.tried.error
    return outcome.tried.status, None if error is None else error.code


def test_an_acceptance_has_its_status_its_moment_and_no_error(
    send: Send, machine: Machine, origin: Origin
) -> None:
    origin.answers = [204]
    outcome = send(f"{origin.url}/hook")
    assert code_of(outcome) == (204, None)
    assert outcome.tried.at_ms == machine.clock()
    assert outcome.tried.duration_ms is not None
    assert outcome.attempt is Attempt.DELIVERED
    assert not outcome.is_away


def test_how_long_it_took_is_measured_by_a_clock_that_never_goes_back(
    machine: Machine, origin: Origin
) -> None:
    readings = iter([100.0, 100.25])
    sender = replace(machine.services.sender, seconds=lambda: next(readings))
    outcome = sender.send(at(origin.url), webhook_secrets=[ACCOUNT.webhook_secret])
    assert outcome.tried.duration_ms == 250


@pytest.mark.parametrize(
    ("answered", "code", "is_away"),
    [
        (301, "redirect", False),
        (302, "redirect", False),
        (307, "redirect", False),
        (400, "status", False),
        (401, "status", False),
        (404, "status", False),
        (410, "gone", False),
        (429, "status", True),
        (500, "status", False),
        (501, "status", False),
        (502, "status", True),
        (503, "status", True),
        (504, "status", True),
    ],
)
def test_a_refusal_is_shown_with_its_status_and_some_say_that_the_host_is_away(
    send: Send, origin: Origin, answered: int, code: str, is_away: bool
) -> None:
    origin.answers = [answered]
    outcome = send(f"{origin.url}/hook")
    assert code_of(outcome) == (answered, code)
    assert outcome.tried.error is not None
    assert str(answered) in outcome.tried.error.message
    assert outcome.is_away is is_away
    assert outcome.attempt is (Attempt.GONE if answered == 410 else Attempt.REFUSED)


def test_nothing_that_the_receiver_says_is_noted(send: Send) -> None:
    said = status(500, "X-Secret: in the head", "Content-Length: 11") + b"in the body"
    with serving({"/hook": said}) as server:
        outcome = send(server.url("/hook"))
    assert "in the" not in outcome.tried.model_dump_json()


def test_where_a_redirect_leads_is_not_noted(send: Send) -> None:
    said = status(302, "Location: http://elsewhere.test/secret", "Content-Length: 0")
    with serving({"/hook": said}) as server:
        outcome = send(server.url("/hook"))
        assert len(server.requests) == 1
    assert code_of(outcome) == (302, "redirect")
    assert "elsewhere" not in outcome.tried.model_dump_json()


def test_a_receiver_that_never_answers_has_timed_out(send: Send) -> None:
    readings = count(0, 6.0)  # a clock on which every look takes six seconds
    hurried = Outbound(allow=(LOOPBACK,), clock=lambda: next(readings))
    with serving({"/hook": waiting(b"")}) as server:
        outcome = send(server.url("/hook"), outbound=hurried)
    assert code_of(outcome) == (None, "timeout")
    assert outcome.is_away


def test_a_name_that_is_not_known_is_a_matter_of_dns(send: Send) -> None:
    outcome = send("http://unknown.test/hook", outbound=Outbound(resolve=Names({})))
    assert code_of(outcome) == (None, "dns")
    assert outcome.is_away


def test_a_port_that_nobody_listens_on_refuses(send: Send) -> None:
    with listening() as (_, port):
        pass
    outcome = send(f"http://127.0.0.1:{port}/hook")
    assert code_of(outcome) == (None, "refused")
    assert outcome.is_away


def test_a_receiver_that_speaks_no_tls_is_a_matter_of_tls(send: Send, origin: Origin) -> None:
    outcome = send(f"{origin.url.replace('http:', 'https:')}/hook")
    assert code_of(outcome) == (None, "tls")
    assert outcome.is_away


@pytest.mark.parametrize("script", [reset(b""), lambda _: None, lambda c: c.sendall(b"hello\n\n")])
def test_a_receiver_that_hangs_up_or_speaks_no_http_has_a_broken_answer(
    send: Send, script: Callable[..., None]
) -> None:
    answers: Answers = {"/hook": script}
    with serving(answers) as server:
        outcome = send(server.url("/hook"))
    assert code_of(outcome) == (None, "broken_answer")
    assert outcome.is_away


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "http://inside.test/hook"])
def test_a_private_address_is_told_and_says_nothing_of_the_host(send: Send, url: str) -> None:
    names = Names({"inside.test": [["192.168.0.1"]]})
    outcome = send(url, outbound=Outbound(resolve=names))
    assert code_of(outcome) == (None, "private_address")
    assert outcome.attempt is Attempt.UNREACHABLE
    assert not outcome.is_away


def test_an_address_that_is_no_webhooks_is_told(send: Send) -> None:
    outcome = send("ftp://example.com/hook")
    assert code_of(outcome) == (None, "unsupported_address")
    assert not outcome.is_away


def test_a_network_without_a_way_there_is_told(send: Send) -> None:
    def unroutable(*_: object, **__: object) -> list[object]:
        raise OSError(101, "Network is unreachable")

    outbound = Outbound(resolve=unroutable)  # type: ignore[arg-type]
    outcome = send("http://far.test/hook", outbound=outbound)
    assert code_of(outcome) == (None, "unreachable")
    assert outcome.is_away
