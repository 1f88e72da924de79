"""Clients that stall are disconnected after the time that the documentation promises."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.client import ConnectionBroken, Reply
from tests.conformance.doors import SERVICE, giver, is_ok, ok
from tests.conformance.gateways import Gateway
from tests.conformance.wire import KIB, MIB, Service, Wire, ask, on_a_loop, sockets, until

pytestmark = pytest.mark.long
# Seconds: for a request's headers, for a body of which nothing has come, and what a busy machine adds.
HEADERS_WITHIN, BODY_WITHIN, LATER = 30, 20, 15
# Seconds for a response: twice 60, as the kernel may have taken a part of it between.
READ_WITHIN = 120


@on_a_loop(within=READ_WITHIN + 30)
async def test_a_client_that_does_not_read_its_response_is_disconnected(gateway: Gateway, worker: int) -> None:
    async with Service(SERVICE, giver(chunked=False)) as service:
        before = sockets(worker) - len(service.open)
        async with await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
            await wire.send(ask(f"GET /short/{64 * MIB}"))
            assert is_ok(await wire.head())
            await until(lambda: not service.open, "the service is disconnected")
            await until(lambda: sockets(worker) <= before, "the client is disconnected", READ_WITHIN + LATER)


HALF = ask("GET /small/half")[:-20]


async def nothing(wire: Wire) -> None:
    """Begin no request: the connection is closed without a response."""


async def half_and_silence(wire: Wire) -> None:
    """Send half of a request's headers."""
    await wire.send(HALF)


async def half_of_the_second(wire: Wire) -> None:
    """Send half of the next request's headers after a response."""
    assert is_ok(await wire.gets(ask("GET /small/first")))
    await wire.send(HALF)


async def half_in_the_firsts_packet(wire: Wire) -> None:
    """Send half of the next request's headers together with a request."""
    assert is_ok(await wire.gets(ask("GET /small/first") + HALF))


async def byte_by_byte(wire: Wire) -> None:
    """Send headers too slowly altogether, though no pause is long."""
    for at in range(HEADERS_WITHIN):
        await wire.send(HALF[at : at + 1])
        await asyncio.sleep(0.9)


STALLS = (nothing, half_and_silence, half_of_the_second, half_in_the_firsts_packet, byte_by_byte)


@on_a_loop(within=HEADERS_WITHIN + LATER)
async def test_headers_that_do_not_arrive_in_time_are_a_408(gateway: Gateway) -> None:
    async def stalled(stall: Callable[[Wire], Any]) -> None:
        async with await Wire.to(gateway.port) as wire:
            began = time.monotonic()
            await stall(wire)
            if stall is not nothing:
                reply = await wire.reply()
                assert (reply.status, reply.closes) == (408, True), stall
            assert await wire.ends(), stall
            assert HEADERS_WITHIN - 1 < time.monotonic() - began < HEADERS_WITHIN + LATER, stall

    async with Service(SERVICE, ok), asyncio.TaskGroup() as all_at_once:
        for stall in STALLS:
            all_at_once.create_task(stalled(stall))


DRIPS = [
    ("/small/x", "application/json"),
    ("/small/x", "text/html"),
    ("/large/x", "application/json"),
    ("/large/x", "text/html"),
    ("/api/login", "application/json"),
    ("/login/", "text/html"),
]


@on_a_loop(within=BODY_WITHIN + LATER + 30)
async def test_a_body_that_arrives_too_slowly_is_a_408_and_one_that_keeps_its_rate_is_not(
    gateway: Gateway,
) -> None:
    async def drips(path: str, accept: str) -> tuple[Reply, float]:
        async with await Wire.to(gateway.port) as wire:
            began = time.monotonic()
            await wire.send(ask(f"POST {path}", f"Accept: {accept}", "Content-Length: 1000"))

            async def drip() -> None:
                with contextlib.suppress(ConnectionBroken):
                    while True:
                        await wire.send(b" ")
                        await asyncio.sleep(5)

            dripping = asyncio.create_task(drip())
            try:
                reply = await wire.reply("POST")
                took = time.monotonic() - began
                assert await wire.ends()
                return reply, took
            finally:
                dripping.cancel()

    async def goes_on(size: int) -> None:
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask("POST /small/x", f"Content-Length: {size}"))
            for _ in range(0, size - 500, 500):
                await wire.send(b"x" * 500)
                await asyncio.sleep(0.95)
            assert service.connections == 0
            await wire.send(b"x" * 500)
            assert (await wire.reply("POST")).status == 200

    async with Service(SERVICE, ok) as service, asyncio.TaskGroup() as tasks:
        # It takes longer than the drips may.
        tasks.create_task(goes_on(500 * (BODY_WITHIN + 4)))
        for reply, took in await asyncio.gather(*(drips(path, accept) for path, accept in DRIPS)):
            assert (reply.status, reply.closes) == (408, True)
            assert reply.get("Content-Type") == "application/problem+json"
            assert BODY_WITHIN - 1 < took < BODY_WITHIN + LATER
