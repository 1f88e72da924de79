"""Large bodies through a gateway, checked as they pass, and the memory that its worker needs for them."""

import logging
import time
from collections.abc import Awaitable, Callable

from tests.conformance.client import Reply
from tests.conformance.doors import SERVICE, is_ok
from tests.conformance.gateways import Gateway
from tests.conformance.wire import MIB, Call, Service, Sum, Wire, answer, ask, content, forget_peak, memory, sum_of

# Figures of a test: `--log-cli-level=INFO` shows them.
log = logging.getLogger(__name__)
Transfer = Callable[[Gateway, int], Awaitable[None]]


async def handle(call: Call) -> None:
    """Respond to GET with as many bytes as the path's last segment says, and to POST with the size and checksum."""
    kind, framing, size = call.target.split("/")[-3:]
    if call.line.startswith("POST "):
        got = await call.sum()
        await call.wire.send(answer(b'"%d %d"' % (got.size, got.crc), "200 OK", "Content-Type: application/json"))
        return
    header = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {size}"
    head = ["HTTP/1.1 200 OK", header, f"Content-Type: {kind.replace('.', '/')}", "", ""]
    await call.wire.send("\r\n".join(head).encode())
    await send_content(call.wire, framing, int(size))


async def send_content(wire: Wire, framing: str, size: int) -> None:
    if framing == "chunked":
        await wire.send_chunks(content(size))
    else:
        for piece in content(size):
            await wire.send(piece)


def download(framing: str, kind: str, accept: str) -> Transfer:
    async def transfer(gateway: Gateway, size: int) -> None:
        got = Sum()
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask(f"GET /large/{kind}/{framing}/{size}", accept))
            reply: Reply = await wire.head()
            assert is_ok(reply)
            async for piece in wire.pieces(reply):
                got.add(piece)
            assert reply.framing == framing
        assert got == sum_of(size)

    return transfer


def upload(framing: str, kind: str, accept: str) -> Transfer:
    async def transfer(gateway: Gateway, size: int) -> None:
        header = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {size}"
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask(f"POST /large/{kind}/{framing}/{size}", accept, header))
            await send_content(wire, framing, size)
            reply = await wire.reply()
        assert is_ok(reply)
        assert f"{size} {sum_of(size).crc}".encode() in reply.body

    return transfer


async def memory_for(transfer: Transfer, gateway: Gateway, size: int) -> int:
    """Return by how many bytes the worker grows at most during a transfer of that size, after a small one."""
    (worker,) = gateway.worker_pids()
    async with Service(SERVICE, handle):
        await transfer(gateway, 4 * MIB)
        before = forget_peak(worker)
        began = time.monotonic()
        await transfer(gateway, size)
        seconds = time.monotonic() - began
    grown = memory(worker, "VmHWM") - before
    log.info("%.0f MiB in %.2f s, memory +%.1f MiB", size / MIB, seconds, grown / MIB)
    return grown
