"""A large body passes in bounded memory, also if the client or the service is slow."""

import asyncio

import pytest
from tests.conformance.doors import PAGE, SERVICE, Doors, ok
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.transfers import Transfer, download, memory_for, upload
from tests.conformance.wire import (
    KIB,
    MIB,
    Call,
    Service,
    Sum,
    Wire,
    ask,
    content,
    forget_peak,
    memory,
    on_a_loop,
    once,
    sum_of,
    until_steady,
)

JSON = "Accept: application/json"
TRANSFERS = {
    f"{name} {kind}, {framing}, {client}": transfer(framing, kind, accept)
    for client, accept in {"program": JSON, "browser": PAGE}.items()
    for name, transfer, kind, framing in [
        ("download of", download, "text.csv", "length"),
        ("download of", download, "application.json", "length"),
        ("download of", download, "application.json", "chunked"),
        ("upload of", upload, "application.json", "length"),
        ("upload of", upload, "application.json", "chunked"),
    ]
}
# Far more than a worker may hold of one body.
LARGE, HELD = 48 * MIB, 16 * MIB


@pytest.mark.parametrize("transfer", TRANSFERS.values(), ids=TRANSFERS)
@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=120)
async def test_a_large_body_passes_in_bounded_memory(doors: Doors, door: Door, transfer: Transfer) -> None:
    assert await memory_for(transfer, doors[door], LARGE) < HELD


FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
# What is on its way to a slow peer is in the buffers of four sockets, as the kernel sizes them, not in the worker.


@FRAMINGS
@on_a_loop(within=60)
async def test_a_client_that_does_not_read_holds_the_service_back(gateway: Gateway, worker: int, chunked: bool) -> None:
    size = 64 * MIB
    sent = 0

    async def give(call: Call) -> None:
        nonlocal sent
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        await call.wire.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        for piece in content(size):
            await call.wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
        if chunked:
            await call.wire.send(b"0\r\n\r\n")

    async with Service(SERVICE, give), await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
        before = forget_peak(worker)
        await wire.send(ask("GET /large/down"))
        assert await until_steady(lambda: sent) < size
        assert memory(worker, "VmHWM") - before < 8 * MIB
        # Other requests are answered, and nothing is lost.
        assert (await once(gateway.port, ask("GET /healthz"))).status == 200
        got = Sum()
        async for piece in wire.pieces(await wire.head()):
            got.add(piece)
        assert got == sum_of(size)


@FRAMINGS
@on_a_loop(within=60)
async def test_a_service_that_does_not_read_holds_the_client_back(gateway: Gateway, worker: int, chunked: bool) -> None:
    size = 64 * MIB
    sent = 0
    reads = asyncio.Event()

    async def waits(call: Call) -> None:
        await reads.wait()
        await ok(call)

    async def upload(wire: Wire) -> None:
        nonlocal sent
        await wire.send(ask("POST /large/up", "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"))
        for piece in content(size):
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
        if chunked:
            await wire.send(b"0\r\n\r\n")

    async with (
        Service(SERVICE, waits, limit=64 * KIB),
        await Wire.to(gateway.port) as wire,
        asyncio.TaskGroup() as tasks,
    ):
        before = forget_peak(worker)
        tasks.create_task(upload(wire))
        assert await until_steady(lambda: sent) < size
        assert memory(worker, "VmHWM") - before < 8 * MIB
        assert (await once(gateway.port, ask("GET /healthz"))).status == 200
        reads.set()
        assert (await wire.reply()).body == f"/large/up {size} {sum_of(size).crc}".encode()
