"""What flows: events, uploads and downloads piece by piece, and WebSockets, through real gateways."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from tests.conformance.client import ConnectionBroken
from tests.conformance.gateways import DOORS, Door, Gateway, free_port
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
from tests.shares import share
from tests.waiting import ENDED_WITHIN
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

SERVICE, NOBODY = free_port(), free_port()
LONG = {"total": "60s"}
CONFIG: dict[str, Any] = {
    "services": {"one": {"url": f"http://127.0.0.1:{SERVICE}"}, "down": {"url": f"http://127.0.0.1:{NOBODY}"}},
    "routes": [
        {"path": "/http/{path...}", "service": "one", "allow": "public", "max_body": "64MiB", "timeouts": LONG},
        {"path": "/ws/{path...}", "service": "one", "allow": "public", "websocket": True},
        {"path": "/ws-users/{path...}", "service": "one", "allow": "authenticated", "websocket": True},
        {"path": "/ws-admins/{path...}", "service": "one", "allow": ["admin"], "websocket": True},
        {"path": "/ws-down", "service": "down", "allow": "public", "websocket": True},
    ],
}
# What RFC 6455, section 1.3 has for an example.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")
SWITCHED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Door, Gateway]]:
    """Both doors."""
    with contextlib.ExitStack() as running:
        yield {
            door: running.enter_context(Gateway(door, tmp_path_factory.mktemp(door) / "var", CONFIG)) for door in DOORS
        }


@pytest.fixture
def gateway(gateways: dict[Door, Gateway]) -> Gateway:
    """The fast door."""
    return gateways["fast"]


@pytest.fixture
def worker(gateway: Gateway) -> int:
    """The process id of the fast door's worker."""
    (pid,) = gateway.worker_pids()
    return pid


def bearer(token: str) -> str:
    """Return the header with the token."""
    return f"Authorization: Bearer {token}"


# HTTP.


@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_an_event_arrives_before_the_next_is_sent(gateways: dict[Door, Gateway], door: Door) -> None:
    arrived = asyncio.Semaphore(0)

    async def events(call: Call) -> None:
        await call.wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for n in range(20):
            event = b"data: %d\n\n" % n
            await call.wire.send(b"%x\r\n%b\r\n" % (len(event), event))
            await arrived.acquire()
        await call.wire.send(b"0\r\n\r\n")

    async with Service(SERVICE, events), await Wire.to(gateways[door].port) as wire:
        await wire.send(ask("GET /http/events", "Accept: text/event-stream"))
        reply = await wire.head()
        assert reply.get("Content-Type") == "text/event-stream"
        got = b""
        async for piece in wire.pieces(reply):
            got += piece
            if got.endswith(b"\n\n"):
                arrived.release()
        assert got == b"".join(b"data: %d\n\n" % n for n in range(20))


@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_an_answer_that_ends_with_its_connection_comes_as_it_goes(
    gateways: dict[Door, Gateway], door: Door
) -> None:
    arrived = asyncio.Semaphore(0)

    async def pieces(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(5):
            await call.wire.send(b"piece")
            await arrived.acquire()
        raise ConnectionBroken

    async with Service(SERVICE, pieces), await Wire.to(gateways[door].port) as wire:
        await wire.send(ask("GET /http/pieces"))
        got = b""
        async for piece in wire.pieces(await wire.head()):
            got += piece
            if not len(got) % 5:
                arrived.release()
        assert got == b"piece" * 5


@on_a_loop(within=30)
async def test_an_upload_of_more_than_is_held_goes_on_piece_by_piece(gateway: Gateway) -> None:
    taken = Sum()

    async def takes(call: Call) -> None:
        assert call.all("Transfer-Encoding") == ["chunked"]
        async for piece in call.pieces():
            taken.add(piece)
        await call.wire.send(answer(b"%d" % taken.crc))

    async with Service(SERVICE, takes), await Wire.to(gateway.port) as wire:
        await wire.send(ask("POST /http/up", "Transfer-Encoding: chunked"))
        sent = 0
        for piece in content(20 * 100 * KIB, 100 * KIB):
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += len(piece)
            if sent > MIB:
                await until(lambda: taken.size == sent, "what was sent has reached the service")  # noqa: B023
        await wire.send(b"0\r\n\r\n")
        assert (await wire.reply()).body == b"%d" % sum_of(sent).crc


@on_a_loop(within=30)
async def test_an_answer_that_comes_before_the_uploads_end_reaches_the_client_who_still_sends(gateway: Gateway) -> None:
    async def refuses(call: Call) -> None:
        if call.target == "/http/next":
            await call.wire.send(answer(b"next"))
            return
        await call.wire.exactly(100 * KIB)
        await call.wire.send(answer(b"enough", "413 Content Too Large"))
        # Until the gateway closes; whoever closes first with bytes unread may take the answer away.
        while await call.wire.some():
            pass
        raise ConnectionBroken

    async def sends_on(wire: Wire) -> None:
        with contextlib.suppress(ConnectionBroken):
            for piece in content(16 * MIB):
                await wire.send(piece)

    async with Service(SERVICE, refuses) as service:
        for _ in range(5):
            async with await Wire.to(gateway.port) as wire, asyncio.TaskGroup() as tasks:
                await wire.send(ask("POST /http/up", f"Content-Length: {16 * MIB}"))
                tasks.create_task(sends_on(wire))
                reply = await wire.reply()
                assert (reply.status, reply.body) == (413, b"enough")
        # The connections to the service are in doubt, and none is used again.
        used = service.connections
        assert (await once(gateway.port, ask("GET /http/next"))).body == b"next"
        assert service.connections == used + 1


@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=60)
async def test_an_answer_at_the_head_of_an_upload_is_not_lost_where_the_service_then_closes(
    gateways: dict[Door, Gateway], door: Door
) -> None:
    async def refuses(call: Call) -> None:
        await call.wire.send(answer(b"enough", "413 Content Too Large", "Connection: close"))
        # Closed with bytes unread: the gateway's connection is reset while it still writes.
        raise ConnectionBroken

    async def sends(wire: Wire) -> None:
        with contextlib.suppress(ConnectionBroken):
            for piece in content(5 * MIB):
                await wire.send(piece)

    async with Service(SERVICE, refuses):
        got = []
        for _ in range(40):
            async with await Wire.to(gateways[door].port) as wire, asyncio.TaskGroup() as tasks:
                await wire.send(ask("POST /http/up", f"Content-Length: {5 * MIB}"))
                tasks.create_task(sends(wire))
                got.append((await wire.reply()).status)
        assert got == [413] * 40


@on_a_loop(within=30)
async def test_a_refusal_of_a_body_too_large_reaches_the_client_who_sends_it_all(gateway: Gateway) -> None:
    size = 65 * MIB

    async def sends(wire: Wire) -> None:
        with contextlib.suppress(ConnectionBroken):
            for piece in content(size):
                await wire.send(piece)

    for _ in range(5):
        async with await Wire.to(gateway.port) as wire, asyncio.TaskGroup() as tasks:
            await wire.send(ask("POST /http/up", f"Content-Length: {size}"))
            tasks.create_task(sends(wire))
            assert (await wire.reply()).status == 413


# WebSockets.


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
async def test_text_and_bytes_go_through_a_websocket(gateway: Gateway) -> None:
    async with serving(echo), to(gateway) as socket:
        for message in ["text", "", "Grüße", b"bytes", b"", bytes(range(256))]:
            await socket.send(message)
            assert await socket.recv() == message


@on_a_loop(within=20)
async def test_messages_of_a_mib_go_through_a_websocket(gateway: Gateway) -> None:
    messages = list(content(4 * MIB, MIB))
    # What cannot be compressed grows a little.
    async with serving(echo, max_size=2 * MIB), to(gateway, max_size=2 * MIB) as socket:

        async def send() -> None:
            for message in messages:
                await socket.send(message)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            assert [await socket.recv() for _ in messages] == messages


@on_a_loop(within=20)
async def test_a_message_in_fragments_stays_in_its_fragments(gateway: Gateway) -> None:
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
async def test_the_subprotocol_and_the_compression_are_between_client_and_service(gateway: Gateway) -> None:
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
async def test_close_codes_go_both_ways(gateway: Gateway) -> None:
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
async def test_a_client_that_is_gone_is_gone_for_the_service_too(gateway: Gateway) -> None:
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
async def test_a_service_that_is_gone_is_gone_for_the_client_too(gateway: Gateway) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send("hello")
        socket.transport.abort()

    async with serving(handler), to(gateway) as socket:
        await socket.recv()
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == CloseCode.ABNORMAL_CLOSURE


async def many_sockets(gateway: Gateway, count: int) -> None:
    """Hold that many WebSockets, and say something on each."""
    async with serving(echo), contextlib.AsyncExitStack() as stack:
        sockets: list[ClientConnection] = []
        for start in range(0, count, 50):
            opening = [to(gateway, f"/ws/{n}", compression=None) for n in range(start, min(start + 50, count))]
            sockets += await asyncio.gather(*map(stack.enter_async_context, opening))
        await asyncio.gather(*(socket.send(f"message {n}") for n, socket in enumerate(sockets)))
        got = await asyncio.gather(*(socket.recv() for socket in sockets))
        assert got == [f"message {n}" for n in range(count)]


@on_a_loop(within=30)
async def test_two_hundred_websockets_at_once(gateway: Gateway) -> None:
    await many_sockets(gateway, 200)


@pytest.mark.long
@on_a_loop(within=120)
async def test_two_thousand_websockets_at_once(gateway: Gateway) -> None:
    await many_sockets(gateway, share(2000))


@on_a_loop(within=20)
async def test_the_service_learns_from_the_handshake_who_it_is(gateway: Gateway) -> None:
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
async def test_a_handshake_that_is_not_allowed_is_refused_with_a_problem(gateway: Gateway) -> None:
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
async def test_a_service_that_refuses_the_handshake_answers_it(gateway: Gateway) -> None:
    async def refuses(call: Call) -> None:
        await call.wire.send(answer(b"not you", "418 No", "X-Reason: mood"))

    async with Service(SERVICE, refuses), await Wire.to(gateway.port) as wire:
        reply = await wire.gets(ask("GET /ws/refused", *HANDSHAKE))
        assert (reply.status, reply.body, reply.get("X-Reason")) == (418, b"not you", "mood")
        # It is an answer like any other, and the connection goes on.
        assert (await wire.gets(ask("GET /ws/refused", *HANDSHAKE))).status == 418


@on_a_loop(within=20)
async def test_a_handshake_with_a_service_that_is_down_is_a_502(gateway: Gateway) -> None:
    reply = await once(gateway.port, ask("GET /ws-down", *HANDSHAKE))
    assert (reply.status, reply.get("Content-Type")) == (502, "application/problem+json")
    assert reply.json()["service"] == "down"


@on_a_loop(within=20)
async def test_a_route_that_does_not_say_websocket_ignores_the_upgrade(gateway: Gateway) -> None:
    async def no_upgrade(call: Call) -> None:
        assert not call.all("Upgrade")
        assert not call.all("Connection")
        await call.wire.send(answer(b"plain"))

    async with Service(SERVICE, no_upgrade):
        reply = await once(gateway.port, ask("GET /http/plain", *HANDSHAKE))
        assert (reply.status, reply.body) == (200, b"plain")


@on_a_loop(within=20)
async def test_a_request_on_a_websocket_route_that_is_no_handshake_is_none_for_the_service(gateway: Gateway) -> None:
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
        ask("POST /ws/plain", *HANDSHAKE, body=b"body"),
        ask("GET /ws/plain", *HANDSHAKE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ]
    async with Service(SERVICE, no_upgrade):
        for request in requests:
            reply = await once(gateway.port, request)
            assert (reply.status, reply.body) == (200, b"plain"), request


@on_a_loop(within=20)
async def test_a_service_that_switches_protocols_unasked_is_a_502(gateway: Gateway) -> None:
    async def switches(call: Call) -> None:
        protocol = call.target.rpartition("/")[2]
        await call.wire.send(SWITCHED.replace(b"websocket", protocol.encode()) + b"\x81\x05hello")
        await call.wire.some()

    requests = [
        ask("GET /http/websocket"),
        ask("GET /http/websocket", *HANDSHAKE),
        ask("GET /ws/websocket"),
        ask("GET /ws/h2c", *HANDSHAKE),
    ]
    async with Service(SERVICE, switches) as service:
        for request in requests:
            reply = await once(gateway.port, request)
            assert (reply.status, reply.get("Content-Type")) == (502, "application/problem+json"), request
        await until(lambda: not service.open, "none of the connections is kept")


# A tunnel, as bytes: nothing reads them.


@on_a_loop(within=20)
async def test_bytes_that_come_with_the_handshake_or_its_answer_are_the_first_to_go_through(gateway: Gateway) -> None:
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
async def test_a_client_of_a_tunnel_that_does_not_read_holds_the_service_back(gateway: Gateway, worker: int) -> None:
    size, sent = 64 * MIB, 0

    async def floods(call: Call) -> None:
        nonlocal sent
        await call.wire.send(SWITCHED)
        for piece in content(size):
            await call.wire.send(piece)
            sent += len(piece)
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
async def test_a_service_of_a_tunnel_that_does_not_read_holds_the_client_back(gateway: Gateway, worker: int) -> None:
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


# Sessions.


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
async def test_a_websocket_ends_within_2_s_of_its_session_and_no_other_does(gateway: Gateway) -> None:
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
async def test_a_websocket_whose_client_does_not_read_ends_with_its_session_too(gateway: Gateway, worker: int) -> None:
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
        # What the client has not taken by now is not for it any more.
        await until(lambda: sockets(worker) <= before, "the client's connection is closed")


def test_the_log_of_all_this_has_no_fault_of_the_gateways_own(gateways: dict[Door, Gateway]) -> None:
    for gateway in gateways.values():
        faults = [line for line in gateway.log_lines() if line["level"] in {"ERROR", "CRITICAL"} or "exc_info" in line]
        assert faults == []
        assert "Traceback" not in gateway.log.read_text()
