"""The table of addresses against every known way back inside, and the grammar of URLs."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.address_guard import MAX_URL_CHARS, Target, is_public, literal, parsed


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_private_and_reserved_addresses_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "223.255.255.255",
        "::ffff:1.1.1.1",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
    ],
)
def test_the_public_internet_is_allowed_up_to_its_borders(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_the_table_is_never_wider_than_the_standard_library(address: IPv4Address) -> None:
    assert address.is_global or not is_public(address)
    assert is_public(IPv6Address(f"::ffff:{address}")) == is_public(address)


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_only_one_eighth_of_the_ipv6_addresses_is_handed_out(address: IPv6Address) -> None:
    assert int(address) >> 125 == 1 or not is_public(address)


@pytest.mark.parametrize(
    "spelling",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.01", "::ffff:127.0.0.1"],
)
def test_one_address_has_one_form(spelling: str) -> None:
    assert literal(spelling) == IPv4Address("127.0.0.1")


def test_zero_is_an_address_and_a_name_is_none() -> None:
    assert literal("0") == IPv4Address("0.0.0.0")
    assert literal("example.com") is None


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://example.com", Target("http", "example.com", 80, "/")),
        ("HTTPS://Example.COM/A?b=C#d", Target("https", "example.com", 443, "/A?b=C")),
        ("http://example.com:8080?q", Target("http", "example.com", 8080, "/?q")),
        ("http://[2606:4700::1111]/", Target("http", "2606:4700::1111", 80, "/")),
        ("http://a_b.example/ü x%20y", Target("http", "a_b.example", 80, "/%C3%BC%20x%20y")),
        ("http://example.com#@10.0.0.1/", Target("http", "example.com", 80, "/")),
        ("http://example.com/@10.0.0.1", Target("http", "example.com", 80, "/@10.0.0.1")),
    ],
)
def test_a_url_has_one_reading(url: str, target: Target) -> None:
    assert parsed(url) == target
    assert parsed(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "http:example.com",
        "http:///path",
        "http://?query",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://@example.com/",
        "http://example.com\\@10.0.0.1/",
        "http://exa mple.com/",
        "http://example.com:/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:80:80/",
        "http://example.com:8\u0660/",
        "http://[::1/",
        "http://[::1%25eth0]/",
        "http://[1234]/",
        "http://[v1.a]/",
        "http://name[::1]/",
        "http://a..example/",
        "http://.example/",
        "http://bücher.example/",
        "http://127。0。0。1/",
        "http://①②⑦.0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://\ud800/",
        " http://example.com/",
        "\thttp://example.com/",
        "http://exam\nple.com/",
        "http://example.com/\r\nHost: 10.0.0.1",
        "http://example.com/\x00",
        "http://example.com/\x7f",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 126}example/",
        "http://example.com/" + "a" * MAX_URL_CHARS,
        "http://example.com/" + "ü" * (MAX_URL_CHARS // 6),
    ],
)
def test_everything_else_is_no_url(url: str) -> None:
    assert parsed(url) is None


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (b"/b", "https://example.com/b"),
        (b"c?d", "https://example.com/a/c?d"),
        (b"../e", "https://example.com/e"),
        (b"//other.example/f", "https://other.example/f"),
        (b"http://other.example:8080", "http://other.example:8080/"),
        (b"/\xc3\xbc \t", "https://example.com/%C3%BC%20%09"),
    ],
)
def test_a_redirect_leads_on_from_where_it_came(location: bytes, url: str) -> None:
    onward = Target("https", "example.com", 443, "/a/b").redirected(location)
    assert onward is not None
    assert onward.url == url


@pytest.mark.parametrize("location", [b"file:///etc/passwd", b"//u@10.0.0.1/", b"http://[::1"])
def test_a_redirect_to_no_url_leads_nowhere(location: bytes) -> None:
    assert Target("https", "example.com", 443, "/").redirected(location) is None
