"""A client that leaves ends its request at the service too, and leaves nothing open in the gateway."""

import asyncio
import contextlib

import pytest
from tests.conformance.client import ConnectionBroken
from tests.conformance.doors import PAGE, SERVICE, is_ok, ok
from tests.conformance.gateways import Gateway
from tests.conformance.wire import (
    KIB,
    MIB,
    PATIENCE,
    Call,
    Service,
    Wire,
    ask,
    content,
    on_a_loop,
    once,
    sockets,
    until,
)


@on_a_loop(within=30)
async def test_a_client_that_leaves_while_it_waits_ends_its_request_to_the_service(gateway: Gateway) -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    async def waits(call: Call) -> None:
        if call.target != "/large/left":
            await ok(call)
            return
        reached.set()
        assert not await call.wire.some()
        left.set()

    async with Service(SERVICE, waits) as service:
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask("GET /large/left"))
            await reached.wait()
        await left.wait()
        used = service.connections
        assert is_ok(await once(gateway.port, ask("GET /large/next")))
        assert service.connections == used + 1


@on_a_loop(within=30)
async def test_a_client_that_leaves_in_the_middle_of_its_response_ends_it(gateway: Gateway) -> None:
    broken = asyncio.Event()

    async def gives_until_stopped(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        try:
            for piece in content(64 * MIB):
                await call.wire.send(piece)
        except ConnectionBroken:
            broken.set()
            raise

    async with Service(SERVICE, gives_until_stopped):
        async with await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
            await wire.send(ask("GET /large/left"))
            await wire.head()
        await broken.wait()


@on_a_loop(within=30)
async def test_a_client_that_leaves_in_the_middle_of_its_upload_ends_it(gateway: Gateway) -> None:
    reached, broken = asyncio.Event(), asyncio.Event()

    async def takes(call: Call) -> None:
        reached.set()
        with pytest.raises(ConnectionBroken):
            await call.sum()
        broken.set()
        raise ConnectionBroken

    async with Service(SERVICE, takes):
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask("POST /large/left", f"Content-Length: {64 * MIB}"))
            for piece in content(2 * MIB):
                await wire.send(piece)
            await reached.wait()
        await broken.wait()


@on_a_loop(within=30)
async def test_many_clients_that_leave_leave_no_connection_open(gateway: Gateway, worker: int) -> None:
    async def never(call: Call) -> None:
        await call.wire.some()

    async with Service(SERVICE, never) as service:
        before = sockets(worker) - len(service.open)
        for _ in range(5):
            async with contextlib.AsyncExitStack() as stack:
                for n in range(50):
                    wire = await stack.enter_async_context(await Wire.to(gateway.port))
                    await wire.send(ask(f"GET /large/{n}"))
                await until(lambda: len(service.open) == 50, "all have reached the service")
        await until(lambda: not service.open, "the service's connections are closed")
        await until(lambda: sockets(worker) <= before, "the worker's are closed")


@pytest.mark.parametrize("after", ["nothing", "events", "JSON"])
@on_a_loop(within=30)
async def test_a_browser_that_leaves_ends_its_request_to_the_service(gateway: Gateway, after: str) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def never_ends(call: Call) -> None:
        if after != "nothing":
            kind = b"text/event-stream" if after == "events" else b"application/json"
            await call.wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[\n\r\n" % kind
            )
        asked.set()
        assert await call.wire.ends()
        left.set()
        raise ConnectionBroken

    async with Service(SERVICE, never_ends):
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask(f"GET /large/endless-{after}", PAGE))
            await asked.wait()
            if after == "events":
                assert (await wire.head()).status == 200
        await asyncio.wait_for(left.wait(), PATIENCE)
    if after != "events":
        # No response was sent, for which the access log has nginx's status.
        line = f"GET /large/endless-{after} 499"
        await until(lambda: any(logged["message"] == line for logged in gateway.log_lines()), "the access log's line")
