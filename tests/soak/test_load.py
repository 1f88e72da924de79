"""Many clients, many WebSockets and large bodies on one worker of the fast door."""

import asyncio
import contextlib
import logging
import statistics
import time

import pytest
from tests.conformance.doors import CONFIG, SERVICE, is_ok, ok
from tests.conformance.gateways import Gateway
from tests.conformance.transfers import download, memory_for, upload
from tests.conformance.wire import GIB, KIB, MIB, Call, Service, Wire, answer, ask, memory, on_a_loop, once
from tests.shares import share
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

pytestmark = pytest.mark.long
# Figures: `--log-cli-level=INFO` shows them.
log = logging.getLogger(__name__)


async def all_at_once(port: int, count: int) -> None:
    """Send that many requests, each on a connection of its own, to a service that responds once it has them all."""
    has_all = asyncio.Barrier(count)

    async def slow(call: Call) -> None:
        await has_all.wait()
        await call.wire.send(answer(call.target.encode()))

    async with Service(SERVICE, slow):
        replies = await asyncio.gather(*(once(port, ask(f"GET /large/{n}")) for n in range(count)))
    assert {reply.status for reply in replies} == {200}
    assert [reply.body for reply in replies] == [f"/large/{n}".encode() for n in range(count)]


@on_a_loop(within=60)
async def test_two_thousand_requests_at_once_wait_together_for_a_slow_service(gateway: Gateway) -> None:
    await all_at_once(gateway.port, share(2000))


def test_a_low_soft_limit_on_open_files_does_not_limit_connections(tmp_path) -> None:
    low = ("sh", "-c", 'ulimit -Sn 128; exec "$@"', "sh")
    with Gateway("fast", tmp_path / "var", CONFIG, wrapper=low) as gateway:
        on_a_loop(within=20)(all_at_once)(gateway.port, 300)


@pytest.mark.parametrize("transfer", [download, upload])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@on_a_loop(within=180)
async def test_a_body_of_a_gib_passes_in_bounded_memory(gateway: Gateway, transfer, framing: str) -> None:
    program = transfer(framing, "application.json", "Accept: application/json")
    assert await memory_for(program, gateway, share(GIB)) < 32 * MIB


@on_a_loop(within=120)
async def test_ten_thousand_idle_clients_cost_little_and_delay_no_other_request(gateway: Gateway, worker: int) -> None:
    port, count = gateway.port, share(10_000)
    async with Service(SERVICE, ok), contextlib.AsyncExitStack() as stack:

        async def opened(n: int) -> Wire:
            # Each address has about 28,000 ports.
            wire = await Wire.to(port, source=f"127.0.0.{2 + n % 4}", receive_buffer=4 * KIB)
            stack.push_async_exit(wire)
            assert is_ok(await wire.gets(ask("GET /small/idle")))
            return wire

        before = memory(worker)
        wires: list[Wire] = []
        for start in range(0, count, 250):
            wires += await asyncio.gather(*(opened(n) for n in range(start, min(start + 250, count))))
        each = (memory(worker) - before) // count
        times = []
        for _ in range(100):
            began = time.monotonic()
            assert is_ok(await once(port, ask("GET /small/other")))
            times.append(time.monotonic() - began)
        # All are still open, and usable.
        for wire in wires[:: max(1, count // 100)]:
            assert is_ok(await wire.gets(ask("GET /small/again")))
        log.info("%d idle: %.1f KiB each, %.0f MiB in all", count, each / KIB, memory(worker) / MIB)
        assert each < 16 * KIB
        assert memory(worker) < 250 * MIB
        assert statistics.median(times) < 0.5


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@on_a_loop(within=120)
async def test_two_thousand_websockets_are_open_at_once(gateway: Gateway) -> None:
    count, url = share(2000), f"ws://127.0.0.1:{gateway.port}/ws"
    async with serve(echo, "127.0.0.1", SERVICE), contextlib.AsyncExitStack() as stack:
        sockets: list[ClientConnection] = []
        for start in range(0, count, 50):
            opening = [
                connect(f"{url}/{n}", proxy=None, compression=None) for n in range(start, min(start + 50, count))
            ]
            sockets += await asyncio.gather(*map(stack.enter_async_context, opening))
        await asyncio.gather(*(socket.send(f"message {n}") for n, socket in enumerate(sockets)))
        got = await asyncio.gather(*(socket.recv() for socket in sockets))
        assert got == [f"message {n}" for n in range(count)]
