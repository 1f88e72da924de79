"""Compressed responses are the service's when decoded, whole and as streams, at both doors."""

import asyncio
import os
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.client import ConnectionBroken
from tests.conformance.doors import SERVICE, Doors, giver
from tests.conformance.gateways import Door
from tests.conformance.wire import KIB, MIB, Call, Service, Sum, Wire, ask, on_a_loop, sum_of, until_steady

from gateway.policy.codings import BROTLI, COMPRESSORS, ZSTD

NDJSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
# Django forwards a request that may renew a session, also in the process of the fast door.
RENEWS = "Cookie: gatehouse-refresh=none"
WAYS = [("fast", "Accept: */*"), ("fast", RENEWS), ("drf", "Accept: */*")]
ways = pytest.mark.parametrize(("door", "header"), WAYS, ids=["fast", "fast by Django", "drf"])
# What decodes a piece of each coding, as far as it goes.
Decode = Callable[[bytes], bytes]


def decoder(coding: str) -> Decode:
    decoders: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(31).decompress,
        "br": lambda: BROTLI.Decompressor().process,  # type: ignore[union-attr]
        "zstd": lambda: ZSTD.ZstdDecompressor().decompress,  # type: ignore[union-attr]
    }
    decode: Decode = decoders[coding]()
    return decode


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [20 * KIB, 3 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("coding", COMPRESSORS)
@ways
@on_a_loop(within=60)
async def test_a_decoded_response_is_the_service_s(
    doors: Doors, door: Door, header: str, coding: str, size: int, chunked: bool
) -> None:
    async with Service(SERVICE, giver(chunked, "text/plain")), await Wire.to(doors[door].port) as wire:
        await wire.send(ask(f"GET /compressed/{size}", header, f"Accept-Encoding: {coding}"))
        reply = await wire.head()
        assert reply.get("Content-Encoding") == coding
        is_whole = size < 64 * KIB and not chunked
        assert (reply.get("Content-Length") is None) != is_whole
        decode, got = decoder(coding), Sum()
        async for piece in wire.pieces(reply):
            got.add(decode(piece))
        assert got == sum_of(size)


@pytest.mark.parametrize("coding", COMPRESSORS)
@ways
@on_a_loop(within=60)
async def test_a_piece_arrives_before_the_next_is_sent(doors: Doors, door: Door, header: str, coding: str) -> None:
    arrived = asyncio.Semaphore(0)

    async def lines(call: Call) -> None:
        await call.wire.send(NDJSON)
        for _ in range(20):
            await call.wire.send(b'8\r\n{"a":1}\n\r\n')
            await arrived.acquire()
        await call.wire.send(b"0\r\n\r\n")

    async with Service(SERVICE, lines), await Wire.to(doors[door].port) as wire:
        await wire.send(ask("GET /compressed/lines", header, f"Accept-Encoding: {coding}"))
        decode, got = decoder(coding), b""
        async for piece in wire.pieces(await wire.head()):
            before, got = len(got), got + decode(piece)
            if len(got) > before and got.endswith(b"\n"):
                arrived.release()
        assert got == b'{"a":1}\n' * 20


@pytest.mark.parametrize("header", ["Accept: */*", RENEWS], ids=["fast", "fast by Django"])
@on_a_loop(within=30)
async def test_a_truncated_response_does_not_look_complete(doors: Doors, header: str) -> None:
    async def truncates(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 900000\r\n\r\nbeginning")
        raise ConnectionBroken

    async with Service(SERVICE, truncates), await Wire.to(doors["fast"].port) as wire:
        await wire.send(ask("GET /compressed/broken", header, "Accept-Encoding: gzip"))
        reply = await wire.head()
        with pytest.raises(ConnectionBroken):
            async for _ in wire.pieces(reply):
                pass


@on_a_loop(within=30)
async def test_a_client_that_reads_nothing_stops_the_service(doors: Doors) -> None:
    sent = 0
    piece = os.urandom(64 * KIB)  # not compressible, so that it fills the buffers

    async def endless(call: Call) -> None:
        nonlocal sent
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            await call.wire.send(piece)
            sent += len(piece)

    async with Service(SERVICE, endless), await Wire.to(doors["fast"].port) as wire:
        await wire.send(ask("GET /compressed/endless", "Accept-Encoding: gzip"))
        await wire.head()
        assert await until_steady(lambda: sent) < 32 * MIB
