"""A client's connection and a service's, joined: real sockets at both ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import pytest
from tests.gateway.proxy.client import Client, opened, request_of
from tests.gateway.runtimes import runtime
from tests.gateway.upstreams.origin import OpenPools, Origin, Wire, begin, on_a_loop, only, ready, until

from gateway.policy.access import Identity
from gateway.policy.rejections import UpstreamProtocolError
from gateway.proxy import tunnels
from gateway.proxy.tunnels import Direction, Tunnel, Tunnels, is_handshake
from gateway.upstreams import Connection, ServiceResponse
from gateway.upstreams.service import ServiceConnection

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\n"
USER = Identity("2", "user", "default", "s2")
OTHER = Identity("3", "other", "default", "s3")
MIB = 2**20


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("Upgrade", "websocket"), ("Connection", "Upgrade")], True),
        ([("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")], True),
        ([("upgrade", "websocket"), ("connection", "keep-alive"), ("connection", "\tupgrade ")], True),
        ([("upgrade", "websocket")], False),
        ([("connection", "upgrade")], False),
        ([("upgrade", "h2c"), ("connection", "upgrade")], False),
        ([("upgrade", "websocket, h2c"), ("connection", "upgrade")], False),
        ([("upgrade", "websocket"), ("upgrade", "websocket"), ("connection", "upgrade")], False),
        ([("upgrade", "websocket"), ("connection", "upgraded")], False),
        ([], False),
    ],
)
def test_what_asks_for_a_websocket_is_clear(pairs: list[tuple[str, str]], expected: bool) -> None:
    assert is_handshake(pairs) is expected


class ClientSide(Connection):
    """The gateway's end of a client's connection that a tunnel has taken over."""

    def data_received(self, data: bytes) -> None:
        assert self.tunnel
        self.tunnel.forward(self, data)


@dataclass
class Joined:
    """A tunnel: `client` is the client's socket, `wire` the service's connection."""

    tunnel: Tunnel
    client: socket.socket
    wire: Wire
    connection: ServiceConnection
    side: ClientSide
    response: ServiceResponse

    async def client_sends(self, data: bytes) -> None:
        """Send from the client."""
        await asyncio.get_running_loop().sock_sendall(self.client, data)

    async def client_hears(self, size: int) -> bytes:
        """Return what the client gets."""
        got = b""
        while len(got) < size and (data := await asyncio.get_running_loop().sock_recv(self.client, MIB)):
            got += data
        return got


@asynccontextmanager
async def joined(identity: Identity | None = None, *, first: bytes = b"", within: float = 5) -> AsyncIterator[Joined]:
    """A client and a service that have become a WebSocket."""
    loop = asyncio.get_running_loop()
    wires: list[Wire] = []

    async def behave(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(SWITCH + first)
        wires.append(wire)
        await asyncio.Event().wait()

    near, far = socket.socketpair()
    far.setblocking(False)
    with far:
        async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
            connection = await only(pools).connect(1)
            response = await ready(begin(connection, within=within, may_upgrade=True))
            assert (response.status, response.is_upgraded, dict(response.headers)["X-A"]) == (101, True, "1")
            await until(lambda: wires)
            _, side = await loop.create_connection(lambda: ClientSide(loop), sock=near)
            tunnel = Tunnel(side, connection, identity)
            yield Joined(tunnel, far, wires[0], connection, side, response)
            tunnel.end()
            # Nothing of it is kept for another request.
            assert not response.release()
            await until(lambda: connection.closed and side.transport.is_closing())


@on_a_loop
async def test_bytes_go_both_ways_as_they_come() -> None:
    async with joined() as pair:
        for number in range(3):
            await pair.client_sends(b"ping %d" % number)
            assert await pair.wire.reader.readexactly(6) == b"ping %d" % number
            await pair.wire.send(b"pong %d" % number)
            assert await pair.client_hears(6) == b"pong %d" % number


@on_a_loop
async def test_the_deadline_of_the_handshake_is_not_the_tunnel_s() -> None:
    async with joined(within=0.6) as pair:
        await asyncio.sleep(0.7)
        await pair.client_sends(b"ping")
        assert await pair.wire.reader.readexactly(4) == b"ping"


@on_a_loop
async def test_bytes_after_the_response_are_kept_for_the_tunnel() -> None:
    async with joined(first=b"first") as pair:
        await until(lambda: pair.response.rest == b"first")
        pair.tunnel.forward(pair.connection, pair.response.rest)
        await pair.wire.send(b" second")
        assert await pair.client_hears(12) == b"first second"


@on_a_loop
async def test_bytes_between_the_response_and_the_tunnel_are_kept() -> None:
    async def behave(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(SWITCH)
        await wire.send(b"first")
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = await ready(begin(connection, may_upgrade=True))
        await until(lambda: response.rest == b"first")
        assert not response.release()


@pytest.mark.parametrize("upgrade", [b"", b"Upgrade: h2c\r\n", b"Upgrade: websocket\r\nUpgrade: h2c\r\n"])
@on_a_loop
async def test_a_switch_to_anything_else_is_malformed(upgrade: bytes) -> None:
    async def behave(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" + upgrade + b"\r\n")
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        with pytest.raises(UpstreamProtocolError):
            await ready(begin(connection, may_upgrade=True))


@on_a_loop
async def test_a_client_that_leaves_is_gone_for_the_service_after_its_last_bytes() -> None:
    async with joined() as pair:
        open_ = Tunnels(runtime().revocations)
        keeping = asyncio.create_task(open_.keep(pair.tunnel))
        await pair.client_sends(b"bye")
        pair.client.shutdown(socket.SHUT_WR)
        assert await pair.wire.ended() == b"bye"
        await keeping
        assert not open_.open


@on_a_loop
async def test_a_service_that_leaves_is_gone_for_the_client_after_its_last_bytes() -> None:
    async with joined() as pair:
        open_ = Tunnels(runtime().revocations)
        keeping = asyncio.create_task(open_.keep(pair.tunnel))
        await pair.wire.send(b"bye")
        pair.wire.close()
        assert await pair.client_hears(4) == b"bye"
        await keeping
        assert not open_.open


@on_a_loop
async def test_a_client_that_does_not_read_holds_the_service_back() -> None:
    async with joined() as pair:
        sending = asyncio.create_task(pair.wire.send(b"x" * 16 * MIB))
        await until(lambda: not pair.connection.transport.is_reading())
        assert pair.side.transport.get_write_buffer_size() < 2 * MIB
        assert len(await pair.client_hears(16 * MIB)) == 16 * MIB
        await sending
        assert pair.connection.transport.is_reading()


@on_a_loop
async def test_a_service_that_does_not_read_holds_the_client_back() -> None:
    async with joined() as pair:
        sending = asyncio.create_task(pair.client_sends(b"x" * 16 * MIB))
        await until(lambda: not pair.side.transport.is_reading())
        assert pair.connection.transport.get_write_buffer_size() < 2 * MIB
        assert len(await pair.wire.reader.readexactly(16 * MIB)) == 16 * MIB
        await sending
        await until(pair.side.transport.is_reading)


@on_a_loop
async def test_one_that_ends_while_it_is_full_ends() -> None:
    async with joined() as pair:
        sending = asyncio.create_task(pair.wire.send(b"x" * 16 * MIB))
        await until(lambda: not pair.connection.transport.is_reading())
        pair.tunnel.end()
        # Told so once more while it closes, neither minds.
        for full in (True, False):
            pair.tunnel.throttle(pair.side, full)
            pair.tunnel.throttle(pair.connection, full)
        sending.cancel()
        pair.client.close()
        await until(lambda: pair.connection.closed)


@on_a_loop
async def test_one_that_takes_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "LINGER", 0.05)
    async with joined() as pair:
        saying = asyncio.create_task(pair.wire.send(b"x" * 16 * MIB))
        await until(lambda: not pair.connection.transport.is_reading())
        pair.tunnel.end()
        assert pair.side.transport.get_write_buffer_size() > 0
        await until(lambda: pair.connection.closed and pair.side.closed)
        saying.cancel()


@on_a_loop
async def test_a_cancelled_tunnel_is_closed() -> None:
    async with joined() as pair:
        open_ = Tunnels(runtime().revocations)
        keeping = asyncio.create_task(open_.keep(pair.tunnel))
        await until(lambda: open_.open)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        await until(lambda: pair.connection.closed)
        assert not open_.open


def test_a_tunnel_ends_with_its_session_and_no_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "INTERVAL", 0.01)

    @on_a_loop
    async def end() -> None:
        open_ = Tunnels(runtime().revocations)
        async with joined(USER) as mine, joined(OTHER) as other, joined() as public:
            keeping = [asyncio.create_task(open_.keep(pair.tunnel)) for pair in (mine, other, public)]
            await asyncio.sleep(0.03)
            assert not keeping[0].done()
            runtime().revocations.ended = frozenset({"s2"})
            await keeping[0]
            assert await mine.client_hears(1) == b""
            assert open_.open == {other.tunnel, public.tunnel}
            # They still work, and are still looked after.
            await other.client_sends(b"ping")
            assert await other.wire.reader.readexactly(4) == b"ping"
            runtime().revocations.ended = frozenset({"s3"})
            await keeping[1]
            public.tunnel.end()
            await keeping[2]
            # The checks stop while no tunnel is open, and start again with the next one.
            await until(lambda: open_.looking is None)
        async with joined(USER) as again:
            runtime().revocations.ended = frozenset()
            keep = asyncio.create_task(open_.keep(again.tunnel))
            await until(lambda: open_.looking)
            runtime().revocations.ended = frozenset({"s2"})
            await keep
            await until(lambda: open_.looking is None)

    end()


# A worker that stops.


def frame(opcode: int, payload: bytes, *, masked: bool = False) -> bytes:
    """Return a whole frame (RFC 6455, section 5.2)."""
    bit, mask = (0x80, b"mask") if masked else (0, b"")
    size = len(payload)
    if size < 126:
        length = bytes([bit | size])
    elif size < 2**16:
        length = bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([bit | 127]) + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + length + mask + payload


TO_CLIENT = b"\x88\x02" + (1012).to_bytes(2, "big")


def unmasked(data: bytes) -> bytes:
    """Return a masked control frame without its mask."""
    assert data[1] & 0x80
    mask, payload = data[2:6], data[6:]
    return bytes([data[0], data[1] & 0x7F]) + bytes(byte ^ key for byte, key in zip(payload, mask, strict=False))


class Sink:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.got.append(data)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 10**6])
def test_a_close_frame_goes_out_between_two_frames_wherever_the_stop_comes(step: int, masked: bool) -> None:
    frames = [frame(2, bytes(size), masked=masked) for size in (0, 1, 125, 126, 300, 65535, 65536)]
    said = b"".join(frames)
    ends = [sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    # Cut into pieces of `step` bytes around the ends of frames, and whole between them.
    cuts = [at for at in range(0, len(said), step) if min(abs(at - end) for end in ends) <= max(step, 16)]
    pieces = [said[start:end] for start, end in pairwise([*cuts, len(said)])]
    for stop, heard in enumerate([*cuts, len(said)]):
        sink = Sink()
        direction = Direction(cast("asyncio.Transport", sink))
        for piece in pieces[:stop]:
            direction.forward(piece)
        direction.close(TO_CLIENT)
        for piece in pieces[stop:]:
            direction.forward(piece)
        first_end = min(end for end in ends if end >= heard)
        assert b"".join(sink.got) == said[:first_end] + TO_CLIENT, (step, stop)


@on_a_loop
async def test_both_sides_of_a_tunnel_get_a_close_frame_when_the_worker_stops() -> None:
    async with joined() as pair:
        pair.tunnel.close()
        pair.tunnel.close()
        assert await pair.client_hears(4) == TO_CLIENT
        assert unmasked(await pair.wire.reader.readexactly(8)) == TO_CLIENT
        # What either sends now is not passed on: nothing follows a close frame.
        await pair.client_sends(frame(8, b"\x03\xf4", masked=True))
        await pair.wire.send(frame(1, b"late"))
        assert await pair.wire.ended() == b""
        assert await pair.client_hears(1) == b""


@on_a_loop
async def test_a_frame_under_way_is_finished_before_the_close_frame() -> None:
    async with joined() as pair:
        whole = frame(1, b"hello")
        await pair.wire.send(whole[:3])
        assert await pair.client_hears(3) == whole[:3]
        pair.tunnel.close()
        await pair.wire.send(whole[3:] + frame(1, b"late"))
        assert await pair.client_hears(8) == whole[3:] + TO_CLIENT


@on_a_loop
async def test_a_frame_that_does_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "LINGER", 0.05)
    async with joined() as pair:
        await pair.wire.send(frame(1, b"hello")[:3])
        assert len(await pair.client_hears(3)) == 3
        pair.tunnel.close()
        assert await pair.client_hears(1) == b""


# At the door.


HANDSHAKE = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-key", "x")]


@pytest.mark.parametrize(
    ("method", "version", "route", "asked"),
    [
        ("GET", "1.1", "/ws", True),
        ("POST", "1.1", "/ws", False),
        ("GET", "1.0", "/ws", False),
        ("GET", "1.1", "/plain", False),
    ],
)
@pytest.mark.parametrize("idle", [False, True])
def test_a_handshake_is_sent_on_where_it_can_be_accepted(
    configure: Callable[..., None], idle: bool, method: str, version: str, route: str, asked: bool
) -> None:
    @on_a_loop
    async def shake() -> None:
        async def behave(wire: Wire) -> None:
            if idle:
                await wire.request()
                await wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            head = await wire.reader.readuntil(b"\r\n\r\n")
            assert (b"\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" in head) is asked
            assert b"\r\nsec-websocket-key: x\r\n" in head
            if not asked:
                await wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                return
            await wire.send(SWITCH.replace(b"X-A", b"Sec-WebSocket-Accept") + b"hello")
            assert await wire.reader.readexactly(4) == b"ping"
            await wire.send(b"pong")

        async with Origin(behave) as origin:
            configure(
                services={"things": {"url": origin.url}},
                routes=[
                    {"path": "/ws", "methods": ["GET", "POST"], "service": "things", "allow": "public",
                     "websocket": True},
                    {"path": "/plain", "service": "things", "allow": "public"},
                ],
            )  # fmt: skip
            async with opened() as door, Client(door) as client:
                if idle:
                    assert (await client.ask("GET", "/plain")).status == 204
                await client.send(request_of(method, route, HANDSHAKE, version=version))
                if not asked:
                    assert (await client.reply()).status == 204
                    return
                got = await client.reader.readuntil(b"hello")
                head = got.lower()
                assert head.startswith(b"http/1.1 101 switching protocols\r\nupgrade: websocket\r\n")
                assert b"\r\nsec-websocket-accept: 1\r\n" in head
                assert head.count(b"\r\nx-request-id: ") == 1
                await client.send(b"ping")
                assert await client.reader.read() == b"pong"

    shake()
