"""What the guarded client fetches, posts and refuses, against real servers."""

import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest

from jobs import outbound
from jobs.outbound import Outbound
from tests.jobs.loopback import (
    Answers,
    Names,
    Script,
    endless,
    is_untouched,
    listening,
    ok,
    reset,
    serving,
    status,
    waiting,
)

LOOPBACK = ip_network("127.0.0.1/32")
GENEROUS_S = 5.0
MAX_BYTES = 1000


def fetch(url: str, names: Names | None = None) -> bytes:
    client = Outbound(allow=[LOOPBACK], resolve=names or Names({}))
    return client.fetch(url, deadline_s=GENEROUS_S, max_bytes=MAX_BYTES)


def fetch_from(answers: Answers) -> bytes:
    with serving(answers) as server:
        return fetch(server.url())


def test_a_picture_is_fetched_by_a_plain_request() -> None:
    with serving({"/a?b=c": ok(b"pixels")}) as server:
        names = Names({"pictures.test": [["127.0.0.1"]]})
        assert fetch(server.url("/a?b=c#d", host="Pictures.test"), names) == b"pixels"
    lines = server.requests[0].decode().splitlines()
    assert lines[0] == "GET /a?b=c HTTP/1.1"
    assert f"Host: pictures.test:{server.port}" in lines
    assert f"User-Agent: {outbound.USER_AGENT}" in lines
    assert "Accept-Encoding: identity" in lines
    assert "Connection: close" in lines


def test_the_user_agent_names_our_version() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert f"Enlarger/{project['version']}" == outbound.USER_AGENT


@pytest.mark.parametrize(
    "answer",
    [
        status(200, "Transfer-Encoding: chunked")
        + b"3\r\npix\r\n3;a=b\r\nels\r\n0\r\nX: y\r\n\r\n",
        status(200) + b"pixels",
        status(103, "Link: </a>") + status(100) + ok(b"pixels"),
        ok(b"pixels", "Content-Encoding: identity"),
    ],
    ids=["chunked", "until it closes", "after interim answers", "identity"],
)
def test_a_body_may_come_in_any_plain_form(answer: bytes) -> None:
    assert fetch_from({"/": answer}) == b"pixels"


def test_a_body_may_be_as_large_as_allowed_and_no_larger() -> None:
    for head in (status(200, f"Content-Length: {MAX_BYTES}"), status(200)):
        assert len(fetch_from({"/": head + bytes(MAX_BYTES)})) == MAX_BYTES
    for head in (status(200, f"Content-Length: {MAX_BYTES + 1}"), status(200)):
        with pytest.raises(outbound.TooLarge, match="1000 bytes"):
            fetch_from({"/": head + bytes(MAX_BYTES + 1)})


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (listener, port):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert fetch_from({"/": ok(b"pixels")}) == b"pixels"
        assert is_untouched(listener)


def test_threads_share_one_client() -> None:
    paths = [f"/{number}" for number in range(40)]
    with (
        serving({path: ok(path.encode()) for path in paths}) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        client = Outbound(allow=[LOOPBACK], resolve=Names({"a.test": [["127.0.0.1"]] * 40}))
        bodies = pool.map(
            lambda path: client.fetch(
                server.url(path, host="a.test"), deadline_s=GENEROUS_S, max_bytes=MAX_BYTES
            ),
            paths,
        )
        assert list(bodies) == [path.encode() for path in paths]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]"],
)
def test_no_spelling_of_a_refused_address_is_connected_to(host: str) -> None:
    client = Outbound()
    with listening() as (listener, port):
        url = f"http://{host}:{port}/"
        with pytest.raises(outbound.AddressRefused):
            client.fetch(url, deadline_s=GENEROUS_S, max_bytes=MAX_BYTES)
        with pytest.raises(outbound.AddressRefused):
            client.post(url, body=b"", headers={}, deadline_s=GENEROUS_S)
        with pytest.raises(outbound.AddressRefused):
            client.check(url)
        assert is_untouched(listener)


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.2"],
        ["127.0.0.1", "127.0.0.2"],
        ["127.0.0.1", "::ffff:127.0.0.2"],
        ["1.1.1.1", "10.0.0.1"],
        ["168.63.129.16"],
        ["169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
        ["2002:a9fe:a9fe::1"],
        ["fec0::1"],
        ["fe80::1%1"],
    ],
)
def test_one_refused_address_refuses_the_name(answers: list[str]) -> None:
    with pytest.raises(outbound.AddressRefused) as refused:
        fetch("http://sly.test/", Names({"sly.test": [answers]}))
    assert not any(address in str(refused.value) for address in answers)


@pytest.mark.parametrize("answers", [["127.0.0.2"], ["127.0.0.1", "127.0.0.2"]])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_a_refused_name_is_not_connected_to(address: str, answers: list[str]) -> None:
    with listening(address) as (listener, port):
        with pytest.raises(outbound.AddressRefused):
            fetch(f"http://sly.test:{port}/", Names({"sly.test": [answers]}))
        assert is_untouched(listener)


def test_a_name_is_resolved_once_so_it_cannot_be_bound_again() -> None:
    names = Names({"sly.test": [["127.0.0.1"], ["127.0.0.2"]]})
    with serving({"/": ok(b"pixels")}) as server:
        assert fetch(server.url(host="sly.test"), names) == b"pixels"
    assert names.asked == ["sly.test"]


def test_other_ports_are_for_allowed_addresses_only() -> None:
    names = Names({"public.test": [["1.1.1.1"]]})
    with pytest.raises(outbound.UnsupportedUrl):
        Outbound(resolve=names).check("http://public.test:8080/")
    with pytest.raises(outbound.UnsupportedUrl):
        fetch("http://1.1.1.1:8080/")
    assert names.asked == []
    with pytest.raises(outbound.UnsupportedUrl):
        fetch("http://public.test:8080/", names)


def test_a_check_looks_nothing_up() -> None:
    names = Names({})
    client = Outbound(resolve=names)
    for url in ("https://hooks.test/a", "http://1.1.1.1:443", "http://[2606:4700::1111]/"):
        client.check(url)
    for url in ("ftp://hooks.test/", "http://me@hooks.test/", "http://hooks.test/\n", "https://"):
        with pytest.raises(outbound.UnsupportedUrl):
            client.check(url)
    assert names.asked == []


def test_redirects_are_followed_across_paths_and_hosts() -> None:
    names = Names({"a.test": [["127.0.0.1"]] * 2, "b.test": [["127.0.0.1"]] * 2})
    with serving({"/d": ok(b"pixels")}) as last, serving(hops := {}) as first:
        hops["/a/"] = status(302, "Location: ../b")
        hops["/b"] = status(307, f"Location: //b.test:{first.port}/c")
        hops["/c"] = status(308, f"Location: {last.url('/d', host='b.test')}")
        assert fetch(first.url("/a/", host="a.test"), names) == b"pixels"
    assert f"Host: b.test:{first.port}".encode() in first.requests[2]
    assert names.asked == ["a.test", "a.test", "b.test", "b.test"]


def test_redirects_end_after_three() -> None:
    with serving({"/": status(301, "Location: /")}) as server:
        with pytest.raises(outbound.TooManyRedirects):
            fetch(server.url())
        assert len(server.requests) == 1 + outbound.MAX_REDIRECTS


@pytest.mark.parametrize("host", ["127.0.0.2", "127.2", "sly.test"])
def test_a_redirect_is_judged_like_an_address(host: str) -> None:
    names = Names({"sly.test": [["127.0.0.2"]]})
    with (
        listening("127.0.0.2") as (listener, port),
        serving({"/": status(302, f"Location: http://{host}:{port}/")}) as server,
    ):
        with pytest.raises(outbound.AddressRefused):
            fetch(server.url(), names)
        assert is_untouched(listener)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://u@127.0.0.1/", "http://[::1"])
def test_a_redirect_must_lead_to_a_url(location: str) -> None:
    with pytest.raises(outbound.UnsupportedUrl):
        fetch_from({"/": status(302, f"Location: {location}")})


@pytest.mark.parametrize("code", [204, 206, 300, 302, 304, 404, 410, 500])
def test_only_200_is_a_picture(code: int) -> None:
    with pytest.raises(outbound.BadStatus, match=f"status {code} ") as refused:
        fetch_from({"/": status(code)})
    assert refused.value.status == code


CHUNKED = status(200, "Transfer-Encoding: chunked")
HOSTILE: Mapping[str, tuple[bytes | Script, type[outbound.OutboundError]]] = {
    "a body for ever": (endless(status(200), b"x" * 9999), outbound.TooLarge),
    "chunks for ever": (endless(CHUNKED, b"9\r\n123456789\r\n"), outbound.TooLarge),
    "chunks all frame": (
        endless(CHUNKED, b"1;" + b"a" * 9999 + b"\r\nx\r\n"),
        outbound.BadResponse,
    ),
    "a length too great": (waiting(status(200, "Content-Length: 1001")), outbound.TooLarge),
    "a length without end": (status(200, "Content-Length: " + "9" * 5000), outbound.BadResponse),
    "two lengths": (ok(b"pixels", "Content-Length: 7"), outbound.BadResponse),
    "less than the length": (ok(b"pixels")[:-1], outbound.BadResponse),
    "less than its chunks": (CHUNKED + b"6\r\npixels\r\n", outbound.BadResponse),
    "gzip": (ok(b"pixels", "Content-Encoding: GZip"), outbound.BadResponse),
    "identity, then gzip": (
        ok(b"pixels", "Content-Encoding: identity", "Content-Encoding: gzip"),
        outbound.BadResponse,
    ),
    "gzip in transfer": (status(200, "Transfer-Encoding: gzip, chunked"), outbound.BadResponse),
    "a reset body": (reset(ok(b"pixels")[:-1]), outbound.BadResponse),
    "a reset head": (reset(b"HTTP/1.1 200"), outbound.BadResponse),
    "another protocol": (status(101, "Upgrade: websocket"), outbound.BadResponse),
    "no answer": (b"", outbound.BadResponse),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", outbound.BadResponse),
    "headers for ever": (endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 999), outbound.BadResponse),
    "one header for ever": (endless(b"HTTP/1.1 200 OK\r\na: ", b"b" * 9999), outbound.BadResponse),
    "interim answers for ever": (endless(b"", status(100) * 99), outbound.BadResponse),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_an_error(name: str) -> None:
    answer, error = HOSTILE[name]
    with pytest.raises(error):
        fetch_from({"/": answer})
