"""Events, uploads and downloads pass piece by piece, for programs and browsers, at both doors."""

import asyncio
import contextlib

import pytest
from tests.conformance.client import ConnectionBroken
from tests.conformance.doors import PAGE, SERVICE, Doors
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.wire import (
    KIB,
    MIB,
    Call,
    Service,
    Sum,
    Wire,
    answer,
    ask,
    content,
    on_a_loop,
    once,
    sockets,
    sum_of,
    until,
)

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("accept", ["Accept: text/event-stream", PAGE], ids=["program", "browser"])
@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_an_event_arrives_before_the_next_is_sent(doors: Doors, door: Door, accept: str) -> None:
    arrived = asyncio.Semaphore(0)

    async def events(call: Call) -> None:
        await call.wire.send(EVENTS)
        for n in range(20):
            event = b"data: %d\n\n" % n
            await call.wire.send(b"%x\r\n%b\r\n" % (len(event), event))
            await arrived.acquire()
        await call.wire.send(b"0\r\n\r\n")

    async with Service(SERVICE, events), await Wire.to(doors[door].port) as wire:
        await wire.send(ask("GET /large/events", accept))
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
async def test_a_response_that_ends_with_its_connection_arrives_piece_by_piece(doors: Doors, door: Door) -> None:
    arrived = asyncio.Semaphore(0)

    async def pieces(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(5):
            await call.wire.send(b"piece")
            await arrived.acquire()
        raise ConnectionBroken

    async with Service(SERVICE, pieces), await Wire.to(doors[door].port) as wire:
        await wire.send(ask("GET /large/pieces"))
        got = b""
        async for piece in wire.pieces(await wire.head()):
            got += piece
            if not len(got) % 5:
                arrived.release()
        assert got == b"piece" * 5


@on_a_loop(within=30)
async def test_a_large_upload_reaches_the_service_while_the_client_still_sends(gateway: Gateway) -> None:
    taken = Sum()

    async def takes(call: Call) -> None:
        assert call.all("Transfer-Encoding") == ["chunked"]
        async for piece in call.pieces():
            taken.add(piece)
        await call.wire.send(answer(b"%d" % taken.crc))

    async with Service(SERVICE, takes), await Wire.to(gateway.port) as wire:
        await wire.send(ask("POST /large/up", "Transfer-Encoding: chunked"))
        sent = 0
        for piece in content(20 * 100 * KIB, 100 * KIB):
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += len(piece)
            if sent > MIB:
                await until(lambda: taken.size == sent, "what was sent has reached the service")  # noqa: B023
        await wire.send(b"0\r\n\r\n")
        assert (await wire.reply()).body == b"%d" % sum_of(sent).crc


async def send_all(wire: Wire, size: int) -> None:
    """Send that many bytes, or as many as the gateway takes before it closes the connection."""
    with contextlib.suppress(ConnectionBroken):
        for piece in content(size):
            await wire.send(piece)


@on_a_loop(within=30)
async def test_a_response_in_the_middle_of_an_upload_reaches_the_client_that_still_sends(gateway: Gateway) -> None:
    async def rejects(call: Call) -> None:
        if call.target == "/large/next":
            await call.wire.send(answer(b"next"))
            return
        await call.wire.exactly(100 * KIB)
        await call.wire.send(answer(b"enough", "413 Content Too Large"))
        # Until the gateway closes: a close with bytes unread would reset the connection, and the response with it.
        while await call.wire.some():
            pass
        raise ConnectionBroken

    async with Service(SERVICE, rejects) as service:
        for _ in range(5):
            async with await Wire.to(gateway.port) as wire, asyncio.TaskGroup() as tasks:
                await wire.send(ask("POST /large/up", f"Content-Length: {16 * MIB}"))
                tasks.create_task(send_all(wire, 16 * MIB))
                reply = await wire.reply()
                assert (reply.status, reply.body) == (413, b"enough")
        # The connections to the service are in doubt, so none is used again.
        used = service.connections
        assert (await once(gateway.port, ask("GET /large/next"))).body == b"next"
        assert service.connections == used + 1


@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=60)
async def test_an_early_response_is_not_lost_if_the_service_closes_during_the_upload(doors: Doors, door: Door) -> None:
    async def rejects(call: Call) -> None:
        await call.wire.send(answer(b"enough", "413 Content Too Large", "Connection: close"))
        # Closed with bytes unread: the gateway's connection is reset while it still writes.
        raise ConnectionBroken

    async with Service(SERVICE, rejects):
        got = []
        for _ in range(40):
            async with await Wire.to(doors[door].port) as wire, asyncio.TaskGroup() as tasks:
                await wire.send(ask("POST /large/up", f"Content-Length: {5 * MIB}"))
                tasks.create_task(send_all(wire, 5 * MIB))
                got.append((await wire.reply()).status)
        assert got == [413] * 40


@on_a_loop(within=30)
async def test_a_413_reaches_a_client_that_sends_the_whole_body(gateway: Gateway) -> None:
    size = 17 * MIB
    for _ in range(5):
        async with await Wire.to(gateway.port) as wire, asyncio.TaskGroup() as tasks:
            await wire.send(ask("POST /medium/up", f"Content-Length: {size}"))
            tasks.create_task(send_all(wire, size))
            assert (await wire.reply()).status == 413


@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_a_service_may_respond_while_it_still_reads(doors: Doors, door: Door) -> None:
    async def echo(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in call.pieces():
            await call.wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await call.wire.send(b"0\r\n\r\n")

    size = 8 * MIB
    async with Service(SERVICE, echo), await Wire.to(doors[door].port) as wire, asyncio.TaskGroup() as tasks:
        await wire.send(ask("POST /large/echo", PAGE, f"Content-Length: {size}"))
        tasks.create_task(send_all(wire, size))
        got = Sum()
        async for piece in wire.pieces(await wire.head()):
            got.add(piece)
        assert got == sum_of(size)


@on_a_loop(within=30)
async def test_a_truncated_response_ends_the_browser_s_connection_and_logs_one_warning(gateway: Gateway) -> None:
    async def truncates(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 900000\r\n\r\na,b")
        raise ConnectionBroken

    seen = len(gateway.log_lines())
    async with Service(SERVICE, truncates), await Wire.to(gateway.port) as wire:
        await wire.send(ask("GET /large/broken", PAGE))
        assert (await wire.head()).status == 200
        with pytest.raises(ConnectionBroken):
            await wire.exactly(900_000)

    def loud() -> list[str]:
        return [line["message"] for line in gateway.log_lines()[seen:] if line["level"] not in {"INFO", "DEBUG"}]

    await until(lambda: any("cut off" in message for message in loud()), "the warning is logged")
    assert not [message for message in loud() if "failed" in message]


@on_a_loop(within=60)
async def test_endless_streams_to_more_browsers_than_threads_delay_no_other_page(gateway: Gateway, worker: int) -> None:
    async def stream(call: Call) -> None:
        if call.target == "/large/other":
            await call.wire.send(answer(b"[]", "200 OK", "Content-Type: application/json"))
            return
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        assert await call.wire.ends()
        raise ConnectionBroken

    before = sockets(worker)
    async with Service(SERVICE, stream), contextlib.AsyncExitStack() as clients:
        for _ in range(64):
            wire = await clients.enter_async_context(await Wire.to(gateway.port))
            await wire.send(ask("GET /large/stream", PAGE))
            assert (await wire.head()).status == 200
        page = await once(gateway.port, ask("GET /large/other", PAGE, "Connection: close"))
        assert b">200 OK</span>" in page.body
        await clients.aclose()
        await until(lambda: sockets(worker) <= before + 2, "the connections to the service are closed")
