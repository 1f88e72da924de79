"""Clients of the fast door: real connections on the test's own event loop, in front of a door that is opened there."""

import asyncio
import json
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import httptools
import pytest
from tests.gateway.runtimes import runtime

from gateway import gate
from gateway.proxy.application import FastProxy
from gateway.proxy.client import ClientConnection
from gateway.upstreams import Pools


class Reply:
    """A response, as far as it has come."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.status = 0
        self.pairs: list[tuple[str, str]] = []
        self.body = b""
        self.has_head = self.is_whole = False
        self.parser = httptools.HttpResponseParser(self)

    @property
    def headers(self) -> dict[str, str]:
        """The headers, of which none may come twice here."""
        pairs = [(name.lower(), value) for name, value in self.pairs]
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    def json(self) -> Any:
        """Return the body, parsed; it has to be whole."""
        assert self.is_whole
        return json.loads(self.body)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        self.has_head = True
        self.is_whole = self.method == "HEAD"

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = True


def request_of(
    method: str, target: str, headers: Iterable[tuple[str, str]] = (), *, host: str = "testserver", version: str = "1.1"
) -> bytes:
    """Return a request's head."""
    named = [*([("host", host)] if host else []), *headers]
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in named)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Client:
    """A connection to the door. `connection` is the door's end; `peer` replaces the address that it sees."""

    def __init__(self, door: FastProxy, *, peer: str = "127.0.0.1", receive_buffer: int | None = None) -> None:
        self.door = door
        self.peer = peer
        self.receive_buffer = receive_buffer

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        worker = SimpleNamespace(
            loop=loop, asgi=SimpleNamespace(proxy=self.door), nr=0, nr_conns=0, connections=set(), alive=True,
            max_requests=math.inf, keepalive=75.0, scheme="http",
        )  # fmt: skip
        near, far = socket.socketpair()
        if self.receive_buffer:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.receive_buffer)
        _, self.connection = await loop.create_connection(lambda: ClientConnection(worker), sock=near)
        self.connection.peer = (self.peer, 50000)
        self.connection.address = self.peer
        self.reader, self.writer = await asyncio.open_connection(sock=far, limit=2**16)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        while not self.connection.closed:  # noqa: ASYNC110  # the transport has no event for it
            await asyncio.sleep(0)

    async def send(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, method: str = "GET", until: Callable[[Reply], Any] = lambda reply: reply.is_whole) -> Reply:
        """Return the response, once it is whole or `until` holds, or as far as it came before the connection ended."""
        return await self.more(Reply(method), until)

    async def more(self, reply: Reply, until: Callable[[Reply], Any] = lambda reply: reply.is_whole) -> Reply:
        """Read on until the response is whole or `until` holds, or the connection has ended."""
        while not until(reply) and (data := await self.reader.read(2**16)):
            reply.parser.feed_data(data)
        return reply

    async def ask(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), *pieces: bytes, **more: str
    ) -> Reply:
        """Return the response to a request; chunked, each piece is a chunk."""
        headers = list(headers)
        await self.send(request_of(method, target, headers, **more))
        if ("transfer-encoding", "chunked") in headers:
            pieces = (*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece), b"0\r\n\r\n")
        for piece in pieces:
            await self.send(piece)
        return await self.reply(method)


async def ask(
    door: FastProxy, method: str, target: str, headers: Iterable[tuple[str, str]] = (), *pieces: bytes,
    peer: str = "127.0.0.1", **more: str,
) -> Reply:  # fmt: skip
    """Return how the door responds to the one request of a connection."""
    async with Client(door, peer=peer) as client:
        return await client.ask(method, target, headers, *pieces, **more)


async def no_django(scope: Any, receive: Any, send: Any) -> None:
    """Be no Django that may be asked."""
    raise AssertionError("Django was asked")


@asynccontextmanager
async def opened(
    django: Callable[..., Awaitable[None]] = no_django, its_gate: gate.Gate | None = None
) -> AsyncIterator[FastProxy]:
    """A door in front of what gateway.yaml names, on this loop."""
    pools = Pools(runtime().config.services, asyncio.get_running_loop())
    door = FastProxy(
        its_gate or runtime().gate, pools, django, django, validation=runtime().validation, problems=runtime().problems
    )
    try:
        yield door
    finally:
        pools.close()
        for _ in range(3):
            await asyncio.sleep(0)
        door.close()


def access_lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the access log's lines."""
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == "access"]
