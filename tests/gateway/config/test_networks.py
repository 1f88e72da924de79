"""`allow_from` in gateway.yaml."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read, route

EXPECTED = "a network such as 10.0.0.0/8, or an address such as 192.0.2.7"


@pytest.mark.parametrize(
    ("written", "networks"),
    [
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("[192.0.2.7, '2001:db8::/32', '::1']", ["192.0.2.7/32", "2001:db8::/32", "::1/128"]),
        ("[]", []),
    ],
)
def test_networks_and_addresses_are_read(tmp_path: Path, written: str, networks: list[str]) -> None:
    found = read(tmp_path, route(allow_from=written)).routes[0].allow_from
    assert list(found) == [ip_network(each) for each in networks]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10.0.0.1/8", f"{EXPECTED}; write 10.0.0.0/8 for the network of 10.0.0.1/8"),
        ("office", EXPECTED),
        ("10.0.0.0/40", EXPECTED),
        ("5", EXPECTED),
    ],
)
def test_what_is_not_a_network_is_a_fault(tmp_path: Path, written: str, expected: str) -> None:
    (found,) = faults(tmp_path, route(allow_from=f"[{written}]"))
    assert found.endswith(f"expected {expected}")
