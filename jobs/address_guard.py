"""Where the service may connect for a customer: the table of addresses, and the grammar of URLs.

Both are pure, and both are our own. `ipaddress.is_global` changes with Python's version and calls
global what leads back inside (6to4 and NAT64 of private addresses, multicast, 168.63.129.16). And
where two parsers read one URL differently, one checks a host and the other connects to another; so
there is one strict pattern here, and its parts are what is connected to and sent.
"""

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import quote, urljoin

MAX_URL_CHARS = 8192
MAX_HOST_CHARS = 253

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}


def is_public(address: Address) -> bool:
    """Whether the address is an ordinary host of the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def literal(text: str) -> Address | None:
    """The address that `text` spells, None if it spells none.

    It reads every spelling that the C library reads (`127.1`, `0x7f.1`, `2130706433`), and takes an
    IPv4 address out of its IPv6 mapping, so that one address has one form.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return _loosely_spelled(text)
    return getattr(address, "ipv4_mapped", None) or address


class Target(NamedTuple):
    """A URL in parts. An IPv6 `host` is without brackets; `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL again, without its fragment."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def address(self) -> Address | None:
        """The address that the host spells, None if it is a name."""
        return literal(self.host)

    def redirected(self, location: bytes) -> "Target | None":
        """Where a Location header leads from here, None if not to an http or https URL."""
        try:
            return parsed(urljoin(self.url, _percent_encoded(location)))
        except ValueError:  # from urljoin, for a bracket that is never closed
            return None


def parsed(url: str) -> Target | None:
    """The parts of an absolute http or https URL, None if it is anything else.

    Spaces and letters beyond ASCII are percent-encoded, as browsers do it, but not in the host.
    """
    if len(url) > MAX_URL_CHARS:
        return None  # before the work, which grows with the length
    # Half a surrogate pair, which JSON can carry, has no encoding and becomes a question mark.
    match = _URL.fullmatch(_percent_encoded(url.encode(errors="replace")))
    if match is None or _CONTROL.search(url):
        return None
    scheme = match["scheme"].lower()
    host = match["host"].strip("[]").lower()
    port = int(match["port"] or DEFAULT_PORTS[scheme])
    path = match["path"] if match["path"].startswith("/") else "/" + match["path"]
    if len(match[0]) > MAX_URL_CHARS or len(host) > MAX_HOST_CHARS or not 0 < port < 2**16:
        return None
    return Target(scheme, host, port, path)


def _percent_encoded(url: bytes) -> str:
    return quote(url, safe=_PRINTABLE)


def _loosely_spelled(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(socket.inet_aton(text))
    except OSError:
        return None


_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}|\[[0-9a-f.]*:[0-9a-f:.]*\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:[/?][^#]*)?)"
    r"(?:#.*)?",
    re.ASCII | re.IGNORECASE,
)

# https://www.iana.org/assignments/iana-ipv4-special-registry: all of it, reachable or not, since
# no customer's host lives there; multicast; and the address at which Azure's host answers.
_REFUSED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host
            "169.254.0.0/16",  # link-local, and the clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # automatic multicast tunnelling
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)

# https://www.iana.org/assignments/iana-ipv6-special-registry: only 2000::/3 is handed out, which
# leaves outside loopback, NAT64, unique local, link-local, site-local and multicast addresses.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
