"""The total deadline against everything that can be slow, and TLS against strangers."""

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from threading import Event, Thread

import pytest

from jobs import outbound
from jobs.outbound import Outbound
from jobs.wire import AddressInfo, Deadline, Lookups, dialled
from tests.jobs.loopback import Names, Script, endless, listening, ok, serving, status, waiting

LOOPBACK = ip_network("127.0.0.0/8")
SOON_S = 0.2
GENEROUS_S = 5.0


def assert_times_out(request: Callable[[], object]) -> None:
    """The deadline is met, however loaded the machine is, long before a hang would end."""
    started_s = time.monotonic()
    with pytest.raises(outbound.TimedOut):
        request()
    assert SOON_S <= time.monotonic() - started_s < GENEROUS_S


def assert_fetch_times_out(url: str, client: Outbound | None = None) -> None:
    fetching = client or Outbound(allow=[LOOPBACK])
    assert_times_out(lambda: fetching.fetch(url, deadline_s=SOON_S, max_bytes=10**9))


def assert_post_times_out(url: str, body: bytes) -> None:
    posting = Outbound(allow=[LOOPBACK])
    assert_times_out(lambda: posting.post(url, body=body, headers={}, deadline_s=SOON_S))


@pytest.mark.parametrize(
    "answer",
    [
        waiting(b""),
        waiting(ok(b"pixels")[:-1]),
        endless(b"HTTP/1.1 200 OK\r\na: ", b"b", pause_s=0.01),
        endless(status(200), b"x", pause_s=0.01),
        endless(status(200, "Transfer-Encoding: chunked"), b"1\r\nx\r\n", pause_s=0.01),
        endless(b"", status(100), pause_s=0.01),
    ],
    ids=["silence", "half a body", "a dripping head", "a drip", "dripping chunks", "interim drip"],
)
def test_a_slow_answer_ends_at_the_deadline(answer: Script) -> None:
    with serving({"/": answer}) as server:
        assert_fetch_times_out(server.url())
        assert_post_times_out(server.url(), b"{}")


def test_redirects_share_one_deadline() -> None:
    def redirected_late(connection: socket.socket) -> None:
        Event().wait(SOON_S / 2)
        connection.sendall(status(302, "Location: /"))

    with serving({"/": redirected_late}) as server:
        assert_fetch_times_out(server.url())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_takes_connections_and_says_nothing_is_left(scheme: str) -> None:
    with listening() as (_, port):
        assert_fetch_times_out(f"{scheme}://127.0.0.1:{port}/")


def test_a_body_that_nobody_reads_is_not_sent_for_ever() -> None:
    with listening() as (_, port):
        assert_post_times_out(f"http://127.0.0.1:{port}/", bytes(32 * 1024 * 1024))


def test_an_answer_before_the_end_of_the_request_counts() -> None:
    def refuse_unread(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.sendall(status(413, "Content-Length: 0"))

    with listening() as (listener, port):
        listener.setblocking(True)
        receiver = Thread(target=refuse_unread, args=(listener,))
        receiver.start()
        answer = Outbound(allow=[LOOPBACK]).post(
            f"http://127.0.0.1:{port}/",
            body=bytes(32 * 1024 * 1024),
            headers={},
            deadline_s=GENEROUS_S,
        )
        receiver.join()
    assert answer.status == 413


def test_a_resolver_that_hangs_is_left_behind() -> None:
    answered = Event()

    def hang(host: str, port: int, *, type: int) -> Sequence[AddressInfo]:
        answered.wait()
        return [(0, type, 0, host, ("127.0.0.1", port))]

    assert_fetch_times_out("http://slow.test/", Outbound(resolve=hang))
    answered.set()


def test_stuck_lookups_are_limited_and_hold_up_further_ones() -> None:
    answered, asked = Event(), []

    def hang(host: str, port: int, *, type: int) -> Sequence[AddressInfo]:
        asked.append(host)
        answered.wait()
        return [(0, type, 0, "", ("127.0.0.1", port))]

    lookups = Lookups(hang, max_lookups=1)
    for host in ("stuck.test", "waiting.test"):
        with pytest.raises(TimeoutError):
            lookups.addresses(host, 80, deadline=Deadline(time.monotonic, SOON_S))
    assert asked == ["stuck.test"]
    answered.set()
    found = lookups.addresses("free.test", 80, deadline=Deadline(time.monotonic, GENEROUS_S))
    assert found == [IPv4Address("127.0.0.1")]


def test_a_deadline_in_the_past_connects_to_nothing() -> None:
    with serving({"/": ok(b"pixels")}) as server:
        with pytest.raises(outbound.TimedOut):
            Outbound(allow=[LOOPBACK]).fetch(server.url(), deadline_s=0, max_bytes=10)
        assert server.requests == []


@pytest.mark.parametrize("answers", [[], [[]], [["127.0.0.2"]], [["no address"]]])
def test_a_name_without_a_working_address_is_unreachable(answers: list[list[str]]) -> None:
    with serving({"/": ok(b"pixels")}) as server:
        client = Outbound(allow=[LOOPBACK], resolve=Names({"gone.test": answers}))
        with pytest.raises(outbound.Unreachable):
            client.fetch(server.url(host="gone.test"), deadline_s=GENEROUS_S, max_bytes=10)


def test_a_dead_address_leaves_time_for_the_next() -> None:
    with listening() as (_, port), ExitStack() as queued:
        queued.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(4):  # more than its queue holds: now it answers nobody any more
            waiter = queued.enter_context(socket.socket())
            waiter.setblocking(False)
            waiter.connect_ex(("127.0.0.2", port))
        addresses = [IPv4Address("127.0.0.2"), IPv4Address("127.0.0.1")]
        deadline = Deadline(time.monotonic, 1.0)
        with dialled(addresses, port, deadline=deadline) as connected:
            assert connected.getpeername() == ("127.0.0.1", port)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for pictures.test, in one file with its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, signed, both = folder / "key.pem", folder / "signed.pem", folder / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=DNS:pictures.test"]
    files = ["-keyout", str(key), "-out", str(signed)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + signed.read_bytes())
    return both


@pytest.fixture
def shown(certificate: Path) -> ssl.SSLContext:
    """What a server at pictures.test shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path, *names: str) -> Outbound:
    return Outbound(
        allow=[LOOPBACK],
        resolve=Names({name: [["127.0.0.1"]] for name in names}),
        tls=lambda: ssl.create_default_context(cafile=str(certificate)),
    )


def test_tls_is_spoken_with_the_name(certificate: Path, shown: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    shown.sni_callback = lambda _socket, name, _context: asked.append(name)
    with serving({"/": ok(b"pixels")}, tls=shown) as server:
        url = server.url(host="pictures.test", scheme="https")
        client = trusting(certificate, "pictures.test")
        assert client.fetch(url, deadline_s=GENEROUS_S, max_bytes=10) == b"pixels"
    assert asked == ["pictures.test"]
    assert f"Host: pictures.test:{server.port}".encode() in server.requests[0]


def test_a_certificate_must_be_trusted_and_for_the_name(
    certificate: Path, shown: ssl.SSLContext
) -> None:
    stranger = Outbound(allow=[LOOPBACK], resolve=Names({"pictures.test": [["127.0.0.1"]]}))
    trusted = trusting(certificate, "other.test")
    with serving({"/": ok(b"pixels")}, tls=shown) as server:
        for client, host in ((stranger, "pictures.test"), (trusted, "other.test")):
            url = server.url(host=host, scheme="https")
            with pytest.raises(outbound.Unreachable):
                client.fetch(url, deadline_s=GENEROUS_S, max_bytes=10)
        assert server.requests == []


def test_https_never_redirects_to_http(certificate: Path, shown: ssl.SSLContext) -> None:
    with (
        serving({"/": ok(b"pixels")}) as plain,
        serving({"/": status(302, f"Location: {plain.url()}")}, tls=shown) as secure,
    ):
        url = secure.url(host="pictures.test", scheme="https")
        with pytest.raises(outbound.InsecureRedirect):
            trusting(certificate, "pictures.test").fetch(url, deadline_s=GENEROUS_S, max_bytes=10)
        assert plain.requests == []
