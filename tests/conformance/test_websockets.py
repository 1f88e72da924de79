"""WebSockets: the handshake, messages, the tunnel's bytes, and the end with the session."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from tests.conformance.client import ConnectionBroken
from tests.conformance.doors import SERVICE
from tests.conformance.gateways import Gateway
from tests.conformance.wire import (
    KIB,
    MIB,
    PATIENCE,
    Call,
    Service,
    Sum,
    Wire,
    answer,
    ask,
    content,
    forget_peak,
    memory,
    on_a_loop,
    once,
    sockets,
    sum_of,
    until,
    until_steady,
)
from tests.waiting import ENDED_WITHIN
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

# What RFC 6455, section 1.3 has for an example.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")


SWITCHED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()


def bearer(token: str) -> str:
    """Return the header with the token."""
    return f"Authorization: Bearer {token}"


@contextlib.asynccontextmanager
async def serving(handler: Any, **how: Any) -> AsyncIterator[Server]:
    """A service that speaks WebSocket."""
    async with serve(handler, "127.0.0.1", SERVICE, **how) as server:
        yield server


def to(gateway: Gateway, path: str = "/ws/echo", token: str | None = None, **how: Any) -> connect:
    """Return a client's connection to be."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connect(f"ws://127.0.0.1:{gateway.port}{path}", proxy=None, additional_headers=headers, **how)


async def echo(socket: ServerConnection) -> None:
    """Send back what comes, as it comes."""
    async for message in socket:
        await socket.send(message)


@on_a_loop(within=20)
async def test_text_and_binary_messages_pass_unchanged(gateway: Gateway) -> None:
    async with serving(echo), to(gateway) as socket:
        for message in ["text", "", "Grüße", b"bytes", b"", bytes(range(256))]:
            await socket.send(message)
            assert await socket.recv() == message


@on_a_loop(within=20)
async def test_messages_of_one_mib_pass_unchanged(gateway: Gateway) -> None:
    messages = list(content(4 * MIB, MIB))
    # Compression makes random bytes a little larger.
    async with serving(echo, max_size=2 * MIB), to(gateway, max_size=2 * MIB) as socket:

        async def send() -> None:
            for message in messages:
                await socket.send(message)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            assert [await socket.recv() for _ in messages] == messages


@on_a_loop(within=20)
async def test_a_fragmented_message_keeps_its_fragments(gateway: Gateway) -> None:
    fragments = ["one", "two", "three"]

    async def back_in_fragments(socket: ServerConnection) -> None:
        got = [fragment async for fragment in socket.recv_streaming()]
        await socket.send(got)

    async with serving(back_in_fragments), to(gateway) as socket:
        await socket.send(fragments)
        got = [fragment async for fragment in socket.recv_streaming()]
        assert [fragment for fragment in got if fragment] == fragments


@on_a_loop(within=20)
async def test_either_side_can_ping_the_other(gateway: Gateway) -> None:
    async def pings(socket: ServerConnection) -> None:
        await (await socket.ping(b"service"))
        await socket.send("ponged")
        await socket.wait_closed()

    async with serving(pings), to(gateway) as socket:
        assert await socket.recv() == "ponged"
        await (await socket.ping(b"client"))


@on_a_loop(within=20)
async def test_client_and_service_negotiate_subprotocol_and_compression(gateway: Gateway) -> None:
    found: list[ServerConnection] = []

    async def handler(socket: ServerConnection) -> None:
        found.append(socket)
        await echo(socket)

    chat, other = Subprotocol("chat.v2"), Subprotocol("chat.v1")
    async with (
        serving(handler, subprotocols=[chat, other]),
        to(gateway, subprotocols=[Subprotocol("chat.v3"), chat, other]) as socket,
    ):
        await socket.send("x" * 100_000)
        assert await socket.recv() == "x" * 100_000
        for end in [socket, *found]:
            assert end.subprotocol == chat
            assert [extension.name for extension in end.protocol.extensions] == ["permessage-deflate"]


@on_a_loop(within=20)
async def test_the_header_that_is_for_the_gateway_does_not_reach_the_client(gateway: Gateway) -> None:
    def with_headers(socket: ServerConnection, request: Request, response: Response) -> None:
        response.headers["Audit-Detail"] = "a change"
        response.headers["X-Kept"] = "2"

    async with serving(echo, process_response=with_headers), to(gateway) as socket:
        assert socket.response
        assert (socket.response.headers.get("X-Kept"), socket.response.headers.get("Audit-Detail")) == ("2", None)


@on_a_loop(within=20)
async def test_close_codes_and_reasons_pass_in_both_directions(gateway: Gateway) -> None:
    ends: list[tuple[int | None, str | None]] = []

    async def handler(socket: ServerConnection) -> None:
        if socket.request and socket.request.path == "/ws/service-ends":
            await socket.close(4001, "the service's reason")
            return
        await socket.wait_closed()
        ends.append((socket.close_code, socket.close_reason))

    async with serving(handler):
        async with to(gateway, "/ws/service-ends") as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (4001, "the service's reason")
        async with to(gateway, "/ws/client-ends") as socket:
            await socket.close(4002, "the client's reason")
        await until(lambda: bool(ends), "the service knows the end")
        assert ends == [(4002, "the client's reason")]


@on_a_loop(within=20)
async def test_a_client_that_disconnects_is_disconnected_from_the_service(gateway: Gateway) -> None:
    codes: list[int | None] = []

    async def handler(socket: ServerConnection) -> None:
        await socket.send("hello")
        await socket.wait_closed()
        codes.append(socket.close_code)

    async with serving(handler):
        async with to(gateway) as socket:
            await socket.recv()
            socket.transport.abort()
        await until(lambda: codes == [CloseCode.ABNORMAL_CLOSURE], "the service knows")


@on_a_loop(within=20)
async def test_a_service_that_disconnects_is_disconnected_from_the_client(gateway: Gateway) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send("hello")
        socket.transport.abort()

    async with serving(handler), to(gateway) as socket:
        await socket.recv()
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == CloseCode.ABNORMAL_CLOSURE


@on_a_loop(within=20)
async def test_the_handshake_that_the_service_receives_identifies_the_user(gateway: Gateway) -> None:
    async def says_who(socket: ServerConnection) -> None:
        assert socket.request
        headers = socket.request.headers
        for name in ["Request-User-Id", "Authorization", "X-Request-Id", "X-Forwarded-For", "X-Forwarded-Host"]:
            await socket.send("|".join(headers.get_all(name)))

    token = gateway.token("7", "admin")
    async with serving(says_who), to(gateway, "/ws-users/who", token) as socket:
        user_id, authorization, request_id, address, host = [str(await socket.recv()) for _ in range(5)]
    assert (user_id, address, host) == ("7", "127.0.0.1", f"127.0.0.1:{gateway.port}")
    assert len(request_id) == 32
    _, key = gateway.signing_key()
    scheme, _, passport = authorization.partition(" ")
    claims = jwt.decode(passport, key.public_key(), ["ES256"], audience="one")
    assert (scheme, claims["sub"], claims["role"], claims["token_type"]) == ("Bearer", "7", "admin", "passport")


@on_a_loop(within=20)
async def test_a_handshake_without_access_is_rejected_with_a_problem(gateway: Gateway) -> None:
    handshakes = []

    async def reached(socket: ServerConnection) -> None:
        handshakes.append(socket)

    async with serving(reached):
        for path, token, status in [
            ("/ws-users/x", None, 401),
            ("/ws-users/x", "nonsense", 401),
            ("/ws-admins/x", gateway.token("2", "default"), 403),
            ("/nowhere", None, 404),
        ]:
            with pytest.raises(InvalidStatus) as refused:
                async with to(gateway, path, token):
                    pass
            response = refused.value.response
            assert response.status_code == status, path
            assert response.headers["Content-Type"] == "application/problem+json"
    assert handshakes == []


@on_a_loop(within=20)
async def test_a_service_s_rejection_of_the_handshake_reaches_the_client(gateway: Gateway) -> None:
    async def rejects(call: Call) -> None:
        await call.wire.send(answer(b"not you", "418 No", "X-Reason: mood"))

    async with Service(SERVICE, rejects), await Wire.to(gateway.port) as wire:
        reply = await wire.gets(ask("GET /ws/refused", *HANDSHAKE))
        assert (reply.status, reply.body, reply.get("X-Reason")) == (418, b"not you", "mood")
        # It is a response like any other, and the connection stays open.
        assert (await wire.gets(ask("GET /ws/refused", *HANDSHAKE))).status == 418


@on_a_loop(within=20)
async def test_a_handshake_with_a_service_that_is_down_is_a_502(gateway: Gateway) -> None:
    reply = await once(gateway.port, ask("GET /ws-down", *HANDSHAKE))
    assert (reply.status, reply.get("Content-Type")) == (502, "application/problem+json")
    assert reply.json()["service"] == "down"


@on_a_loop(within=20)
async def test_a_route_without_websocket_ignores_the_upgrade(gateway: Gateway) -> None:
    async def no_upgrade(call: Call) -> None:
        assert not call.all("Upgrade")
        assert not call.all("Connection")
        await call.wire.send(answer(b"plain"))

    async with Service(SERVICE, no_upgrade):
        reply = await once(gateway.port, ask("GET /large/plain", *HANDSHAKE))
        assert (reply.status, reply.body) == (200, b"plain")


@on_a_loop(within=20)
async def test_a_request_on_a_websocket_route_without_a_handshake_is_forwarded_as_plain_http(gateway: Gateway) -> None:
    async def no_upgrade(call: Call) -> None:
        assert not call.all("Upgrade")
        await call.body()
        await call.wire.send(answer(b"plain"))

    requests = [
        ask("GET /ws/plain"),
        ask("GET /ws/plain", "Connection: Upgrade"),
        ask("GET /ws/plain", "Upgrade: websocket"),
        ask("GET /ws/plain", "Upgrade: h2c", "Connection: Upgrade"),
        ask("GET /ws/plain", "Upgrade: websocket, h2c", "Connection: Upgrade"),
        ask("GET /ws/plain", *HANDSHAKE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ]
    async with Service(SERVICE, no_upgrade):
        for request in requests:
            reply = await once(gateway.port, request)
            assert (reply.status, reply.body) == (200, b"plain"), request


@on_a_loop(within=20)
async def test_an_upgrade_request_with_a_body_is_a_400(gateway: Gateway) -> None:
    reply = await once(gateway.port, ask("POST /ws/plain", *HANDSHAKE, body=b"body"))
    assert (reply.status, reply.get("Connection")) == (400, "close")


@on_a_loop(within=20)
async def test_a_service_that_switches_protocols_without_being_asked_is_a_502(gateway: Gateway) -> None:
    async def switches(call: Call) -> None:
        protocol = call.target.rpartition("/")[2]
        await call.wire.send(SWITCHED.replace(b"websocket", protocol.encode()) + b"\x81\x05hello")
        await call.wire.some()

    requests = [
        ask("GET /large/websocket"),
        ask("GET /large/websocket", *HANDSHAKE),
        ask("GET /ws/websocket"),
        ask("GET /ws/h2c", *HANDSHAKE),
    ]
    async with Service(SERVICE, switches) as service:
        for request in requests:
            reply = await once(gateway.port, request)
            assert (reply.status, reply.get("Content-Type")) == (502, "application/problem+json"), request
        await until(lambda: not service.open, "none of the connections is kept")


@on_a_loop(within=20)
async def test_bytes_sent_together_with_the_handshake_or_its_response_are_forwarded_first(gateway: Gateway) -> None:
    async def switches(call: Call) -> None:
        await call.wire.send(SWITCHED + b"early from the service")
        assert await call.wire.exactly(21) == b"early from the client"
        assert await call.wire.ends()

    async with Service(SERVICE, switches), await Wire.to(gateway.port) as wire:
        await wire.send(ask("GET /ws/early", *HANDSHAKE) + b"early from the client")
        head = await wire.head()
        assert (head.status, head.get("Sec-WebSocket-Accept")) == (101, ACCEPT)
        assert await wire.exactly(22) == b"early from the service"


@on_a_loop(within=30)
async def test_a_websocket_client_that_does_not_read_holds_the_service_back(gateway: Gateway, worker: int) -> None:
    size, sent = 64 * MIB, 0

    async def floods(call: Call) -> None:
        nonlocal sent
        await call.wire.send(SWITCHED)
        for piece in content(size):
            await call.wire.send(piece)
            sent += len(piece)
        await call.wire.flush()
        raise ConnectionBroken

    async with Service(SERVICE, floods), await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
        before = forget_peak(worker)
        await wire.send(ask("GET /ws/flood", *HANDSHAKE))
        assert (await wire.head()).status == 101
        assert await until_steady(lambda: sent) < size
        assert memory(worker, "VmHWM") - before < 8 * MIB
        got = Sum()
        async for piece in wire.counted(size):
            got.add(piece)
        assert got == sum_of(size)


@on_a_loop(within=30)
async def test_a_websocket_service_that_does_not_read_holds_the_client_back(gateway: Gateway, worker: int) -> None:
    size, sent = 64 * MIB, 0
    reads, got = asyncio.Event(), Sum()

    async def takes(call: Call) -> None:
        await call.wire.send(SWITCHED)
        await reads.wait()
        async for piece in call.wire.counted(size):
            got.add(piece)
        await call.wire.send(b"all")
        await call.wire.some()

    async def floods(wire: Wire) -> None:
        nonlocal sent
        for piece in content(size):
            await wire.send(piece)
            sent += len(piece)

    async with (
        Service(SERVICE, takes, limit=64 * KIB),
        await Wire.to(gateway.port) as wire,
        asyncio.TaskGroup() as tasks,
    ):
        before = forget_peak(worker)
        await wire.send(ask("GET /ws/flood", *HANDSHAKE))
        assert (await wire.head()).status == 101
        tasks.create_task(floods(wire))
        assert await until_steady(lambda: sent) < size
        assert memory(worker, "VmHWM") - before < 8 * MIB
        reads.set()
        assert await wire.exactly(3) == b"all"
        assert got == sum_of(size)


def end_session(gateway: Gateway, session: str) -> None:
    """Store that the session has ended, as a logout does."""
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    with contextlib.closing(sqlite3.connect(gateway.var / "gateway" / "sessions.sqlite3", timeout=PATIENCE)) as store:
        store.execute(
            "INSERT INTO identity_session (id, user_id, session_epoch, refresh_jti, created_at, last_used_at,"
            " expires_at, ended_at) VALUES (?, '2', 0, '', ?, ?, '2100-01-01 00:00:00', ?)",
            (session, now, now, now),
        )
        store.commit()


@on_a_loop(within=20)
async def test_a_websocket_ends_with_its_session_and_others_stay_open(gateway: Gateway) -> None:
    session = uuid4().hex
    async with (
        serving(echo),
        to(gateway, "/ws-users/ended", gateway.token("2", sid=session)) as ended,
        to(gateway, "/ws-users/other", gateway.token("2")) as other,
        to(gateway, "/ws/anyones") as anyones,
    ):
        await ended.send("open")
        assert await ended.recv() == "open"
        end_session(gateway, session)
        began = time.monotonic()
        with pytest.raises(ConnectionClosed):
            await ended.recv()
        assert time.monotonic() - began < ENDED_WITHIN
        for socket in (other, anyones):
            await socket.send("still open")
            assert await socket.recv() == "still open"
        with pytest.raises(InvalidStatus) as refused:
            async with to(gateway, "/ws-users/again", gateway.token("2", sid=session)):
                pass
        assert refused.value.response.status_code == 401


@on_a_loop(within=20)
async def test_a_websocket_whose_client_does_not_read_also_ends_with_its_session(gateway: Gateway, worker: int) -> None:
    session, gone = uuid4().hex, asyncio.Event()
    sent = 0

    async def floods(call: Call) -> None:
        nonlocal sent
        await call.wire.send(SWITCHED)
        try:
            while True:
                await call.wire.send(next(content(MIB)))
                sent += MIB
        except ConnectionBroken:
            gone.set()
            raise

    before = sockets(worker)
    async with Service(SERVICE, floods), await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
        await wire.send(ask("GET /ws-users/flood", bearer(gateway.token("2", sid=session)), *HANDSHAKE))
        assert (await wire.head()).status == 101
        await until_steady(lambda: sent)
        end_session(gateway, session)
        async with asyncio.timeout(ENDED_WITHIN):
            await gone.wait()
        # What the client has not read by now is dropped.
        await until(lambda: sockets(worker) <= before, "the client's connection is closed")
