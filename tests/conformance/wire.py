"""HTTP/1.1 over asyncio, for concurrent tests: a strict client, and services made of handlers.

Client and service run on the loop of the test, so that the test controls both.
"""

import asyncio
import contextlib
import functools
import re
import resource
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import uvloop
from tests.conformance.client import (
    CHUNK_SIZE,
    NAME,
    STATUS_LINE,
    VALUE,
    ConnectionBroken,
    Head,
    ProtocolViolation,
    Reply,
    framing,
)
from tests.conformance.upstream import HEADER, REQUEST_LINE, Malformed, framed
from tests.waiting import DEADLINE

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
# Seconds in which anything that is to happen has happened, on a busy machine too.
PATIENCE = DEADLINE
# Its length is no multiple of any buffer's, so that a piece that is lost, doubled or moved shows in the checksum.
BLOCK = Random(1).randbytes(1_000_003)


def on_a_loop(within: float) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """Make a test of a coroutine function, which ends within that many seconds on a quiet machine."""

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            async def bounded() -> None:
                async with asyncio.timeout(within + 2 * PATIENCE):
                    await test(*args, **kwargs)

            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(bounded())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        return run

    return decorate


async def until(condition: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.01)


async def until_responds(port: int, request: bytes, condition: Callable[[Reply], bool], what: str) -> Reply:
    """Send the request until the condition holds of its response, and return that."""
    deadline = time.monotonic() + PATIENCE
    while not condition(reply := await once(port, request)):
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        await asyncio.sleep(0.02)
    return reply


async def until_steady(value: Callable[[], int], for_seconds: float = 0.5, within: float = PATIENCE) -> int:
    """Return the value once it has not changed for a while."""
    deadline = time.monotonic() + within
    last, since = value(), time.monotonic()
    while time.monotonic() - since < for_seconds:
        assert time.monotonic() < deadline, f"still changing after {within} s: {last}"
        await asyncio.sleep(0.02)
        if (now := value()) != last:
            last, since = now, time.monotonic()
    return last


# What is sent, and how it is checked.


def content(size: int, step: int = 256 * KIB) -> Iterator[bytes]:
    """Yield that many bytes in pieces."""
    doubled = BLOCK + BLOCK[:step]
    for start in range(0, size, step):
        at = start % len(BLOCK)
        yield doubled[at : at + min(step, size - start)]


@dataclass
class Sum:
    """Size and checksum of bytes that are not kept."""

    size: int = 0
    crc: int = 0

    def add(self, piece: bytes) -> None:
        """Count the piece in."""
        self.size += len(piece)
        self.crc = zlib.crc32(piece, self.crc)


@functools.cache
def sum_of(size: int) -> Sum:
    """Return what `content` of that size comes to."""
    made = Sum()
    for piece in content(size):
        made.add(piece)
    return made


def ask(line: str, *headers: str, body: bytes | None = None) -> bytes:
    """Return a request; one with a body has a Content-Length unless a header frames it."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", *headers]
    if body is not None and not any(header.lower().startswith("transfer-encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def answer(body: bytes = b"ok", status: str = "200 OK", *headers: str) -> bytes:
    """Return a response with its length."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


class Wire:
    """A connection, of a client or a service. Use it as a context manager, so that it is closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int, *, source: str = "127.0.0.1", receive_buffer: int = 0) -> Self:
        """Connect. With a `receive_buffer`, the kernel buffers about that much for a client that does not read."""
        made = socket.socket()
        try:
            made.setblocking(False)
            if receive_buffer:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source != "127.0.0.1":
                made.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(*await asyncio.open_connection(sock=made, limit=receive_buffer or 256 * KIB))
        except BaseException:
            made.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def close(self) -> None:
        """Close it at once, and drop what has not been sent."""
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send, no faster than the peer takes it; raise `ConnectionBroken`."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as exc:
            raise ConnectionBroken(f"The connection ended while it was sent to: {exc!r}") from exc

    async def flush(self) -> None:
        """Return once the kernel has everything that was sent, so that closing the connection loses none of it."""
        self.writer.transport.set_write_buffer_limits(high=0)
        await self.send(b"")

    async def send_chunks(self, pieces: Iterator[bytes]) -> None:
        """Send the pieces as a whole chunked body."""
        for piece in pieces:
            await self.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await self.send(b"0\r\n\r\n")

    async def some(self, size: int = 256 * KIB) -> bytes:
        """Return what comes, nothing at the end; raise `ConnectionBroken` at a reset."""
        try:
            return await self.reader.read(size)
        except OSError as exc:
            raise ConnectionBroken(f"The connection was reset: {exc!r}") from exc

    async def exactly(self, size: int) -> bytes:
        """Return the next bytes; raise `ConnectionBroken`."""
        try:
            return await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as exc:
            raise ConnectionBroken(f"The connection ended after {exc.partial[:200]!r}.") from exc
        except OSError as exc:
            raise ConnectionBroken(f"The connection was reset: {exc!r}") from exc

    async def until(self, end: bytes) -> bytes:
        """Return what comes before `end`, and consume both; raise `ConnectionBroken`."""
        try:
            return (await self.reader.readuntil(end)).removesuffix(end)
        except asyncio.IncompleteReadError as exc:
            raise ConnectionBroken(f"The connection ended after {exc.partial[:200]!r}.") from exc
        except asyncio.LimitOverrunError as exc:
            raise ProtocolViolation(f"Expected {end!r} sooner.") from exc
        except OSError as exc:
            raise ConnectionBroken(f"The connection was reset: {exc!r}") from exc

    async def ends(self) -> bool:
        """Return whether the peer closes the connection without sending more."""
        with contextlib.suppress(ConnectionBroken):
            return not await self.some()
        return True

    # A client's side.

    async def head(self) -> Reply:
        """Return the next final response's head, its body not read yet."""
        interim: list[Head] = []
        while (head := head_of(await self.until(b"\r\n\r\n"))).status < 200 and head.status != 101:
            interim.append(head)
        return Reply(**vars(head), interim=interim)

    async def pieces(self, reply: Reply, method: str = "GET") -> AsyncIterator[bytes]:
        """Yield the body of the response whose head has been read."""
        reply.framing = framing(reply, method)
        if reply.framing == "length":
            async for piece in self.counted(int(reply.all("Content-Length")[0])):
                yield piece
        elif reply.framing == "chunked":
            async for piece in self.chunks():
                yield piece
        elif reply.framing == "close":
            while piece := await self.some():
                yield piece

    async def counted(self, missing: int) -> AsyncIterator[bytes]:
        """Yield that many bytes as they come; raise `ConnectionBroken`."""
        while missing:
            piece = await self.some(min(missing, 256 * KIB))
            if not piece:
                raise ConnectionBroken(f"The connection ended {missing} bytes early.")
            missing -= len(piece)
            yield piece

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield a chunked body as it comes, without trailers; raise `ConnectionBroken` or `ProtocolViolation`."""
        while size := chunk_size(await self.until(b"\r\n")):
            async for piece in self.counted(size):
                yield piece
            if end := await self.until(b"\r\n"):
                raise ProtocolViolation(f"Expected the end of a chunk, got {end!r}.")
        if end := await self.until(b"\r\n"):
            raise ProtocolViolation(f"Expected no trailers, got {end!r}.")

    async def reply(self, method: str = "GET") -> Reply:
        """Return the next whole response."""
        reply = await self.head()
        reply.body = b"".join([piece async for piece in self.pieces(reply, method)])
        return reply

    async def gets(self, request: bytes) -> Reply:
        """Send a request and return the response."""
        await self.send(request)
        return await self.reply(request.partition(b" ")[0].decode())


def head_of(block: bytes) -> Head:
    """Return a response's head; raise `ProtocolViolation`."""
    line, *lines = block.split(b"\r\n")
    found = STATUS_LINE.fullmatch(line)
    if found is None:
        raise ProtocolViolation(f"Expected a status line, got {line!r}.")
    headers = []
    for header in lines:
        name, colon, value = header.partition(b":")
        if not (colon and NAME.fullmatch(name) and VALUE.fullmatch(value)):
            raise ProtocolViolation(f"Expected a header line, got {header!r}.")
        headers.append((name.decode(), value.strip(b" \t").decode("latin-1")))
    return Head(f"1.{found[1].decode()}", int(found[2]), found[3].decode("latin-1"), headers)


def chunk_size(line: bytes) -> int:
    """Return the size in a chunk's first line; raise `ProtocolViolation`."""
    found = CHUNK_SIZE.fullmatch(line)
    if found is None:
        raise ProtocolViolation(f"Expected a chunk's size, got {line!r}.")
    return int(found[1], 16)


async def once(port: int, request: bytes) -> Reply:
    """Send one request on a connection of its own and return the response."""
    async with await Wire.to(port) as wire:
        return await wire.gets(request)


@dataclass
class Call:
    """A request that has reached the service: its head, the connection it came on and which one that was."""

    line: str
    headers: list[tuple[str, str]]
    wire: Wire
    connection: int

    @property
    def target(self) -> str:
        """The request line's second word."""
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """Return the header's values, in order."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body; raise `ConnectionBroken` or `Malformed`."""
        kind, length = framed(self.headers)
        async for piece in self.wire.chunks() if kind == "chunked" else self.wire.counted(length):
            yield piece

    async def body(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def sum(self) -> Sum:
        """Return the body's size and checksum."""
        made = Sum()
        async for piece in self.pieces():
            made.add(piece)
        return made


Handler = Callable[[Call], Awaitable[None]]


@dataclass
class Service:
    """A service: `handler` responds to each request. Use it as a context manager."""

    port: int
    handler: Handler
    # How many connections there have been, and which are open.
    connections: int = 0
    open: set[Wire] = field(default_factory=set)
    malformed: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    # Bytes that are read ahead of a handler that does not read.
    limit: int = 512 * KIB

    async def __aenter__(self) -> Self:
        self.tasks: set[asyncio.Task[None]] = set()
        self.server = await asyncio.start_server(
            self.serve, "127.0.0.1", self.port, backlog=4096, limit=self.limit, reuse_address=True
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()
        for wire in list(self.open):
            wire.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.wait_closed()
        if exc[0] is None:
            assert not self.failures, self.failures
            assert not self.malformed, self.malformed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the requests of one connection."""
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            async with Wire(reader, writer) as wire:
                self.open.add(wire)
                try:
                    while True:
                        line, headers = request_head(await wire.until(b"\r\n\r\n"))
                        await self.handler(Call(line, headers, wire, number))
                except ConnectionBroken:
                    pass
                except (Malformed, ProtocolViolation) as exc:
                    self.malformed.append(str(exc))
                except Exception as exc:  # noqa: BLE001  # the test reports it at its end
                    self.failures.append(exc)
                finally:
                    self.open.discard(wire)
        except asyncio.CancelledError:
            pass
        finally:
            self.tasks.discard(task)


def request_head(block: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the request line and the headers; raise `Malformed`."""
    line, *lines = block.split(b"\r\n")
    if not REQUEST_LINE.fullmatch(line):
        raise Malformed(f"Expected a request line, got {line!r}.")
    headers = []
    for header in lines:
        found = HEADER.fullmatch(header)
        if found is None:
            raise Malformed(f"Expected a header, got {header!r}.")
        headers.append((found[1].decode(), found[2].decode("latin-1")))
    return line.decode(), headers


# What a process uses.


def memory(pid: int, what: str = "VmRSS") -> int:
    """Return the process's resident memory in bytes; with `VmHWM`, the most since `forget_peak`."""
    found = re.search(rf"^{what}:\s+([0-9]+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * KIB


def forget_peak(pid: int) -> int:
    """Reset `VmHWM` (proc(5), clear_refs); return the memory now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid)


def sockets(pid: int) -> int:
    """Return how many sockets the process has open."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count
