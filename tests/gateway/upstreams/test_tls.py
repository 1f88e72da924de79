"""TLS towards a service: whom the gateway believes, and how it identifies itself."""

import ssl
from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read
from tests.gateway.upstreams.origin import OpenPools, Origin, on_a_loop, responding
from tests.gateway.upstreams.requests import OK
from tests.gateway.upstreams.test_ejection import outcome
from tests.gateway.upstreams.test_pools import certificate

from gateway.config import TLS


def serving(its: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """Return the service's side; with `clients`, they have to identify themselves by that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(its, key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


@pytest.mark.parametrize(("knows", "expected"), [(True, 200), (False, "upstream_unreachable")])
def test_the_services_authority_may_be_one_of_its_own(tmp_path: Path, knows: bool, expected: int | str) -> None:
    its, key = certificate(tmp_path)

    @on_a_loop
    async def run() -> None:
        async with (
            Origin(responding(OK), tls=serving(its, key)) as origin,
            OpenPools((f"https://127.0.0.1:{origin.port}",), tls=TLS(ca=str(its)) if knows else TLS()) as pools,
        ):
            assert await outcome(pools) == expected

    run()


@pytest.mark.parametrize(("name", "expected"), [("orders.internal", 200), ("users.internal", "upstream_unreachable")])
def test_the_certificate_has_to_have_the_name_that_is_configured(
    tmp_path: Path, name: str, expected: int | str
) -> None:
    its, key = certificate(tmp_path, "orders.internal")

    @on_a_loop
    async def run() -> None:
        async with (
            Origin(responding(OK), tls=serving(its, key)) as origin,
            OpenPools((f"https://127.0.0.1:{origin.port}",), tls=TLS(ca=str(its), server_name=name)) as pools,
        ):
            assert await outcome(pools) == expected

    run()


@pytest.mark.parametrize("identified", [True, False])
def test_the_gateway_identifies_itself_by_its_certificate(tmp_path: Path, identified: bool) -> None:
    its, key = certificate(tmp_path)
    ours = tmp_path / "ours"
    ours.mkdir()
    own, own_key = certificate(ours)
    pair = {"certificate": str(own), "key": str(own_key)} if identified else {}

    @on_a_loop
    async def run() -> None:
        async with (
            Origin(responding(OK), tls=serving(its, key, own)) as origin,
            OpenPools((f"https://127.0.0.1:{origin.port}",), tls=TLS(ca=str(its), **pair)) as pools,
        ):
            # With TLS 1.3 the service rejects the client after the handshake.
            assert await outcome(pools) == (200 if identified else "upstream_disconnected")

    run()


def test_the_files_are_checked_when_the_configuration_is_loaded(tmp_path: Path) -> None:
    its, key = certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = certificate(other)
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for tls, expected in [
        (f"{{ca: {tmp_path}/none.pem}}", "a file that the gateway can read: No such file or directory"),
        ("{ca: ca.pem}", "the absolute path of a PEM file"),
        (f"{{ca: {garbage}}}", "a PEM file with the certificates of authorities"),
        (f"{{certificate: {its}}}", "both certificate and key, or neither"),
        (f"{{certificate: {its}, key: {other_key}}}", "a certificate and its key, both PEM"),
        (f"{{certificate: {garbage}, key: {key}}}", "a certificate and its key, both PEM"),
        ("{server_name: a b}", "the name in the service's certificate"),
    ]:
        text = f"version: 1\nroutes: []\nservices: {{a: {{url: https://b, tls: {tls}}}}}\n"
        (fault,) = faults(tmp_path, text)
        assert expected in fault
        assert fault.startswith("3:")
    tls = f"{{certificate: {its}, key: {key}}}"
    config = read(tmp_path, f"version: 1\nroutes: []\nservices: {{a: {{url: https://b, tls: {tls}}}}}\n")
    assert config.services["a"].tls.key == str(key)
