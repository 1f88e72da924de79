"""Who the client is, where proxies stand before the gateway."""

from ipaddress import ip_network

import pytest

from gateway.policy import clients
from gateway.policy.clients import address, is_trusted, origin

TRUSTED = tuple(ip_network(each) for each in ("10.0.0.0/8", "192.168.1.1", "fd00::/8", "::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # A stranger's word does not count.
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("192.168.1.2", ["198.51.100.1"], "192.168.1.2"),
        ("2001:db8::1", ["198.51.100.1"], "2001:db8::1"),
        # A proxy's does.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("192.168.1.1", ["198.51.100.1"], "198.51.100.1"),
        ("::1", ["2001:DB8:0::1"], "2001:db8::1"),
        ("fd12::7", ["198.51.100.1"], "198.51.100.1"),
        # The right-most that is not a trusted proxy: the client may have invented those left of it.
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.9.9.9, 198.51.100.1,10.0.0.2 ,\t10.0.0.3"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # Junk stops the search at the proxy that said it.
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1,, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.256"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, 010.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1;10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", ["<script>"], "10.0.0.1"),
        # Ports, and IPv4 inside IPv6.
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["198.51.100.1:x"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
        # A peer without an address, such as one of a Unix socket.
        ("", ["198.51.100.1"], ""),
        ("unix:", ["198.51.100.1"], "unix:"),
    ],
)
def test_the_client_is_the_right_most_address_that_is_not_a_trusted_proxy(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert address(peer, forwarded, TRUSTED) == expected


@pytest.mark.parametrize("peer", ["10.0.0.1", "203.0.113.9", "::1"])
def test_no_proxy_is_trusted_by_default(peer: str) -> None:
    assert address(peer, ["198.51.100.1"], ()) == peer
    assert not is_trusted(peer, ())


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.1.2.3", True),
        ("11.0.0.0", False),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("fe80::1", False),
        ("", False),
    ],
)
def test_a_trusted_proxy_is_identified_by_its_network(peer: str, *, expected: bool) -> None:
    assert is_trusted(peer, TRUSTED) is expected


@pytest.mark.parametrize(
    ("proto", "host", "trusted", "expected"),
    [
        (["https"], ["api.example"], False, ("http", "gw:8001")),
        ([], [], True, ("http", "gw:8001")),
        (["https"], [], True, ("https", "gw:8001")),
        ([], ["api.example"], True, ("http", "api.example")),
        (["HTTPS"], ["api.example:8443"], True, ("https", "api.example:8443")),
        (["http, https"], ["evil.example, api.example"], True, ("https", "api.example")),
        (["http", "https"], ["evil.example", "api.example"], True, ("https", "api.example")),
        (["ftp"], ["a/b"], True, ("http", "gw:8001")),
        (["https,"], ["api.example,"], True, ("http", "gw:8001")),
        (["https"], ["[2001:db8::1]:1"], True, ("https", "[2001:db8::1]:1")),
        (["https"], ["a b"], True, ("https", "gw:8001")),
        (["https"], ["me@a"], True, ("https", "gw:8001")),
    ],
)
def test_scheme_and_host_are_taken_from_the_nearest_trusted_proxy(
    proto: list[str], host: list[str], trusted: bool, expected: tuple[str, str]
) -> None:
    assert origin("http", "gw:8001", forwarded_proto=proto, forwarded_host=host, trusted=trusted) == expected


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"),
        ("", ""),
    ],
)
def test_an_ipv6_client_counts_by_its_network(address: str, network: str) -> None:
    assert clients.network(address) == network
