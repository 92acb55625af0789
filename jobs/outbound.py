"""The one way out: every request to an address that a customer named is made here, guarded.

A name is resolved once; all its addresses must be public; the connection is made to one that was
judged, while TLS and the Host header keep the name. So a name that changes its answer between
check and use, or mixes good with bad ones, gains nothing. Each request has its own connection and
knows no proxy.

    OutboundError
    ├── UnsupportedUrl      not a URL that we fetch from
    ├── AddressRefused      it leads to a private or reserved address
    ├── Unreachable         no such name, no connection, or no trust in the certificate
    ├── TimedOut            the total deadline passed
    ├── BadStatus           an answer other than 200
    ├── BadResponse         an answer that is not plain, complete HTTP
    ├── TooLarge            more bytes than allowed
    ├── TooManyRedirects    a chain or a loop
    └── InsecureRedirect    from https to http
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Address
from typing import NamedTuple

import httpcore2

from jobs.address_guard import DEFAULT_PORTS, Address, Network, Target, is_public, parsed
from jobs.wire import Deadline, Lookups, Resolve, Wire, dialled

USER_AGENT = "Enlarger/0.1.0"
MAX_REDIRECTS = 3
MAX_HEAD_BYTES = 256 * 1024
MAX_DISCARDED_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 24 * 60 * 60

_LOOPBACK = IPv4Address("127.0.0.1")
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
_REDIRECTS = {301, 302, 303, 307, 308}
_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class OutboundError(Exception):
    """The address could not be used"""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class UnsupportedUrl(OutboundError):
    """The address must be an http or https URL on port 80 or 443, without user name or password"""


class AddressRefused(OutboundError):
    """The address leads to a private or reserved network"""


class Unreachable(OutboundError):
    """The address could not be reached, or its certificate is not trusted"""


class TimedOut(OutboundError):
    """The address did not answer completely in time"""


class BadStatus(OutboundError):
    """The address did not answer with status 200"""

    def __init__(self, *, status: int) -> None:
        super().__init__(f"The address answered with status {status} instead of 200")
        self.status = status


class BadResponse(OutboundError):
    """The address sent an answer that is broken, cut short or compressed"""


class TooLarge(OutboundError):
    """The file behind the address is too large"""

    def __init__(self, *, max_bytes: int) -> None:
        super().__init__(f"The file behind the address is larger than {max_bytes} bytes")
        self.max_bytes = max_bytes


class TooManyRedirects(OutboundError):
    """The address redirects too many times"""


class InsecureRedirect(OutboundError):
    """The address redirects from https to http"""


class Answer(NamedTuple):
    """What a receiver answered: its status, and the seconds it asks us to wait if it does."""

    status: int
    retry_after_s: int | None


class Outbound:
    """A guarded HTTP/1.1 client, safe to share between threads.

    Addresses within `allow` are exempt from the guard and may be reached at any port. `tls` is
    called at the first https request. A deadline is total: it covers resolution, connecting, TLS,
    redirects and the last byte of the body.
    """

    def __init__(
        self,
        *,
        allow: Sequence[Network] = (),
        resolve: Resolve = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
        tls: Callable[[], ssl.SSLContext] = httpcore2.default_ssl_context,
    ) -> None:
        self._allow = tuple(allow)
        self._lookups = Lookups(resolve)
        self._clock = clock
        self._make_tls = tls

    def fetch(self, url: str, *, deadline_s: float, max_bytes: int) -> bytes:
        """The body that a GET of `url` finds, after at most `MAX_REDIRECTS` redirects.

        Raises an `OutboundError` unless a complete, uncompressed 200 of at most `max_bytes` came
        within the deadline.
        """
        deadline = Deadline(self._clock, deadline_s)
        target = self._checked(parsed(url))
        for _ in range(1 + MAX_REDIRECTS):
            with self._answered("GET", target, deadline=deadline, max_bytes=max_bytes) as response:
                location = _header(response, b"location")
                if response.status not in _REDIRECTS or not location:
                    return _body(response, max_bytes=max_bytes)
            target = self._redirected(target, location)
        raise TooManyRedirects

    def post(
        self, url: str, *, body: bytes, headers: Mapping[str, str], deadline_s: float
    ) -> Answer:
        """Post once and return the answer, whatever its status; redirects are not followed.

        The answer's body is read up to `MAX_DISCARDED_BYTES`, since hanging up on a receiver may
        end its work, and thrown away.
        """
        deadline = Deadline(self._clock, deadline_s)
        with self._answered(
            "POST",
            self._checked(parsed(url)),
            headers=headers,
            body=body,
            deadline=deadline,
            max_bytes=MAX_DISCARDED_BYTES,
        ) as response:
            _discard(response)
            return Answer(response.status, _retry_after_s(response))

    def check(self, url: str) -> None:
        """Raise what `fetch` and `post` would raise of `url` before looking its host up.

        One name needs no looking up: localhost is this machine (RFC 6761, 6.3).
        """
        target = self._checked(parsed(url))
        if target.host.split(".")[-1] == "localhost":
            self._judge(_LOOPBACK, port=target.port)

    def _checked(self, target: Target | None) -> Target:
        if target is None:
            raise UnsupportedUrl
        if target.address is not None:
            self._judge(target.address, port=target.port)
        elif target.port not in DEFAULT_PORTS.values() and not self._allow:
            raise UnsupportedUrl
        return target

    def _judge(self, address: Address, *, port: int) -> None:
        if any(address in network for network in self._allow):
            return
        if not is_public(address):
            raise AddressRefused
        if port not in DEFAULT_PORTS.values():
            raise UnsupportedUrl

    def _redirected(self, target: Target, location: bytes) -> Target:
        onward = self._checked(target.redirected(location))
        if (target.scheme, onward.scheme) == ("https", "http"):
            raise InsecureRedirect
        return onward

    @contextmanager
    def _answered(
        self,
        method: str,
        target: Target,
        *,
        deadline: Deadline,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Iterator[httpcore2.Response]:
        """One request on a connection of its own; the answer's body is yet to be read."""
        url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        sent = {"Host": target.authority, **_HEADERS, **(headers or {})}
        with closing(self._connected(target, deadline=deadline)) as connected:
            wire = Wire(connected, deadline=deadline, max_bytes=MAX_HEAD_BYTES)
            connection = httpcore2.HTTP11Connection(url.origin, wire)
            try:
                with connection.stream(
                    method, url, headers=list(sent.items()), content=body
                ) as response:
                    wire.admit(2 * max_bytes)  # the framing of chunks may double a body
                    yield response
            except TimeoutError as error:
                raise TimedOut from error
            except (OSError, httpcore2.RemoteProtocolError) as error:
                raise BadResponse from error

    def _connected(self, target: Target, *, deadline: Deadline) -> socket.socket:
        try:
            addresses = self._addresses(target, deadline=deadline)
            plain = dialled(addresses, port=target.port, deadline=deadline)
            if target.scheme == "http":
                return plain
            with closing(plain):  # a shell once TLS has taken the connection over
                plain.settimeout(deadline.left_s())
                return self._tls.wrap_socket(plain, server_hostname=target.host)
        except TimeoutError as error:
            raise TimedOut from error
        except OSError as error:
            raise Unreachable from error

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = self._make_tls()
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _addresses(self, target: Target, *, deadline: Deadline) -> list[Address]:
        if target.address is not None:
            return [target.address]  # judged with the URL
        found = self._lookups.addresses(target.host, target.port, deadline=deadline)
        for address in found:
            self._judge(address, port=target.port)
        return found


def _body(response: httpcore2.Response, *, max_bytes: int) -> bytes:
    if response.status != 200:
        raise BadStatus(status=response.status)
    if _header(response, b"content-encoding").lower() not in (b"", b"identity"):
        raise BadResponse
    if int(_header(response, b"content-length") or 0) > max_bytes:
        raise TooLarge(max_bytes=max_bytes)
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(max_bytes=max_bytes)
    return bytes(body)


def _discard(response: httpcore2.Response) -> None:
    left_bytes = MAX_DISCARDED_BYTES
    for chunk in response.iter_stream():
        left_bytes -= len(chunk)
        if left_bytes < 0:
            return


def _header(response: httpcore2.Response, name: bytes) -> bytes:
    """The value of a header, several joined by commas (RFC 9110, 5.3); empty if absent."""
    return b", ".join(value for key, value in response.headers if key.lower() == name)


def _retry_after_s(response: httpcore2.Response) -> int | None:
    """The wait that the answer asks for, at most `MAX_RETRY_AFTER_S`; None if none can be read.

    A date is counted from the answer's own Date, so that the receiver's clock need not be ours.
    """
    asked = _header(response, b"retry-after")
    try:
        wait_s = int(asked) if asked.isdigit() else _seconds(_header(response, b"date"), asked)
    except ValueError:
        return None
    return max(0, min(wait_s, MAX_RETRY_AFTER_S))


def _seconds(start: bytes, end: bytes) -> int:
    """From one HTTP date (RFC 9110, 5.6.7) to another; raises `ValueError` if one is not."""
    dates = [datetime.strptime(date.decode("ascii"), _HTTP_DATE) for date in (start, end)]
    return int((dates[1] - dates[0]).total_seconds())
