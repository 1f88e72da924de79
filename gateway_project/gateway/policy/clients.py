"""Who the client is, and what it asked for, where proxies stand before the gateway."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]

# RFC 7239, section 6 has a port after the address; X-Forwarded-For of some proxies has it too.
WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):[0-9]{1,5}|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
SCHEMES: Final = ("http", "https")
# A household or a server has one such network, with as many addresses as it likes (RFC 6177, section 2).
IPV6_PREFIX: Final = 64


def parse(text: str) -> Address | None:
    """Return the address, an IPv4 one inside IPv6 as IPv4; `None` if the text is not an address."""
    if found := WITH_PORT.fullmatch(text):
        text = found["v4"] or found["v6"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def within(address: Address | None, networks: Networks) -> bool:
    return address is not None and any(address in network for network in networks)


def is_trusted(peer: str, trusted: Networks) -> bool:
    return within(parse(peer), trusted)


def last(values: Iterable[str]) -> str:
    """Return the last entry of a header that may be repeated: the nearest proxy's."""
    return ",".join(values).rpartition(",")[2].strip(" \t")


def address(peer: str, forwarded_for: Sequence[str], trusted: Networks) -> str:
    """Return the client's address: the right-most that is not a proxy of ours.

    Each proxy adds its peer at the right, so entries to the left of the first untrusted address prove nothing. An
    invalid entry ends the search at the proxy that added it. The header counts only if the peer itself is trusted.
    """
    client = parse(peer)
    if client is None:
        return peer
    entries = ",".join(forwarded_for).split(",")
    while entries and within(client, trusted):
        found = parse(entries.pop().strip(" \t"))
        if found is None:
            break
        client = found
    return str(client)


def network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, an IPv6 /64, or text that is not an address."""
    parsed = parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), IPV6_PREFIX), strict=False))
    return str(parsed or address)


def origin(
    scheme: str, host: str, *, forwarded_proto: Sequence[str], forwarded_host: Sequence[str], trusted: bool
) -> tuple[str, str]:
    """Return scheme and host as the client sees them: as a trusted peer forwards them, if they are valid."""
    if not trusted:
        return scheme, host
    said_scheme, said_host = last(forwarded_proto).lower(), last(forwarded_host)
    return said_scheme if said_scheme in SCHEMES else scheme, said_host if HOST.fullmatch(said_host) else host
