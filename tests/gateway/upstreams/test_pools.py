"""Which connection is used, how many there may be, and between which addresses."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.gateway.upstreams.origin import (
    OpenPools,
    Origin,
    begin,
    body_of,
    on_a_loop,
    only,
    ready,
    responding,
    silent,
    until,
)

from gateway.policy.rejections import UpstreamConnectError, UpstreamDisconnected, UpstreamOverloaded, UpstreamTimeout
from gateway.upstreams import Pool, ServiceResponse, pools
from gateway.upstreams.addresses import Address
from gateway.upstreams.pools import ConnectError
from gateway.upstreams.service import ServiceConnection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://things", Address(False, "things", 80, "things", "")),
        ("https://things", Address(True, "things", 443, "things", "")),
        ("http://things:8000", Address(False, "things", 8000, "things:8000", "")),
        ("https://things:8443/base", Address(True, "things", 8443, "things:8443", "/base")),
        ("http://[::1]:8000", Address(False, "::1", 8000, "[::1]:8000", "")),
        ("http://Things.Example", Address(False, "things.example", 80, "Things.Example", "")),
    ],
)
def test_a_url_is_an_address(url: str, address: Address) -> None:
    assert Address.of(url) == address


async def used(pool: Pool, connection: ServiceConnection | None = None) -> ServiceResponse:
    """Return the response, not yet released, of a connection that is used for the first time."""
    response = await ready(begin(connection or await pool.connect(1)))
    assert await body_of(response) == b"ok"
    return response


def connection_of(response: ServiceResponse) -> ServiceConnection:
    """Return the connection that the response came on."""
    assert response.connection is not None
    return response.connection


@on_a_loop
async def test_the_connection_that_was_used_last_is_used_first() -> None:
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as ours:
        pool = only(ours)
        assert pool.acquire_idle(repeatable=True) is None
        responses = [await used(pool) for _ in range(3)]
        one, two, three = map(connection_of, responses)
        for index in (1, 0, 2):
            assert responses[index].release()
        assert [pool.acquire_idle(repeatable=True) for _ in range(4)] == [three, one, two, None]


@on_a_loop
async def test_a_connection_that_the_service_has_closed_is_passed_over() -> None:
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as ours:
        pool = only(ours)
        responses = [await used(pool) for _ in range(2)]
        one, two = map(connection_of, responses)
        for response in responses:
            assert response.release()
        origin.wires[1].close()
        await until(lambda: two.closed)
        assert pool.acquire_idle(repeatable=True) is one
        assert pool.acquire_idle(repeatable=True) is None


@on_a_loop
async def test_a_connection_in_doubt_is_not_kept() -> None:
    async with Origin(responding(OK + OK)) as origin, OpenPools((origin.url,)) as ours:
        pool = only(ours)
        connection = await pool.connect(1)
        response = await ready(begin(connection))
        assert not response.release()
        assert pool.acquire_idle(repeatable=True) is None
        await until(lambda: connection.closed)


@on_a_loop
async def test_no_more_than_so_many_idle_connections_are_kept_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "MAX_IDLE", 2)
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as ours:
        pool = only(ours)
        responses = [await used(pool) for _ in range(3)]
        one, two, three = map(connection_of, responses)
        for response in responses:
            response.release()
        await until(lambda: one.closed)
        assert [pool.acquire_idle(repeatable=True) for _ in range(3)] == [three, two, None]


@on_a_loop
async def test_a_service_is_not_asked_with_very_many_requests_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_CONNECTIONS", 2)
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as ours:
        pool = only(ours)
        # Those that are still being made count.
        fresh = await asyncio.gather(*(pool.connect(1) for _ in range(3)), return_exceptions=True)
        one, two, busy = fresh
        assert isinstance(one, ServiceConnection)
        assert isinstance(two, ServiceConnection)
        assert isinstance(busy, UpstreamOverloaded)
        assert (busy.status, busy.headers, busy.service) == (503, {"Retry-After": "1"}, "things")
        with pytest.raises(UpstreamOverloaded):
            await pool.connect(1)
        # What is idle can be used,
        (await used(pool, one)).release()
        assert pool.acquire_idle(repeatable=True) is one
        # and what is closed makes room.
        two.abort()
        await until(lambda: two.closed)
        await used(pool)


@on_a_loop
async def test_a_connection_that_could_not_be_made_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_CONNECTIONS", 1)
    async with Origin(silent) as origin:
        gone = origin.url
    async with OpenPools((gone,)) as ours:
        for _ in range(3):
            with pytest.raises(ConnectError) as failed:
                await only(ours).connect(1)
            assert isinstance(failed.value.error, UpstreamConnectError)


@on_a_loop
async def test_a_connection_that_takes_too_long_is_late() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as ours:
        with pytest.raises(ConnectError) as failed:
            await only(ours).connect(0)
        assert isinstance(failed.value.error, UpstreamTimeout)
        assert str(failed.value) == "The things service did not respond in time. Try again later."


@on_a_loop
async def test_a_client_that_left_leaves_no_connection_behind() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as ours:
        making = asyncio.create_task(only(ours).connect(1))
        await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert not only(ours).live


@on_a_loop
async def test_all_connections_close_at_the_end() -> None:
    async with Origin(responding(OK)) as origin, OpenPools((origin.url, f"{origin.url}/b")) as ours:
        first, second = ours.of("things").pools
        response = await used(first)
        idle, busy = connection_of(response), await second.connect(1)
        response.release()
        pending = begin(busy)
        ours.close()
        await until(lambda: idle.closed and busy.closed)
        assert first.acquire_idle(repeatable=True) is None
        with pytest.raises(UpstreamDisconnected):
            await ready(pending)


def certificate(folder: Path, name_in_it: str | None = None) -> tuple[Path, Path]:
    """Return a certificate of 127.0.0.1, or of a name, that its own key has signed, and the key."""
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    if name_in_it is not None:
        names = [x509.DNSName(name_in_it)]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "things")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.mark.parametrize(("known", "host"), [(True, "127.0.0.1"), (False, "127.0.0.1"), (True, "localhost")])
def test_an_https_service_has_to_prove_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool, host: str
) -> None:
    its, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(its, key)
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(its))
    pools.tls.cache_clear()

    @on_a_loop
    async def ask() -> None:
        async with Origin(responding(OK), tls=context) as origin, OpenPools((f"https://{host}:{origin.port}",)) as ours:
            pool = only(ours)
            if known and host == "127.0.0.1":
                response = await used(pool)
                connection = connection_of(response)
                response.release()
                # The response is all there is to read: no TLS record is left over.
                assert pool.acquire_idle(repeatable=False) is connection
            else:
                with pytest.raises(ConnectError) as failed:
                    await pool.connect(5)
                assert isinstance(failed.value.error, UpstreamConnectError)

    try:
        ask()
    finally:
        pools.tls.cache_clear()
