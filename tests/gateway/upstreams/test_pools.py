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
from tests.gateway.upstreams.origin import Origin, Ours, answering, begin, body_of, on_a_loop, only, silent, until

from gateway.policy.rejections import UpstreamConnectError, UpstreamDisconnected, UpstreamOverloaded, UpstreamTimeout
from gateway.upstreams import Connection, Pool, pools
from gateway.upstreams.pools import Address, ConnectFailed

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


async def used(pool: Pool, connection: Connection | None = None) -> Connection:
    """Return a connection that has been used once."""
    connection = connection or await pool.fresh(1)
    begin(connection)
    await connection.head()
    assert await body_of(connection) == b"ok"
    return connection


@on_a_loop
async def test_the_connection_that_was_used_last_is_used_first() -> None:
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as ours:
        pool = only(ours)
        assert pool.kept(repeatable=True) is None
        one, two, three = [await used(pool) for _ in range(3)]
        for connection in (two, one, three):
            pool.release(connection)
        assert [pool.kept(repeatable=True) for _ in range(4)] == [three, one, two, None]


@on_a_loop
async def test_a_connection_that_the_service_has_closed_is_passed_over() -> None:
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as ours:
        pool = only(ours)
        one, two = await used(pool), await used(pool)
        pool.release(one)
        pool.release(two)
        origin.wires[1].close()
        await until(lambda: two.closed)
        assert pool.kept(repeatable=True) is one
        assert pool.kept(repeatable=True) is None


@on_a_loop
async def test_a_connection_in_doubt_is_not_kept() -> None:
    async with Origin(answering(OK + OK)) as origin, Ours((origin.url,)) as ours:
        pool = only(ours)
        connection = await pool.fresh(1)
        begin(connection)
        await connection.head()
        pool.release(connection)
        assert pool.kept(repeatable=True) is None
        await until(lambda: connection.closed)


@on_a_loop
async def test_no_more_than_so_many_idle_connections_are_kept_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "MAX_IDLE", 2)
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as ours:
        pool = only(ours)
        one, two, three = [await used(pool) for _ in range(3)]
        for connection in (one, two, three):
            pool.release(connection)
        await until(lambda: one.closed)
        assert [pool.kept(repeatable=True) for _ in range(3)] == [three, two, None]


@on_a_loop
async def test_a_service_is_not_asked_with_very_many_requests_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MOST", 2)
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as ours:
        pool = only(ours)
        # Those that are still being made count.
        fresh = await asyncio.gather(*(pool.fresh(1) for _ in range(3)), return_exceptions=True)
        one, two, busy = fresh
        assert isinstance(one, Connection)
        assert isinstance(two, Connection)
        assert isinstance(busy, UpstreamOverloaded)
        assert (busy.status, busy.headers, busy.service) == (503, {"Retry-After": "1"}, "things")
        with pytest.raises(UpstreamOverloaded):
            await pool.fresh(1)
        # What is idle can be used,
        pool.release(await used(pool, one))
        assert pool.kept(repeatable=True) is one
        # and what is closed makes room.
        pool.release(two)
        await until(lambda: two.closed)
        await used(pool)


@on_a_loop
async def test_a_connection_that_could_not_be_made_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MOST", 1)
    async with Origin(silent) as origin:
        gone = origin.url
    async with Ours((gone,)) as ours:
        for _ in range(3):
            with pytest.raises(ConnectFailed) as failed:
                await only(ours).fresh(1)
            assert isinstance(failed.value.refused, UpstreamConnectError)


@on_a_loop
async def test_a_connection_that_takes_too_long_is_late() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as ours:
        with pytest.raises(ConnectFailed) as failed:
            await only(ours).fresh(0)
        assert isinstance(failed.value.refused, UpstreamTimeout)
        assert str(failed.value) == "The things service did not respond in time. Try again later."


@on_a_loop
async def test_whoever_is_gone_leaves_no_connection_behind() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as ours:
        making = asyncio.create_task(only(ours).fresh(1))
        await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert not only(ours).live


@on_a_loop
async def test_addresses_take_turns_and_stand_in_for_each_other() -> None:
    async with Ours(("http://a", "http://b", "http://c")) as ours:
        turns = ["".join(pool.address.host for pool in ours.of("things")) for _ in range(4)]
        assert turns == ["abc", "bca", "cab", "abc"]


@on_a_loop
async def test_all_connections_close_at_the_end() -> None:
    async with Origin(answering(OK)) as origin, Ours((origin.url, f"{origin.url}/b")) as ours:
        first, second = ours.of("things")
        idle, busy = await used(first), await second.fresh(1)
        first.release(idle)
        begin(busy)
        ours.close()
        await until(lambda: idle.closed and busy.closed)
        assert first.kept(repeatable=True) is None
        with pytest.raises(UpstreamDisconnected):
            await busy.head()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate of 127.0.0.1 that its own key has signed, and the key."""
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
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
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
        async with Origin(answering(OK), tls=context) as origin, Ours((f"https://{host}:{origin.port}",)) as ours:
            pool = only(ours)
            if known and host == "127.0.0.1":
                connection = await used(pool)
                pool.release(connection)
                # Nothing but an answer is there to be read, of TLS's own neither.
                assert pool.kept(repeatable=False) is connection
            else:
                with pytest.raises(ConnectFailed) as failed:
                    await pool.fresh(5)
                assert isinstance(failed.value.refused, UpstreamConnectError)

    try:
        ask()
    finally:
        pools.tls.cache_clear()
